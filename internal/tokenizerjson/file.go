// Package tokenizerjson takes the tokenizer.json of Hugging Face tokenizers apart:
// the vocabulary and the merges of a BPE model, which are nearly all of the file,
// and the settings beside them. What the settings mean is left to whoever reads
// them: package tokenizer, and package gguf, which writes them in another form.
package tokenizerjson

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/impulse-salamandra/finetune/internal/faults"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
	"github.com/impulse-salamandra/finetune/internal/wrongfile"
)

// Name is the name of the file in a model's directory.
const Name = "tokenizer.json"

// File is a tokenizer.json taken apart but not yet understood.
type File struct {
	// Fields are the members of the file; those of the member "model" lack
	// vocab and merges.
	*strictjson.Fields
	// Vocab are the pieces and their ids, in the order of the file.
	Vocab []Entry
	// Merges are the pairs of pieces that become one, by rank.
	Merges []Merge

	text string // what the entries point into
}

// Entry is a piece and its id.
type Entry struct {
	start, end int
	ID         int32
}

// Merge is two pieces that become one.
type Merge struct{ start, mid, end int }

// Piece returns the text of an entry.
func (f *File) Piece(e Entry) string { return f.text[e.start:e.end] }

// Left returns the first piece of a merge.
func (f *File) Left(m Merge) string { return f.text[m.start:m.mid] }

// Right returns the second piece of a merge.
func (f *File) Right(m Merge) string { return f.text[m.mid:m.end] }

// Merged returns the piece that a merge makes.
func (f *File) Merged(m Merge) string { return f.text[m.start:m.end] }

// ReadFile returns the content of the file in the directory dir. It fails with
// [fs.ErrNotExist] if there is none.
func ReadFile(dir string) ([]byte, error) {
	path := filepath.Join(dir, Name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, "tokenizer.model")); err == nil {
			return nil, fmt.Errorf("%s has tokenizer.model and no %s: load it with Transformers' AutoTokenizer and save it with save_pretrained: %w", dir, Name, fs.ErrNotExist)
		}
		return nil, fmt.Errorf("no %s in %s: copy it from the directory of the base model: %w", Name, dir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return data, wrongfile.File(path)
}

// Parse takes the content of a file apart. What is wrong goes to list, now and
// when the fields are read. It returns nil where data is not JSON of the expected
// shape.
func Parse(data []byte, list *faults.List) *File {
	if !utf8.Valid(data) {
		list.Addf("", "the file is not UTF-8")
		return nil
	}
	f := &File{}
	s := &scanner{data: data}
	var text []byte
	settings, err := s.rest(func(key []byte, settings *bytes.Buffer) (taken bool, err error) {
		if string(key) != "model" || s.peek() != '{' {
			return false, nil
		}
		var model []byte
		if text, model, err = f.readModel(s); err == nil {
			settings.Write(model)
		}
		return true, err
	})
	if err == nil && s.peek() != 0 {
		err = s.want("the end of the file")
	}
	if err != nil {
		list.Join(err)
		return nil
	}
	if f.Vocab == nil || f.Merges == nil {
		list.Addf("model", "want an object with vocab and merges")
		return nil
	}
	f.text = string(text)
	root, found, complete := strictjson.Parse(settings, 0, maxDepth)
	for _, fault := range found { // without lines, which are those of a part of the file
		list.Addf(fault.Path.String(), "%s", fault.Detail)
	}
	if !complete {
		return nil
	}
	f.Fields = strictjson.NewFields(settings, &root, list, nil)
	return f
}

// maxDepth bounds the nesting of the settings.
const maxDepth = 64

// rest reads an object and returns it without the members that take reads: take
// reports whether it read the value of a key, and writes what is to stand for it.
func (s *scanner) rest(take func(key []byte, rest *bytes.Buffer) (taken bool, err error)) ([]byte, error) {
	var rest bytes.Buffer
	rest.WriteByte('{')
	seen := map[string]bool{} // of the keys taken
	err := s.object(func(key []byte) error {
		if seen[string(key)] {
			return s.want("each key once")
		}
		before := rest.Len()
		if before > 1 {
			rest.WriteByte(',')
		}
		rest.Write(strictjson.AppendString(nil, string(key)))
		rest.WriteByte(':')
		value := rest.Len()
		taken, err := take(key, &rest)
		if err != nil {
			return err
		}
		if taken {
			seen[string(key)] = true
			if rest.Len() == value {
				rest.Truncate(before)
			}
			return nil
		}
		raw, err := s.raw()
		rest.Write(raw)
		return err
	})
	rest.WriteByte('}')
	return rest.Bytes(), err
}

// readModel returns the texts of the pieces and the members but vocab and merges.
func (f *File) readModel(s *scanner) (text, settings []byte, err error) {
	settings, err = s.rest(func(key []byte, _ *bytes.Buffer) (taken bool, err error) {
		switch string(key) {
		case "vocab":
			text, err = f.readVocab(s, text)
		case "merges":
			text, err = f.readMerges(s, text)
		default:
			return false, nil
		}
		return true, err
	})
	return text, settings, err
}

func (f *File) readVocab(s *scanner, text []byte) ([]byte, error) {
	f.Vocab = []Entry{}
	err := s.object(func(key []byte) error {
		start := len(text)
		text = append(text, key...)
		id, err := s.integer()
		f.Vocab = append(f.Vocab, Entry{start, len(text), id})
		return err
	})
	return text, err
}

// readMerges takes both spellings of a merge: "a b" and ["a", "b"].
func (f *File) readMerges(s *scanner, text []byte) ([]byte, error) {
	f.Merges = []Merge{}
	err := s.array(func(int) (err error) {
		m := Merge{start: len(text)}
		n := 0 // pieces
		if s.peek() == '"' {
			if text, err = s.str(text); err != nil {
				return err
			}
			line := text[m.start:]
			if bytes.HasPrefix(line, []byte("#version")) {
				text = text[:m.start] // the first line of a merges.txt
				return nil
			}
			n = 1 + bytes.Count(line, []byte(" "))
			if n == 2 {
				m.mid = m.start + bytes.IndexByte(line, ' ')
				text = slices.Delete(text, m.mid, m.mid+1)
			}
		} else {
			err = s.array(func(i int) (err error) {
				if i == 1 {
					m.mid = len(text)
				}
				n++
				text, err = s.str(text)
				return err
			})
		}
		if err == nil && n != 2 {
			err = s.want("a merge of two pieces before this")
		}
		m.end = len(text)
		f.Merges = append(f.Merges, m)
		return err
	})
	return text, err
}
