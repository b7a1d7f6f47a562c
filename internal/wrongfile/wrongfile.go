// Package wrongfile says what a file or a directory is that is not what was
// wanted, and the way out: a Git LFS pointer in place of weights, an error page
// saved as tokenizer.json, a pickle, an adapter given as a model. Readers ask it
// once a file or a directory has turned out not to be theirs.
package wrongfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// ways out of weights that are pickles.
const (
	picklesModel   = "can run code and is not read: save the model with Transformers' save_pretrained, which writes safetensors"
	picklesAdapter = "can run code and is not read: load it with PEFT and save it with save_pretrained, which writes safetensors"
)

// A sign is how the files of a kind begin.
type sign struct {
	prefix string
	says   string // after the path
}

var signs = []sign{
	{"GGUF", "is a GGUF file of llama.cpp: use the Hugging Face model directory that it was made from"},
	{"PK\x03\x04", "is a ZIP archive, as PyTorch saves weights: it " + picklesModel},
	{"\x80\x02", "is a pickle of PyTorch: it " + picklesModel},
	{"\x89HDF\r\n", "is an HDF5 file, as Keras saves weights: use the model's safetensors files"},
	{"\x1f\x8b", "is compressed with gzip: unpack it"},
	{"\x28\xb5\x2f\xfd", "is compressed with zstd: unpack it"},
	{"\xfd7zXZ\x00", "is compressed with xz: unpack it"},
	{"Entry not found", "holds the hub's answer that there is no such file: check the name of the model and of the file"},
	{"Invalid username or password", "holds the hub's refusal: log in with hf auth login, or set HF_TOKEN, and download it again"},
	{"Access to model", "holds the hub's refusal: accept the model's terms on its page, set HF_TOKEN, and download it again"},
}

var (
	pointer     = regexp.MustCompile(`^version https://(git-lfs|hawser)\.github\.com/spec/v1\s`)
	pointerSize = regexp.MustCompile(`(?m)^size ([0-9]+)\s*$`)
	page        = regexp.MustCompile(`(?i)^\s*(<!doctype html|<html|<\?xml)`)
)

// File returns an error that says what the file at path is, if it is something
// well known; nil if it is not, or cannot be read.
func File(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if stat, err := f.Stat(); err != nil || !stat.Mode().IsRegular() {
		return nil
	}
	head, err := io.ReadAll(io.LimitReader(f, 512))
	if err != nil {
		return nil
	}
	if says := recognise(head); says != "" {
		return errors.New(path + " " + says)
	}
	return nil
}

// Explain returns err, the reason why the file at path cannot be read, or in its
// place what the file is if it is something well known; [errors.Is] finds in that
// what it finds in err.
func Explain(path string, err error) error {
	if err == nil {
		return nil
	}
	return instead(File(path), err)
}

// instead returns known with the causes of err, or err where nothing is known.
func instead(known, err error) error {
	if known == nil {
		return err
	}
	return faults.Caused(err, "%v", known)
}

// recognise says what a file is that begins with head, "" if it is not known.
func recognise(head []byte) string {
	if len(head) == 0 {
		return "is empty: download or copy it again"
	}
	if pointer.Match(head) {
		of := ""
		if m := pointerSize.FindSubmatch(head); m != nil {
			of = fmt.Sprintf(" of the file of %s bytes", m[1])
		}
		return "is a Git LFS pointer" + of + ", not the file itself: fetch it with git lfs pull, or download the model again"
	}
	if page.Match(head) {
		return "is a web page, often an error or a login, saved in place of the file: download it again"
	}
	for _, s := range signs {
		if bytes.HasPrefix(head, []byte(s.prefix)) {
			return s.says
		}
	}
	return ""
}

// ExplainModel is Explain for a path that was given for a model and has no
// config.json.
func ExplainModel(path string, err error) error { return instead(model(path), err) }

func model(path string) error {
	stat, err := os.Stat(path)
	switch {
	case err != nil:
		return nil
	case !stat.IsDir():
		return notDir(path, "model")
	case has(path, "adapter_config.json"):
		return fmt.Errorf("%s is an adapter, not a model: give the model that it was trained on, and the adapter as such", path)
	}
	if name := first(path, "*.gguf"); name != "" {
		return fmt.Errorf("%s holds %s for llama.cpp and no config.json: use the Hugging Face model directory that it was made from", path, name)
	}
	if name := first(path, "params.json"); name != "" && first(path, "consolidated*") != "" {
		return fmt.Errorf("%s holds a model in Meta's own format: use the one that Transformers loads, with config.json and safetensors", path)
	}
	return nil
}

// ExplainWeights is Explain for a model directory with neither model.safetensors
// nor its index.
func ExplainWeights(dir string, err error) error { return instead(weights(dir), err) }

func weights(dir string) error {
	if name := first(dir, "model-*-of-*.safetensors"); name != "" {
		return fmt.Errorf("%s has %s and no model.safetensors.index.json, which says which tensor is where: download the index too", dir, name)
	}
	for _, pattern := range []string{"pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt"} {
		if name := first(dir, pattern); name != "" {
			return fmt.Errorf("%s has its weights in %s, which %s", dir, name, picklesModel)
		}
	}
	for _, pattern := range []string{"tf_model*.h5", "flax_model*.msgpack", "*.gguf", "*.onnx"} {
		if name := first(dir, pattern); name != "" {
			return fmt.Errorf("%s has its weights in %s, which is not read: use the model's safetensors files", dir, name)
		}
	}
	if name := first(dir, "*.safetensors"); name != "" {
		return fmt.Errorf("%s has %s and not model.safetensors: if all weights are in it, rename it", dir, name)
	}
	return nil
}

// ExplainAdapter is Explain for a path that was given for an adapter and lacks
// adapter_config.json or adapter_model.safetensors.
func ExplainAdapter(path string, err error) error { return instead(adapter(path), err) }

func adapter(path string) error {
	stat, err := os.Stat(path)
	switch {
	case err != nil:
		return nil
	case !stat.IsDir():
		return notDir(path, "adapter")
	case has(path, "adapter_model.bin"):
		return fmt.Errorf("%s has its weights in adapter_model.bin, which %s", path, picklesAdapter)
	case has(path, "config.json") && !has(path, "adapter_config.json"):
		return fmt.Errorf("%s is a model, not an adapter: an adapter directory has adapter_config.json and adapter_model.safetensors", path)
	}
	if checkpoints := list(path, "checkpoint-*"); len(checkpoints) > 0 {
		return fmt.Errorf("%s holds checkpoints and no adapter: give one of them, such as %s", path, filepath.Join(path, checkpoints[len(checkpoints)-1]))
	}
	return nil
}

// notDir says what a file is that was given in place of a directory of this kind.
func notDir(path, kind string) error {
	if err := File(path); err != nil {
		return err
	}
	return fmt.Errorf("%s is a file: give the %s directory that holds it", path, kind)
}

func has(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// first returns the first name in dir that a pattern matches, "" for none.
func first(dir, pattern string) string {
	if names := list(dir, pattern); len(names) > 0 {
		return names[0]
	}
	return ""
}

// list returns the names in dir that a pattern matches, in the order of their
// letters; dir itself is no pattern.
func list(dir, pattern string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if ok, err := filepath.Match(pattern, e.Name()); err == nil && ok && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}
