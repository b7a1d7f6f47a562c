package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestOtherNames: a hint names a flag of some command, with a value that it takes.
func TestOtherNames(t *testing.T) {
	for name, meant := range otherNames {
		for _, m := range meant {
			flag, value, _ := strings.Cut(m, " ")
			there := false
			for _, c := range newRootCommand().Commands() {
				if f := c.Flags().Lookup(flag); f != nil {
					there = true
					if err := f.Value.Set(value); value != "" && err != nil {
						t.Errorf("%s: --%s: %v", name, m, err)
					}
				}
			}
			if !there {
				t.Errorf("%s: no command has --%s", name, flag)
			}
		}
	}
}

// TestHints: what is typed wrong is answered with what is right.
func TestHints(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(dir))
	model := filepath.Base(dir)
	for line, want := range map[string]string{
		"train --bf16":                         "train has no flag --bf16: do you mean --dtype bfloat16?",
		"train --load-in-8bit":                 "do you mean --quantize 8bit?",
		"train --load_in_4bit=true":            "do you mean --quantize 4bit?",
		"validate --model " + model:            "validate has no flag --model: do you mean --model-path?",
		"train --model-path " + model:          "do you mean --model?",
		"merge --model " + model:               "do you mean --adapter-path?",
		"contract new --model x":               "contract new has no flag --model: do you mean --model-path?",
		"train -epochs 3":                      "train has no flag -epochs: do you mean --epochs?",
		"train --learning_rate 1e-4":           "do you mean --learning-rate?",
		"train --lora-aplha 3":                 "do you mean --lora-alpha?",
		"prepare --lora-r 3":                   "prepare has no flag --lora-r: it is one of inspect, train",
		"train --batch-size 4.5":               `--batch-size "4.5", want a whole number`,
		"train --seed -1":                      `--seed "-1", want a whole number, 0 or more`,
		"train --learning-rate fast":           `--learning-rate "fast", want a number`,
		"train --shuffle=maybe":                `--shuffle "maybe", want true or false, behind =`,
		"serve --timeout 30":                   `--timeout "30", want a time such as 30s or 2m`,
		"train --frobnicate":                   "train has no flag --frobnicate: impulse train --help lists those it has",
		"validate " + model:                    "validate takes no argument " + model + ": do you mean --model-path " + model + "?",
		"train " + model:                       "do you mean --model " + model + "?",
		"ask " + model + " hola":               "do you mean --model-path " + model + "?",
		"serve BSC-LT/salamandra-2b":           "do you mean --model-path BSC-LT/salamandra-2b?",
		"train data.jsonl":                     "do you mean --data data.jsonl?",
		"validate held.csv":                    "do you mean --test-file held.csv?",
		"prepare .":                            "do you mean --input-dir .?",
		"train --shuffle false":                "the value of a flag that is on or off comes behind =, as in --shuffle=false",
		"doctor now":                           `doctor takes no argument, and "now" is one`,
		"ask --model-path x where is it":       "ask takes one question, and 3 words are given: put it in quotes",
		"trian":                                "there is no command trian: do you mean train?",
		"frobnicate":                           "there is no command frobnicate: impulse --help lists those there are",
		"train --data " + model + " --model x": "--data: " + model + " is a model directory, want a file of examples: --model names models",
	} {
		status, _, errs := impulseMain(t, strings.Fields(line)...)
		if status != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: status %d, %s", line, status, errs)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"shufle", "shuffle", 1}} {
		if got := editDistance(row.a, row.b); got != row.want || editDistance(row.b, row.a) != got {
			t.Errorf("%q to %q: %d, want %d both ways", row.a, row.b, got, row.want)
		}
	}
}

// TestTrainHelp: the help of train shows each flag once, under the name of its group,
// with its default, also where that is 0 or false.
func TestTrainHelp(t *testing.T) {
	status, help, _ := impulseMain(t, "train", "--help")
	if status != 0 {
		t.Fatal(status)
	}
	flags := newTrainCommand().Flags()
	var grouped []string
	for _, g := range trainGroups {
		if !strings.Contains(help, "\n"+g.title+":\n") {
			t.Errorf("no heading %s", g.title)
		}
		for _, name := range g.names {
			if flags.Lookup(name) == nil || slices.Contains(grouped, name) {
				t.Errorf("--%s, of %s, is no flag or in two groups", name, g.title)
			}
			grouped = append(grouped, name)
		}
	}
	_, help, _ = strings.Cut(help, "\nModel:\n") // behind the example
	text := strings.Join(strings.Fields(help), " ")
	flags.VisitAll(func(f *pflag.Flag) {
		if n := strings.Count(help, "  --"+f.Name+" "); n != 1 {
			t.Errorf("--%s is shown %d times", f.Name, n)
		}
		if f.DefValue == "0" || f.DefValue == "false" {
			if want := f.Usage + " (default " + f.DefValue + ")"; !strings.Contains(text, want) {
				t.Errorf("--%s is shown without its default", f.Name)
			}
		}
	})
}

// TestMarked: each line of a text has its mark, and nothing in it steers a terminal.
func TestMarked(t *testing.T) {
	if got, want := marked("{\n  \"a\": \"\x1b[31mé\"\n}\n", "  "), "  {\n    \"a\": \"\\x1b[31mé\"\n  }"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOutputDirectory: without a flag the output directory is named by model and data,
// also where these come from a file of flags; a run that is gone on with has to be
// named.
func TestOutputDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("flags.json", []byte(`{"model": "a/salamandra-2b", "data": "x/tickets.v2.jsonl"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"train --model BSC-LT/salamandra-7b --data d/tickets.jsonl": "output directory: models/salamandra-7b-tickets\n",
		"train --config flags.json":                                 "output directory: models/salamandra-2b-tickets.v2\n",
		"train --config flags.json --output-dir out":                "",
		"train --resume": "",
	} {
		status, out, errs := impulseMain(t, strings.Fields(line)...)
		if status != 1 || out != filepath.FromSlash(want) {
			t.Errorf("%s: status %d, %q, %s", line, status, out, errs)
		}
		if line == "train --resume" && !strings.Contains(errs, "--resume needs --output-dir, or --model and --data to name it by") {
			t.Errorf("%s: %s", line, errs)
		}
	}
	if exists("models") || exists("out") {
		t.Error("a directory was made for nothing")
	}
}
