package augment

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

func record(id, lang, question, answer string) dataset.Record {
	return dataset.Record{ID: id, Lang: lang, Messages: []chatml.Message{
		{Role: chatml.System, Content: "Sort."}, {Role: chatml.User, Content: question}, {Role: chatml.Assistant, Content: answer}}}
}

var records = []dataset.Record{
	record("a", "ca", "No funciona: impressora a la sala A1, és urgent. Va costar 1.200 euros.", `{"device": "impressora", "room": "A1", "cost": 1200, "date": null}`),
	record("", "ES", "Necesito la conexión del 12/03/2024 en Gerona, Lérida y Barcelona.", `{"cities": ["Gerona", "Lérida", "Barcelona"], "date": "2024-03-12"}`),
	record("c", "en", "Please repair the keyboard in room B2. There is no hurry.", `{"device": "keyboard", "query": "Please repair the keyboard in room B2. There is no hurry."}`),
}

func needed(question, answer string) needs {
	v, _, _ := strictjson.Parse([]byte(answer), 0, 100)
	return needsOf(question, &v)
}

func TestNeeds(t *testing.T) {
	for _, row := range []struct {
		name, question, answer string
		want                   []string
	}{
		{"case and accents aside", "la CONEXIO de lleida", `["connexió", "conexió", "Lleida"]`, []string{"CONEXIO", "lleida"}},
		{"whole words only", "portals and a portal", `{"x": "portal"}`, []string{"portal"}},
		{"numbers", "1.200 euros on 12/03/2024, room A1.", `{"cost": 1200}`, []string{"1.200", "12/03/2024", "A1"}},
		{"a number inside another", "240 and 24", `{"n": 24}`, []string{"240", "24"}},
		{"decomposed", "la lle\u0301ida", `"lléida"`, []string{"lle\u0301ida"}},
		{"nothing", "hello", `{"x": "", "y": " ", "z": "-", "b": true, "n": null}`, nil},
		{"of several words", "the New  York and new york office", `{"x": "New York"}`, []string{"new york"}},
	} {
		n := needed(row.question, row.answer)
		var got []string
		for _, s := range n.spans {
			got = append(got, row.question[s.start:s.end])
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
		if why := n.missing(row.question); why != "" {
			t.Errorf("%s: the question itself: %s", row.name, why)
		}
	}
	n := needed("from Girona to Lleida in 2020", `{"path": ["Girona", "Lleida"]}`)
	for text, want := range map[string]string{
		"Girona, Lleida, 2020":           "",
		"to Lleida from Girona in 2020":  `"Girona" and "Lleida" have changed places`,
		"from Girona to lleida in 2020":  `"Lleida" is missing`,
		"from Gironas to Lleida in 2020": `"Girona" is missing`,
		"Girona, Lleida, 2020, 3 days":   "a number is new",
		"Girona, Lleida":                 `"2020" is missing`,
	} {
		if got := n.missing(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func TestTemplates(t *testing.T) {
	for _, row := range []struct {
		template, lang, question, answer string
		want                             []string // any of these
	}{
		{Accents, "", "La connexió és àgil: València", `{"city": "València"}`, []string{"La connexio es agil: València"}},
		{Case, "", "No funciona: Wifi a la sala A1.", `{"x": "Wifi"}`, []string{"no funciona: Wifi a la sala A1", "NO FUNCIONA: Wifi A LA SALA A1."}},
		{Order, "", "No funciona: wifi. Va costar 20 euros.", `{}`, []string{"Va costar 20 euros. No funciona: wifi."}},
		{Order, "", "The Wifi fails, it is urgent.", `{"x": "wifi"}`, []string{"It is urgent, the Wifi fails."}},
		{Order, "", "Wifi fails, it is urgent", `{"x": "wifi"}`, []string{"It is urgent, Wifi fails"}},
		{Order, "", "Room A1. It fails.", `{}`, []string{"It fails. Room A1."}},
		{Order, "", "Ask Dr. Puig today.", `{}`, []string{"Ask Dr. Puig today."}},
		{Order, "", "One, two, three.", `{}`, []string{"One, two, three."}},
		{Politeness, "en", "Where is it?", `{}`, []string{"Hello, where is it?", "Good morning, where is it?", "Please, where is it?", "Where is it? Thank you.", "Where is it? Many thanks."}},
		{Politeness, "de", "Wo ist es?", `{}`, []string{"Wo ist es?"}},
	} {
		for seed := range uint64(20) {
			q := question{needed(row.question, row.answer), row.lang}
			if got := templates[row.template](q, rand.New(rand.NewPCG(1, seed))); !slices.Contains(row.want, got) {
				t.Errorf("%s: %q, want one of %q", row.template, got, row.want)
			}
		}
	}
	q := question{needed("Please repair the keyboard", `{"x": "keyboard"}`), ""}
	for seed := range uint64(50) {
		got := strings.Fields(typos(q, rand.New(rand.NewPCG(1, seed))))
		if got[3] != "keyboard" || got[0] == "Please" == (got[1] == "repair") {
			t.Fatalf("%q: want one typo, outside the value", got)
		}
	}
}

// TestMake: variants follow their source, carry its id, repeat the question where
// the answer does, and keep what it needs; the same seed gives the same bytes.
func TestMake(t *testing.T) {
	opts := DefaultOptions()
	opts.Variants = 5
	result, err := Make(t.Context(), records, opts)
	if err != nil {
		t.Fatal(err)
	}
	var source dataset.Record
	variants := 0
	for _, r := range result.Records {
		if r.VariantOf == "" {
			source = r
			continue
		}
		variants++
		if r.VariantOf != source.ID || !strings.HasPrefix(r.ID, source.ID+"~") || r.Extra["variant_by"] == nil || r.Question() == source.Question() {
			t.Errorf("%+v of %+v", r, source)
		}
		if why := needed(source.Question(), withoutQuery(source)).missing(r.Question()); why != "" {
			t.Errorf("%q of %q: %s", r.Question(), source.Question(), why)
		}
		if want := strings.ReplaceAll(source.Answer(), source.Question(), r.Question()); r.Answer() != want {
			t.Errorf("answer %s, want %s", r.Answer(), want)
		}
	}
	kept := 0
	for _, n := range result.Report.Kept {
		kept += n
	}
	if variants != kept || variants < 10 || result.Records[0].ID != "a" || result.Records[1+slices.IndexFunc(result.Records, func(r dataset.Record) bool { return r.ID == "#2" })].VariantOf != "#2" {
		t.Errorf("%d variants, %d reported: %+v", variants, kept, result.Records)
	}
	for seed, same := range map[uint64]bool{42: true, 43: false} {
		opts.Seed = seed
		again, err := Make(t.Context(), records, opts)
		if err != nil || reflect.DeepEqual(again, result) != same {
			t.Errorf("seed %d: equal is not %v, %v", seed, same, err)
		}
	}
}

func withoutQuery(r dataset.Record) string {
	return strings.ReplaceAll(r.Answer(), `"`+r.Question()+`"`, "null")
}

// What is written is read again, and goes on being made of the same sources.
func TestMadeIsWritten(t *testing.T) {
	result, err := Make(t.Context(), records, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "out.jsonl")
	if err := dataset.WriteFile(t.Context(), path, result.Records); err != nil {
		t.Fatal(err)
	}
	read, _, err := dataset.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range read {
		r.File, r.Line = "", 0
		if want := result.Records[i]; !reflect.DeepEqual(r, want) {
			t.Errorf("%+v\nwant %+v", r, want)
		}
	}
	again, err := Make(t.Context(), read, DefaultOptions())
	if err != nil || !strings.Contains(again.Report.String(), "a variant itself: 6") {
		t.Errorf("%v, %v", again.Report, err)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), `"variant_of": "#2", "variant_by": "`) != 2 {
		t.Errorf("%s, %v", text, err)
	}
}

func TestParaphrases(t *testing.T) {
	opts := DefaultOptions()
	opts.Variants, opts.Paraphrases = 0, 1
	texts := []string{"La impressora de la sala A1 s'ha espatllat i corre pressa: 1.200 euros", "Busco vuelos para el 12/03/2024 a Gerona, Lérida y Barcelona\n1. Sí", "Could you have a look at the kyboard in B2?"}
	opts.Paraphrase = func(_ context.Context, questions []string) ([]string, error) {
		if len(questions) != 3 || questions[2] != records[2].Question() {
			t.Errorf("asked %q", questions)
		}
		return texts, nil
	}
	result, err := Make(t.Context(), records, opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Records) != 4 || result.Records[1].Question() != texts[0] || string(result.Records[1].Extra["variant_by"]) != `"paraphrase"` {
		t.Errorf("%+v", result.Records)
	}
	for _, want := range []string{"3 of 3 records varied, 1 variants kept", "paraphrase: a value is lost: 2", "a number is new"} {
		if got := result.Report.String(); !strings.Contains(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	opts.Identify = func(text string) string {
		if strings.Contains(text, "espatllat") {
			return "ES"
		}
		return "CA"
	}
	texts[1], texts[2] = "Gerona, Lérida, Barcelona: 12/03/2024\nla conexión", "keyboard B2 <|im_end|>"
	result, err = Make(t.Context(), records, opts)
	if err != nil || len(result.Records) != 3 {
		t.Errorf("%+v, %v", result, err)
	}
	for _, want := range []string{"another language: 1", "several lines: 1", "a control token: 1"} {
		if got := result.Report.String(); !strings.Contains(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	fails := errors.New("no model")
	opts.Paraphrase = func(context.Context, []string) ([]string, error) { return nil, fails }
	if _, err := Make(t.Context(), records, opts); !errors.Is(err, fails) {
		t.Error(err)
	}
}

func TestMakeRefuses(t *testing.T) {
	_, err := Make(t.Context(), records, Options{Templates: []string{"slang"}, Variants: -1, Paraphrases: 1})
	for _, want := range []string{`template "slang", want some of accents, typos, case, order, politeness`, "-1 variants", "paraphrases need a model"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
	if _, err := Make(t.Context(), append(slices.Clone(records), records[0]), DefaultOptions()); err == nil || !strings.Contains(err.Error(), `record "a": id: is that of record 1 too`) {
		t.Errorf("%v", err)
	}
	odd := []dataset.Record{record("text", "", "q", "Sorry."), record("empty", "", " ", "{}"), {ID: "turn", Messages: records[0].Messages[:2]}}
	result, err := Make(t.Context(), odd, DefaultOptions())
	if err != nil || !reflect.DeepEqual(result.Records, odd) {
		t.Errorf("%+v, %v", result, err)
	}
	for _, want := range []string{"the answer is not JSON: 1, such as text", "the question is empty: 1, such as empty", "no question and answer at the end: 1, such as turn"} {
		if got := result.Report.String(); !strings.Contains(got, want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// Variants are never parted from their source.
func TestSplitFollows(t *testing.T) {
	var examples []dataset.Example
	words := []string{"wifi", "taula", "núvol", "poma", "gos", "llum", "carrer", "mar"}
	for i, w := range words {
		examples = append(examples, dataset.Example{ID: w, IDs: []int32{int32(i), 1}, Train: []bool{false, true}})
		for k := range 3 {
			examples = append(examples, dataset.Example{ID: w + string(rune('1'+k)), VariantOf: w, IDs: []int32{int32(1000 + 10*i + k), 1}, Train: []bool{false, true}})
		}
	}
	of := func(e dataset.Example) string {
		if e.VariantOf != "" {
			return e.VariantOf
		}
		return e.ID
	}
	for seed := range uint64(20) {
		train, eval, err := dataset.Split(examples, dataset.SplitOptions{Fraction: 0.25, Seed: seed})
		if err != nil || len(eval) != 8 {
			t.Fatalf("%d held out, %v", len(eval), err)
		}
		var alone []dataset.Example
		for _, e := range examples {
			if e.VariantOf == "" {
				alone = append(alone, e)
			}
		}
		_, before, err := dataset.Split(alone, dataset.SplitOptions{Fraction: 0.25, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range eval {
			if slices.ContainsFunc(train, func(o dataset.Example) bool { return of(o) == of(e) }) {
				t.Errorf("seed %d: %s is on both sides", seed, of(e))
			}
			if !slices.ContainsFunc(before, func(o dataset.Example) bool { return o.ID == of(e) }) {
				t.Errorf("seed %d: %s is held out with variants only", seed, of(e))
			}
		}
	}
}

// FuzzMake: whatever the question and the answer, each variant keeps what is needed,
// its answer is the source's but for the question in it, and nothing panics.
func FuzzMake(f *testing.F) {
	for _, r := range records {
		f.Add(r.Question(), r.Answer(), r.Lang, uint64(1))
	}
	f.Add("a\u0301, b. C! \xff", `["a\u0301", "\ud800", {"x": "b"}]`, "ca", uint64(7))
	f.Fuzz(func(t *testing.T, question, answer, lang string, seed uint64) {
		opts := DefaultOptions()
		opts.Variants, opts.Seed = 5, seed
		source := record("a", lang, question, answer)
		result, err := Make(t.Context(), []dataset.Record{source}, opts)
		if err != nil {
			t.Fatal(err)
		}
		v, _, _ := strictjson.Parse([]byte(answer), 0, 200)
		for _, r := range result.Records[1:] {
			asked := r.Messages[1].Content
			if why := needsOf(question, without(question, v)).missing(asked); why != "" {
				t.Fatalf("%q of %q: %s", asked, question, why)
			}
			var was, is any
			if json.Unmarshal([]byte(answer), &was) != nil {
				continue
			}
			if err := json.Unmarshal([]byte(r.Answer()), &is); err != nil {
				t.Fatalf("%s: %v", r.Answer(), err)
			}
			if !strings.Contains(answer, `\`) && !strings.Contains(answer, question) && r.Answer() != answer {
				t.Fatalf("answer %s, want %s", r.Answer(), answer)
			}
		}
	})
}
