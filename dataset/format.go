package dataset

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// Format is a way to write records as JSON objects, beside those that [Reader]
// knows.
type Format struct {
	// Name is what the format is called in errors and on screens.
	Name string
	// Keys are the top-level keys by which the format is known: objects that have
	// all of them are of it.
	Keys []string
	// List is the key of an object around the records, as in {"queries": [...]};
	// "" if files of this format have none.
	List string
	// Read makes a record of a JSON object, which is valid in every respect. Of
	// the faults it returns, and the record's Warnings, Line counts from the line
	// on which the object begins, 0; File is filled in by the caller, as are the
	// record's File and Line.
	Read func(object json.RawMessage) (Record, Faults)
}

// Keys of the formats that are read without being asked for.
var (
	messageKeys = []string{"messages", "conversations", "conversation"}
	promptKeys  = []string{"prompt", "instruction", "question", "query", "input", "inputs", "user"}
	answerKeys  = []string{"completion", "output", "response", "answer", "targets", "assistant"}
	systemKeys  = []string{"system", "system_prompt"}
)

// foldKeys writes the keys of the formats as they are known: "Prompt" is prompt,
// unless the object has both.
func foldKeys(object *strictjson.Value) {
	for i := range object.Members {
		key := strings.ToLower(object.Members[i].Key)
		if object.Get(key) == nil && isFormatKey(key) {
			object.Members[i].Key = key
		}
	}
}

func isFormatKey(key string) bool {
	return slices.ContainsFunc([][]string{messageKeys, promptKeys, answerKeys, systemKeys}, func(keys []string) bool { return slices.Contains(keys, key) })
}

// listKeys are those under which an object may hold the records.
var listKeys = []string{"data", "train", "records", "examples", "rows"}

// formatNames describe the formats in errors.
const formatNames = "messages of role and content, conversations of from and value (ShareGPT), prompt and completion, or instruction and output (Alpaca)"

// format is what a record is read by.
type format struct {
	name string
	read func(p *parser) []chatml.Message // nil for one of the caller's
	own  *Format
}

// detect returns the format of an object by its keys.
func detect(own []Format, object *strictjson.Value) (format, error) {
	if object.Kind != strictjson.Object {
		return format{}, fmt.Errorf("%s, want an object", object.Kind)
	}
	f, err := detectOwn(own, object)
	found := f != nil
	var fits []format
	if found {
		fits = append(fits, format{name: f.Name, own: f})
	}
	lists, prompts, answers := present(object, messageKeys), present(object, promptKeys), present(object, answerKeys)
	for _, key := range lists {
		name := key
		if key != "messages" {
			name = "sharegpt"
		}
		fits = append(fits, format{name: name, read: func(p *parser) []chatml.Message { return p.conversation(key) }})
	}
	switch alpaca := slices.Contains(prompts, "instruction") && !slices.ContainsFunc(prompts, func(key string) bool { return key != "instruction" && key != "input" }); {
	case len(answers) == 0 || len(prompts) == 0 || found:
	case len(answers) > 1 || len(prompts) > 1 && !alpaca:
		return format{}, fmt.Errorf("unknown format: which of the keys %s is the prompt and which the answer? want one of each", strings.Join(slices.Concat(prompts, answers), ", "))
	case alpaca:
		fits = append(fits, format{name: "alpaca", read: func(p *parser) []chatml.Message { return p.alpaca(answers[0]) }})
	default:
		fits = append(fits, format{name: prompts[0] + "/" + answers[0], read: func(p *parser) []chatml.Message { return p.pair(prompts[0], answers[0]) }})
	}
	switch {
	case err != nil:
		return format{}, err
	case len(fits) == 0:
		return format{}, unknown(own, object)
	case len(fits) > 1:
		return format{}, fmt.Errorf("unknown format: the keys are those of %s and of %s; want one of them", fits[0].name, fits[1].name)
	}
	return fits[0], nil
}

// detectOwn returns the format of the caller's whose keys the object has: of
// several, the one that asks for all the keys that the others do.
func detectOwn(own []Format, object *strictjson.Value) (*Format, error) {
	var fits []*Format
	for i, f := range own {
		if !slices.ContainsFunc(f.Keys, func(key string) bool { return object.Get(key) == nil }) {
			fits = append(fits, &own[i])
		}
	}
	for _, f := range fits {
		lacks := func(key string) bool { return !slices.Contains(f.Keys, key) }
		if !slices.ContainsFunc(fits, func(other *Format) bool { return slices.ContainsFunc(other.Keys, lacks) }) {
			return f, nil
		}
	}
	if len(fits) > 0 {
		return nil, fmt.Errorf("unknown format: the keys are those of %s and of %s", fits[0].Name, fits[1].Name)
	}
	return nil, nil
}

// present returns those of the keys that an object has.
func present(object *strictjson.Value, keys []string) []string {
	var found []string
	for _, key := range keys {
		if object.Get(key) != nil {
			found = append(found, key)
		}
	}
	return found
}

// unknown says what an object of no known format looks like.
func unknown(own []Format, object *strictjson.Value) error {
	var keys []string
	for _, m := range object.Members {
		keys = append(keys, fmt.Sprintf("%q", m.Key))
	}
	if len(keys) > 12 {
		keys = append(keys[:12], "...")
	}
	has := func(keys ...string) bool { return len(present(object, keys)) == len(keys) }
	looks := ""
	switch {
	case has("chosen") || has("rejected"):
		looks = "; that is preference data: to train on the chosen answers, write them as prompt and completion"
	case has("role", "content"), has("from", "value"):
		looks = `; that is a message by itself: a record is {"messages": [...]} with all messages of a conversation`
	case has("contents"):
		looks = "; that looks like Gemini's format"
	case has("text"):
		looks = "; which part of the text is the answer is not known"
	}
	names := formatNames
	for _, f := range own {
		names = fmt.Sprintf("%s (%s), ", f.Name, strings.Join(f.Keys, ", ")) + names
	}
	return fmt.Errorf("unknown format with the keys %s%s; want %s", strings.Join(keys, ", "), looks, names)
}
