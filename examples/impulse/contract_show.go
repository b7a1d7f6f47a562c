package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/page"
)

func newContractShowCommand() *cobra.Command {
	var whole bool
	cmd := &cobra.Command{
		Use:     "show DIR",
		Short:   "Show a model's prompt.json for people",
		Example: "  impulse contract show models/tickets",
		Args:    oneContract,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := chatml.ReadContract(contractPath(args[0]))
			if err == nil {
				err = showContract(c, whole, cmd.OutOrStdout())
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&whole, "whole", false, "system prompt and schema in full")
	return cmd
}

// shownLines are how many lines of a long text are shown.
const shownLines = 12

// showContract writes a contract for people.
func showContract(c chatml.Contract, whole bool, out io.Writer) error {
	var b bytes.Buffer
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-18s%s\n", name, page.Printable(fmt.Sprintf(format, args...)))
	}
	row("title", "%s", cmp.Or(c.Title, "(none)"))
	row("description", "%s", cmp.Or(c.Description, "(none)"))
	for _, e := range c.Examples {
		row("example", "%s", e)
	}
	system := "none where a conversation has none"
	if c.DefaultSystem {
		system = "that of the template, of " + c.Date
	}
	if c.SystemPrompt != "" {
		system = fmt.Sprintf("%d characters, below", len([]rune(c.SystemPrompt)))
	}
	row("system prompt", "%s", system)
	row("begins with", "%s", map[bool]string{true: "<s>", false: "no <s>"}[c.BOS])
	row("ends with", "%s", strings.Join(c.EndTokens, " or "))
	row("answers", "%s", map[bool]string{true: "free text", false: "JSON by the schema below, " + c.Layout.String()}[c.Schema == nil])
	for _, path := range slices.Sorted(maps.Keys(c.RequestValues)) {
		row("repeats", "the %s of the request in %s", c.RequestValues[path], path)
	}
	row("tokenizer", "%s", c.TokenizerSHA256)
	row("base", "%s", cmp.Or(c.BaseSHA256, "(not recorded)"))
	row("base quantised", "%s", cmp.Or(c.BaseQuantization, "no"))
	section := func(name, text string) {
		lines := strings.Split(page.PrintableLines(strings.TrimRight(text, "\n")), "\n")
		left := 0
		if !whole && len(lines) > shownLines+1 {
			left, lines = len(lines)-shownLines, lines[:shownLines]
		}
		fmt.Fprintf(&b, "\n%s\n  %s\n", name, strings.Join(lines, "\n  "))
		if left > 0 {
			fmt.Fprintf(&b, "  ... %d lines more (--whole)\n", left)
		}
	}
	if c.SystemPrompt != "" {
		section("system prompt", c.SystemPrompt)
	}
	if c.Schema != nil {
		var schema bytes.Buffer
		_ = json.Indent(&schema, c.Schema, "", "  ") // it was checked when it was read
		section("schema", schema.String())
	}
	_, err := out.Write(b.Bytes())
	return err
}
