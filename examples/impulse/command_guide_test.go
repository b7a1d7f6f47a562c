package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// guideCommands are the scripts of the guide by the commands that do their work.
var guideCommands = map[string]string{
	"prepare_training_data.py": "prepare", "train_simple.py": "train", "validate_simple.py": "validate", "merge_lora.py": "merge",
}

// short makes a command of the guide take seconds.
var short = map[string][]string{
	"train":    {"--max-steps", "1", "--report-samples", "0", "--eval-split", "0.2"},
	"validate": {"--limit", "1", "--max-new-tokens", "240"},
}

// TestGuide runs each command line of the guide, in a directory as the guide wants it,
// with its options and in its order; what only takes long is cut short.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("testdata/guide_commands.txt")
	if err != nil {
		t.Fatal(err)
	}
	help, _, _ := strings.Cut(newGuideTopic().Long, "pip install")
	for script, command := range guideCommands {
		if !strings.Contains(help, script) || !strings.Contains(help, "impulse "+command+" ...") {
			t.Errorf("help guide does not say that %s is %s", script, command)
		}
	}
	guideDirectory(t)
	var training, validation []string
	commands := 0
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", "")) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		commands++
		var args []string
		switch {
		case words[0] == "python":
			command := guideCommands[filepath.Base(words[1])]
			args = append([]string{command}, words[2:]...)
			if command == "train" {
				training = args
				if err := os.RemoveAll("models"); err != nil {
					t.Fatal(err)
				}
			} else if command == "validate" {
				validation = args
			}
			args = append(args, short[command]...)
		case strings.HasPrefix(words[0], "--"):
			args = append(append(append([]string{}, training...), words...), "--dry-run", "--overwrite")
		default:
			args = append(append([]string{}, validation...), short["validate"]...)
			args = append(args, "--overwrite")
			for _, w := range words {
				args = append(args, "--"+strings.ReplaceAll(w, "_", "-"))
			}
		}
		if status, out, errs := impulseMain(t, args...); status != 0 {
			t.Errorf("impulse %s: status %d\n%s%s", strings.Join(args, " "), status, out, errs)
		}
		if len(args) > 0 && args[0] == "train" && !strings.Contains(strings.Join(args, " "), "--output-dir") {
			if dir := "models/salamandra-7b-instruct-impulse_training"; !exists(filepath.Join(dir, "adapter_config.json")) {
				t.Errorf("no adapter in %s, the default directory", dir)
			}
		}
	}
	if commands != 17 {
		t.Errorf("%d commands of the guide, want 17", commands)
	}
}

// guideDirectory makes the working directory one with the guide's data, few of them,
// and its models in the cache of Hugging Face: the tiny one under all three names.
func guideDirectory(t *testing.T) {
	t.Helper()
	model, err := filepath.Abs(tinyModel)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(path string, text []byte) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	some := func(path string, n int) []byte {
		var records []json.RawMessage
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &records)
		}
		if err == nil {
			text, err = json.Marshal(records[:n])
		}
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	write("data/training/batches/batch1.json", some("demo/data/batches/batch1.json", 5))
	write("data/test/test_set.json", some("demo/data/test_set.json", 2))
	write("data/training/salamandra_finetuning_prompt.txt", []byte("Parse the query to JSON."))
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, id := range []string{"BSC-LT/salamandra-7b-instruct", "BSC-LT/salamandra-7b", "langtech-innovation/7b-tools-v3"} {
		repository := "hub/models--" + strings.ReplaceAll(id, "/", "--")
		write(repository+"/refs/main", []byte(commit))
		if err := os.CopyFS(filepath.Join(dir, repository, "snapshots", commit), os.DirFS(model)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HF_HUB_CACHE", filepath.Join(dir, "hub"))
	t.Setenv("HF_HUB_OFFLINE", "1")
	t.Setenv("WANDB_MODE", "offline")
	t.Chdir(dir)
}
