package tokenizer

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// file is a tokenizer.json taken apart but not yet understood.
type file struct {
	sections map[string]json.RawMessage // the top-level members but model
	model    map[string]json.RawMessage // the model's members but vocab and merges
	vocab    []vocabEntry
	merges   []mergeEntry
	text     string // what the entries point into
}

// vocabEntry is the piece text[start:end] and its id.
type vocabEntry struct {
	start, end int
	id         int32
}

// mergeEntry joins the pieces text[start:mid] and text[mid:end].
type mergeEntry struct {
	start, mid, end int
}

// splitFile reads the JSON. It returns nil, with a fault, where data is not
// JSON of the expected shape.
func splitFile(data []byte, fs *faults) *file {
	if !utf8.Valid(data) {
		fs.malformed("", "the file is not UTF-8")
		return nil
	}
	f := &file{sections: map[string]json.RawMessage{}}
	s := &scanner{data: data}
	var text []byte
	err := s.object(func(key []byte) (err error) {
		if string(key) == "model" {
			text, err = f.readModel(s)
		} else {
			name := string(key)
			f.sections[name], err = s.raw()
		}
		return err
	})
	if err == nil && s.peek() != 0 {
		err = s.want("the end of the file")
	}
	if err != nil {
		fs.malformed("", "%v", err)
		return nil
	}
	if f.vocab == nil || f.merges == nil {
		fs.malformed("model", "want an object with vocab and merges")
		return nil
	}
	f.text = string(text)
	return f
}

func (f *file) readModel(s *scanner) (text []byte, err error) {
	f.model = map[string]json.RawMessage{}
	err = s.object(func(key []byte) (err error) {
		switch name := string(key); name {
		case "vocab":
			text, err = f.readVocab(s, text)
		case "merges":
			text, err = f.readMerges(s, text)
		default:
			f.model[name], err = s.raw()
		}
		return err
	})
	return text, err
}

func (f *file) readVocab(s *scanner, text []byte) ([]byte, error) {
	f.vocab = []vocabEntry{}
	err := s.object(func(key []byte) error {
		start := len(text)
		text = append(text, key...)
		id, err := s.integer()
		f.vocab = append(f.vocab, vocabEntry{start, len(text), id})
		return err
	})
	return text, err
}

// readMerges takes both spellings of a merge: "a b" and ["a", "b"].
func (f *file) readMerges(s *scanner, text []byte) ([]byte, error) {
	f.merges = []mergeEntry{}
	err := s.array(func(int) (err error) {
		m := mergeEntry{start: len(text)}
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
			err = s.want("a merge of two pieces before the text")
		}
		m.end = len(text)
		f.merges = append(f.merges, m)
		return err
	})
	return text, err
}
