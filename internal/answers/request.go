package answers

import (
	"maps"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// RequestValues finds the places of answers whose value a request fixes: those
// that in every record repeat the user's message, word by word, or the record's
// language. A place with one value in all records is none, since it may be there
// by chance, unless it is called after what it repeats, such as lang. Answers that
// are no JSON objects have no such places.
func RequestValues(records []dataset.Record) map[string]chatml.RequestValue {
	candidates := map[place]string{} // with the value in the first record
	varied := map[place]bool{}
	for i, r := range records {
		v, faults, _ := strictjson.Parse([]byte(r.Answer()), 0, maxDepth)
		if len(faults) > 0 || v.Kind != strictjson.Object {
			return map[string]chatml.RequestValue{}
		}
		texts := map[string]string{}
		collect(texts, "", &v)
		fixed := map[chatml.RequestValue]string{chatml.Question: r.Question(), chatml.Language: r.Lang}
		if i == 0 {
			for path, text := range texts {
				for value, want := range fixed {
					if text == want && text != "" {
						candidates[place{path, value}] = text
					}
				}
			}
		}
		maps.DeleteFunc(candidates, func(p place, first string) bool {
			varied[p] = varied[p] || fixed[p.value] != first
			text, there := texts[p.path]
			return !there || text != fixed[p.value]
		})
	}
	values := map[string]chatml.RequestValue{}
	for p := range candidates {
		if varied[p] || p.named() {
			values[p.path] = p.value
		}
	}
	return values
}

// place is a path of answers with what it may repeat.
type place struct {
	path  string
	value chatml.RequestValue
}

// named reports whether the place is called after what it repeats.
func (p place) named() bool {
	key := strings.ToLower(p.path[strings.LastIndexByte(p.path, '.')+1:])
	if p.value == chatml.Language {
		return key == "lang" || key == "language"
	}
	return strings.Contains(key, "question") || strings.Contains(key, "query")
}

// collect adds the texts in the objects of a value by path. Keys with a dot have
// none.
func collect(texts map[string]string, path string, v *strictjson.Value) {
	for i := range v.Members {
		m := &v.Members[i]
		at := strings.TrimPrefix(path+"."+m.Key, ".")
		switch {
		case strings.Contains(m.Key, "."):
		case m.Value.Kind == strictjson.String:
			texts[at] = m.Value.Text
		default:
			collect(texts, at, &m.Value)
		}
	}
}
