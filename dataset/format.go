package dataset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Format is one way to write records as JSON objects. Other packages may have
// formats of their own, such as dataset/impulse.
type Format struct {
	// Name is what the format is called in errors and on screens.
	Name string
	// Keys are the top-level keys that tell the format: objects that have all of
	// them are of it.
	Keys []string
	// List is the key of an object around the records, as in {"queries": [...]};
	// "" if files of this format have none.
	List string
	// Read makes a record of a JSON value, which is valid UTF-8 and valid JSON
	// but may be of any type. Of the faults it returns, Line counts from the line
	// on which the value begins, 0; File is filled in by the caller.
	Read func(value json.RawMessage) (Record, Faults)
}

// Formats returns the formats that are read where no others are asked for:
// [Messages], [PromptCompletion] and [Alpaca]. In all of them an id and a lang
// may be given; absent and null are the same. Other keys are ignored. Key names
// are compared exactly.
func Formats() []Format { return []Format{Messages(), PromptCompletion(), Alpaca()} }

// Messages is the format of chat data sets:
//
//	{"id": "q1", "messages": [{"role": "user", "content": "Hola"}, ...], "lang": "ca"}
func Messages() Format {
	return Format{Name: "messages", Keys: []string{"messages"}, Read: func(value json.RawMessage) (Record, Faults) {
		var p parser
		r, fields := p.begin(value)
		if fields == nil {
			return r, p.faults
		}
		r.Messages = p.messages("messages", fields["messages"])
		return p.end(r)
	}}
}

// PromptCompletion is a question and its answer, each a text as it is, blanks
// included, or a list of messages:
//
//	{"system": "Answer briefly.", "prompt": "Hola", "completion": "Bon dia"}
//
// system may be absent.
func PromptCompletion() Format {
	return Format{Name: "prompt/completion", Keys: []string{"prompt", "completion"}, Read: func(value json.RawMessage) (Record, Faults) {
		var p parser
		r, fields := p.begin(value)
		if fields == nil {
			return r, p.faults
		}
		r.Messages = p.system(fields)
		for _, part := range []struct {
			key  string
			role chatml.Role
		}{{"prompt", chatml.User}, {"completion", chatml.Assistant}} {
			v := fields[part.key]
			if v != nil && kind(v) == "array" {
				r.Messages = append(r.Messages, p.messages(part.key, v)...)
			} else {
				r.Messages = append(r.Messages, chatml.Message{Role: part.role, Content: p.text(part.key, v)})
			}
		}
		return p.end(r)
	}}
}

// Alpaca is the format of the Stanford Alpaca data set:
//
//	{"instruction": "Translate to Catalan.", "input": "good morning", "output": "bon dia"}
//
// Instruction, an empty line and input are the question; without input, which
// may be absent or empty, the instruction alone is. system may be given too.
func Alpaca() Format {
	return Format{Name: "alpaca", Keys: []string{"instruction", "output"}, Read: func(value json.RawMessage) (Record, Faults) {
		var p parser
		r, fields := p.begin(value)
		if fields == nil {
			return r, p.faults
		}
		question := p.text("instruction", fields["instruction"])
		if input := p.optional("input", fields); input != "" {
			question += "\n\n" + input
		}
		r.Messages = append(p.system(fields),
			chatml.Message{Role: chatml.User, Content: question},
			chatml.Message{Role: chatml.Assistant, Content: p.text("output", fields["output"])})
		return p.end(r)
	}}
}

// system is the system message of a record that may have one.
func (p *parser) system(fields map[string]json.RawMessage) []chatml.Message {
	if text := p.optional("system", fields); text != "" {
		return []chatml.Message{{Role: chatml.System, Content: text}}
	}
	return nil
}

// detect returns the format of a value: of those whose keys it has, the one that
// asks for all the keys that the others do.
func detect(formats []Format, value json.RawMessage) (Format, error) {
	var fields map[string]json.RawMessage
	if kind(value) != "object" || json.Unmarshal(value, &fields) != nil {
		return Format{}, fmt.Errorf("%w: %s, want an object", ErrType, kind(value))
	}
	var fit []Format
	for _, f := range formats {
		if !slices.ContainsFunc(f.Keys, func(key string) bool { return fields[key] == nil }) {
			fit = append(fit, f)
		}
	}
	for _, f := range fit {
		if !slices.ContainsFunc(fit, func(other Format) bool { return slices.ContainsFunc(other.Keys, f.lacks) }) {
			return f, nil
		}
	}
	if fit != nil {
		return Format{}, fmt.Errorf("%w: the keys are those of %s; want one of them", ErrFormat, describe(fit))
	}
	return Format{}, fmt.Errorf("%w: no record of a known format; want %s", ErrFormat, describe(formats))
}

func (f Format) lacks(key string) bool { return !slices.Contains(f.Keys, key) }

func describe(formats []Format) string {
	var names []string
	for _, f := range formats {
		names = append(names, fmt.Sprintf("%s (%s)", f.Name, strings.Join(f.Keys, ", ")))
	}
	return strings.Join(names, " or ")
}
