package lora

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/gomlx/compute/gobackend"
	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/templatecheck"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// trained copies a reference model and its adapter, with a contract beside the
// adapter that change completes.
func trained(t *testing.T, change func(*chatml.Contract)) (base, adapter string) {
	t.Helper()
	golden := filepath.Join(referenceModels(t), "tiny-gqa")
	base, adapter = t.TempDir(), t.TempDir()
	for from, to := range map[string]string{golden: base, filepath.Join(golden, "golden", "adapter-lora"): adapter} {
		for _, name := range names(t, from) {
			if data, err := os.ReadFile(filepath.Join(from, name)); err == nil {
				require.NoError(t, os.WriteFile(filepath.Join(to, name), data, 0o666))
			}
		}
	}
	tok, err := tokenizer.Load(base)
	require.NoError(t, err)
	c := chatml.Contract{Date: chatml.DefaultDate, DefaultSystem: true, TokenizerSHA256: tok.Hash()}
	if change != nil {
		change(&c)
	}
	require.NoError(t, c.Write(filepath.Join(adapter, chatml.ContractFile)))
	return base, adapter
}

// set changes keys of a JSON file; nil takes one out.
func set(t *testing.T, path string, keys map[string]any) {
	t.Helper()
	all := readKeys(t, path)
	for key, value := range keys {
		if all[key] = value; value == nil {
			delete(all, key)
		}
	}
	text, err := json.Marshal(all)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o666))
}

func readKeys(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	all := map[string]any{}
	require.NoError(t, json.Unmarshal(text, &all))
	return all
}

// TestMergeTellsOthers: the files that other programs read say how answers begin
// and end in training, the report says what was changed, and a second merge
// changes nothing.
func TestMergeTellsOthers(t *testing.T) {
	base, adapter := trained(t, nil)
	require.Equal(t, 2., readKeys(t, filepath.Join(base, "generation_config.json"))["eos_token_id"], "what this test is about")
	set(t, filepath.Join(base, "tokenizer_config.json"), map[string]any{"add_eos_token": true})
	output := filepath.Join(t.TempDir(), "merged")
	report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output})
	require.NoError(t, err)
	for _, name := range []string{"config.json", "generation_config.json"} {
		require.Equal(t, []any{2., 5.}, readKeys(t, filepath.Join(output, name))["eos_token_id"], name)
		require.Contains(t, strings.Join(report.ChangedFiles, "\n"), name+": eos_token_id is [2,5]")
	}
	tokenizer := readKeys(t, filepath.Join(output, "tokenizer_config.json"))
	require.Equal(t, []any{false, false}, []any{tokenizer["add_bos_token"], tokenizer["add_eos_token"]})
	_, err = VerifyDir(t.Context(), output)
	require.NoError(t, err)
	restored := filepath.Join(t.TempDir(), "base")
	require.NoError(t, Unmerge(t.Context(), UnmergeOptions{Merged: output, Base: base, Output: restored}))

	again, err := Merge(t.Context(), MergeOptions{Base: output, Adapter: adapter, Output: filepath.Join(t.TempDir(), "merged"), AllowDrift: true})
	require.NoError(t, err)
	require.Empty(t, again.ChangedFiles, "all is said already")
}

// TestMergeKeepsTemplate: the output has the base's template, or where there is
// none that of training, which renders what the contract describes.
func TestMergeKeepsTemplate(t *testing.T) {
	for name, template := range map[string]chatml.Template{
		"published": {}, "another date": {Date: "2025-01-02"}, "plain": {NoDefaultSystem: true}, "with BOS": {BOS: true},
	} {
		base, adapter := trained(t, func(c *chatml.Contract) {
			c.BOS, c.DefaultSystem = template.BOS, !template.NoDefaultSystem
			if template.Date != "" {
				c.Date = template.Date
			}
		})
		set(t, filepath.Join(base, "tokenizer_config.json"), map[string]any{"chat_template": nil})
		output := filepath.Join(t.TempDir(), "merged")
		report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output})
		require.NoError(t, err)
		require.Contains(t, strings.Join(report.ChangedFiles, "\n"), "chat_template.jinja")
		warning, err := templatecheck.Check(output, template)
		require.NoError(t, err)
		require.Empty(t, warning, name)
		text, err := templatecheck.Read(output)
		require.NoError(t, err)
		require.NotEmpty(t, text, name)
	}
}

// TestMergeComparesMeaning: a template that says something else is warned of
// wherever it stands, and files that say the same in other bytes are not.
func TestMergeComparesMeaning(t *testing.T) {
	const other = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
	for _, row := range []struct {
		name   string
		change func(base, adapter string)
		warns  string
	}{
		{"nothing beside the adapter", func(_, _ string) {}, ""},
		{"the same bytes", func(base, adapter string) { copyTo(t, base, adapter, "tokenizer.json", "tokenizer_config.json") }, ""},
		{"resaved", func(base, adapter string) {
			copyTo(t, base, adapter, "tokenizer.json", "tokenizer_config.json")
			template := readKeys(t, filepath.Join(base, "tokenizer_config.json"))["chat_template"].(string)
			require.NoError(t, os.WriteFile(filepath.Join(adapter, "chat_template.jinja"), []byte(template+"\n"), 0o666))
			set(t, filepath.Join(adapter, "tokenizer_config.json"), map[string]any{"chat_template": nil})
			set(t, filepath.Join(adapter, "tokenizer.json"), nil) // another order of keys, no blanks
		}, ""},
		{"template in tokenizer_config.json", func(base, adapter string) {
			copyTo(t, base, adapter, "tokenizer_config.json")
			set(t, filepath.Join(adapter, "tokenizer_config.json"), map[string]any{"chat_template": other})
		}, "chat template"},
		{"one of several", func(base, adapter string) {
			copyTo(t, base, adapter, "tokenizer_config.json")
			set(t, filepath.Join(adapter, "tokenizer_config.json"), map[string]any{"chat_template": []any{map[string]any{"name": "default", "template": other}}})
		}, "chat template"},
		{"template in a file", func(_, adapter string) {
			require.NoError(t, os.WriteFile(filepath.Join(adapter, "chat_template.jinja"), []byte(other), 0o666))
		}, "chat template"},
		{"another tokenizer", func(base, adapter string) {
			copyTo(t, base, adapter, "tokenizer.json")
			set(t, filepath.Join(adapter, "tokenizer.json"), map[string]any{"normalizer": nil})
		}, "tokenizer.json"},
	} {
		t.Run(row.name, func(t *testing.T) {
			base, adapter := trained(t, nil)
			require.NoError(t, os.Remove(filepath.Join(adapter, chatml.ContractFile)))
			row.change(base, adapter)
			report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(t.TempDir(), "merged")})
			require.NoError(t, err)
			var about []string
			for _, w := range report.Warnings {
				if !strings.Contains(w, "was trained on") {
					about = append(about, w)
				}
			}
			if row.warns == "" {
				require.Empty(t, about)
			} else {
				require.Len(t, about, 1)
				require.Contains(t, about[0], row.warns)
			}
		})
	}
}

func copyTo(t *testing.T, from, to string, files ...string) {
	t.Helper()
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(from, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, name), data, 0o666))
	}
}

// TestMergeRefusesDrift: a base that is not that of training is refused, and so
// is its tokenizer, unless that is allowed.
func TestMergeRefusesDrift(t *testing.T) {
	for field, change := range map[string]func(*chatml.Contract){
		"base_sha256":      func(c *chatml.Contract) { c.BaseSHA256 = strings.Repeat("0", 64) },
		"tokenizer_sha256": func(c *chatml.Contract) { c.TokenizerSHA256 = strings.Repeat("0", 64) },
	} {
		base, adapter := trained(t, change)
		dir := t.TempDir()
		opts := MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(dir, "merged")}
		_, err := Merge(t.Context(), opts)
		require.ErrorIs(t, err, chatml.ErrDrift)
		require.ErrorContains(t, err, field)
		require.Empty(t, names(t, dir))
		opts.AllowDrift = true
		report, err := Merge(t.Context(), opts)
		require.NoError(t, err)
		require.Contains(t, strings.Join(report.Warnings, "\n"), field)
	}
}

// TestMergeStoredHead: a head that config.json calls tied and that is stored all
// the same is the head, and the output says so.
func TestMergeStoredHead(t *testing.T) {
	base, adapter := trained(t, nil)
	set(t, filepath.Join(base, "config.json"), map[string]any{"tie_word_embeddings": true})
	before, err := modelfiles.Open(base)
	require.NoError(t, err)
	require.NoError(t, before.Close())
	require.False(t, before.Config.TieWordEmbeddings)
	output := filepath.Join(t.TempDir(), "merged")
	report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output})
	require.NoError(t, err)
	require.Equal(t, false, readKeys(t, filepath.Join(output, "config.json"))["tie_word_embeddings"])
	require.Contains(t, strings.Join(report.ChangedFiles, "\n"), "tie_word_embeddings")
}

// TestMergeVerifies: the number of prompts is all it takes to compare the merged
// model with base and adapter.
func TestMergeVerifies(t *testing.T) {
	base, adapter := trained(t, func(c *chatml.Contract) { c.Examples = []string{"hidrogen verd"} })
	opts := MergeOptions{Base: base, Adapter: adapter, Output: filepath.Join(t.TempDir(), "merged"), Verify: 3, Backend: "go"}
	report, err := Merge(t.Context(), opts)
	require.NoError(t, err)
	require.Equal(t, 3, report.Verified.Prompts)
	require.Less(t, report.Verified.Error, report.Verified.Allowed)
	require.DirExists(t, opts.Output)
}
