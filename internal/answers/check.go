package answers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/evalx"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// Check lists the answers that constrained decoding by a schema would not write
// as they stand, each with one reason: it is not JSON, does not comply with the
// schema, has its keys in another order, or is laid out otherwise. It fails if the
// schema cannot be compiled.
func Check(records []dataset.Record, schema json.RawMessage, layout chatml.Layout) (dataset.Faults, error) {
	opts := constrain.DefaultOptions()
	opts.Closed = true // as answers are written
	opts.Indent, opts.ItemSeparator, opts.KeySeparator = layout.Indent, layout.ItemSeparator, layout.KeySeparator
	grammar, err := constrain.Compile(schema, opts)
	if err != nil {
		return nil, err
	}
	rules, err := evalx.CompileSchema("of the answers", schema)
	if err != nil {
		return nil, err
	}
	root, err := parseSchema(schema)
	if err != nil {
		return nil, err
	}
	var faults dataset.Faults
	for a := range all(records) {
		if !grammar.Match(a.text) {
			faults = append(faults, a.fault(whyNot(a, rules, root, grammar, layout)))
		}
	}
	return faults, nil
}

// whyNot says why an answer would not be written as it stands.
func whyNot(a answer, rules *evalx.Schema, root *strictjson.Value, grammar *constrain.Grammar, layout chatml.Layout) error {
	value, err := evalx.Parse(string(a.text))
	if err != nil {
		return err
	}
	if violations := rules.Validate(value); len(violations) > 0 {
		return fmt.Errorf("answer %s", violations[0])
	}
	v, _, _ := strictjson.Parse(a.text, 0, maxDepth)
	if err := otherwise(a.text, &v, layout); err != nil {
		return err
	}
	if got, want := reorder(root, &v); !slices.Equal(got, want) {
		return fmt.Errorf("answer: its keys are in the order %s, and in the schema's it is %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
	return unwritten(a.text, &v, written(grammar, a.text))
}

// unwritten says which value of an answer constrained decoding cannot write, which
// shows at a byte.
func unwritten(text []byte, v *strictjson.Value, at int) error {
	var path strictjson.Path
	for inside := v; inside != nil; {
		v, inside = inside, nil
		to := path
		for i := range v.Items {
			if v.Items[i].Offset <= at {
				inside, to = &v.Items[i], path.Item(i)
			}
		}
		for i := range v.Members {
			if v.Members[i].Offset <= at {
				inside, to = &v.Members[i].Value, path.Key(v.Members[i].Key)
			}
		}
		path = to
	}
	where, why := "answer", "the schema has it otherwise"
	if len(path) > 0 {
		where += ": " + path.String()
	}
	if v.Kind == strictjson.Number {
		why = "numbers have no zeros at the end and no exponent"
		if len(strings.Trim(v.Text, "-")) > constrain.MaxDigits {
			why = fmt.Sprintf("numbers that the schema does not limit have at most %d digits: give it minimum and maximum", constrain.MaxDigits)
		}
	}
	return fmt.Errorf("%s: constrained decoding does not write %s (byte %d); %s", where, excerpt(text[:v.End], v.Offset), at+1, why)
}

// written returns how many bytes of a text constrained decoding could write.
func written(grammar *constrain.Grammar, text []byte) int {
	const end = 256
	bytesOf := func(id int32) ([]byte, bool) { return []byte{byte(id)}, id < end }
	m, err := grammar.Matcher(constrain.NewVocabulary(end+1, bytesOf, []int32{end}))
	if err != nil {
		return 0
	}
	for i, c := range text {
		if m.Accept(int32(c)) != nil {
			return i
		}
	}
	return len(text)
}

// reorder puts the keys of a value into the order of the schema, keys that the
// schema does not know last. It returns the keys of the first object that had
// another order, as they were and as they are.
func reorder(root, v *strictjson.Value) (was, is []string) {
	orders := map[*strictjson.Value][]string{} // of objects, in the order of the schema
	s := &schemaWalk{root: root, visit: func(properties, object *strictjson.Value) {
		for _, m := range properties.Members {
			if !slices.Contains(orders[object], m.Key) {
				orders[object] = append(orders[object], m.Key)
			}
		}
	}}
	s.walk(root, v, 0)
	for _, object := range slices.SortedFunc(maps.Keys(orders), innerFirst) { // ordering moves what is inside
		order := orders[object]
		before := keysOf(object)
		slices.SortStableFunc(object.Members, func(a, b strictjson.Member) int { return rank(order, a.Key) - rank(order, b.Key) })
		if after := keysOf(object); !slices.Equal(before, after) {
			was, is = before, after
		}
	}
	return was, is
}

func rank(order []string, key string) int {
	if i := slices.Index(order, key); i >= 0 {
		return i
	}
	return len(order)
}

func keysOf(object *strictjson.Value) []string {
	var keys []string
	for _, m := range object.Members {
		keys = append(keys, m.Key)
	}
	return keys
}

// Normalise returns the records with every answer that is a JSON object or array
// written in a layout, with its keys in the order of a schema, nil for none, and
// how many answers that changed. Numbers stay as they are written; strings are
// written without needless escapes. The records given are not changed.
func Normalise(records []dataset.Record, schema json.RawMessage, layout chatml.Layout) (normal []dataset.Record, changed int, err error) {
	var root *strictjson.Value
	if schema != nil {
		if root, err = parseSchema(schema); err != nil {
			return nil, 0, err
		}
	}
	normal = slices.Clone(records)
	for i := range normal {
		normal[i].Messages = slices.Clone(records[i].Messages)
	}
	for a := range all(records) {
		v, ok := a.value()
		if !ok {
			continue
		}
		if root != nil {
			reorder(root, v)
		}
		if text := appendValue(nil, v, layout); !bytes.Equal(text, a.text) {
			normal[a.index].Messages[a.message].Content = string(text)
			changed++
		}
	}
	return normal, changed, nil
}
