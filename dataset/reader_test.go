package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/impulse-salamandra/finetune/chatml"
)

const (
	line   = `{"id": "q1", "messages": [{"role": "user", "content": "Hola"}], "lang": "ca"}`
	pair   = `{"id": "p", "prompt": "Hola", "completion": " Bon dia", "lang": "ca"}`
	alpaca = `{"id": "a", "instruction": "Translate.", "input": "sun", "output": "sol"}`
)

// listed is a format of the caller's with its records under a key.
var listed = Format{Name: "listed", Keys: []string{"q", "a"}, List: "queries", Read: func(object json.RawMessage) (Record, Faults) {
	var v struct{ Q, A string }
	if json.Unmarshal(object, &v) != nil {
		return Record{}, Faults{{Line: bytes.Count(object, []byte("\n")), Err: errors.New("q and a are no texts")}}
	}
	return talk("", "user: "+v.Q, "assistant: "+v.A), nil
}}

// read returns what a text holds, without the places.
func read(in io.Reader, formats ...Format) ([]Record, string, error) {
	r := NewReader(in, "x", formats...)
	records, err := r.ReadAll()
	for i := range records {
		records[i].File, records[i].Line = "", 0
	}
	return records, r.Format(), err
}

func TestFormats(t *testing.T) {
	chat := talk("", "user: u", "assistant: a")
	weighted := talk("", "user: u", "assistant: a", "user: v", "assistant: b")
	weighted.Messages[1].Untrained = true
	for _, row := range []struct {
		name, in, format string
		want             Record
	}{
		{name: "messages", in: line, format: "messages", want: Record{ID: "q1", Messages: talk("", "user: Hola").Messages, Lang: "ca"}},
		{name: "names in other cases and of other tools", format: "messages", want: talk("", "system: s", "user: u", "assistant: a"),
			in: `{"messages": [{"role": "developer", "content": "s"}, {"role": "User", "content": "u"}, {"role": "gpt", "content": "a"}]}`},
		{name: "system beside messages", in: `{"system": "s", "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}`, format: "messages",
			want: talk("", "system: s", "user: u", "assistant: a")},
		{name: "the same system twice", in: `{"system_prompt": "s", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}`, format: "messages",
			want: talk("", "system: s", "user: u")},
		{name: "weights", format: "messages", want: weighted,
			in: `{"messages": [{"role": "user", "content": "u", "weight": 0}, {"role": "assistant", "content": "a", "weight": 0.0}, {"role": "user", "content": "v"}, {"role": "assistant", "content": "b", "weight": 1}]}`},
		{name: "trained or not", format: "sharegpt", want: weighted,
			in: `{"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a", "train": false}, {"from": "user", "value": "v"}, {"from": "assistant", "value": "b", "loss": true, "weight": null}]}`},
		{name: "parts of text", in: `{"messages": [{"role": "user", "content": [{"type": "text", "text": "u"}]}, {"role": "assistant", "content": [{"text": "a"}]}]}`, format: "messages", want: chat},
		{name: "what says nothing", in: `{"tools": [], "functions": null, "system": "", "messages": [{"role": "user", "content": "u", "name": "", "tool_calls": null}, {"role": "assistant", "content": "a", "refusal": null, "audio": null}]}`,
			format: "messages", want: with(chat, "tools", "[]", "messages[].name", `""`)},
		{name: "notes", in: `{"source": {"n": 1.50}, "weight": 1, "messages": [{"role": "user", "content": "u", "timestamp": 7}, {"role": "assistant", "content": "a", "timestamp": 8}], "prompt": "u"}`,
			format: "messages", want: with(chat, "source", `{"n":1.50}`, "weight", "1", "messages[].timestamp", "7", "prompt", `"u"`)},
		{name: "conversation of sharegpt", in: `{"system": "s", "conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}`, format: "sharegpt", want: talk("", "system: s", "user: u", "assistant: a")},
		{name: "prompt and completion", in: pair, format: "prompt/completion", want: Record{ID: "p", Lang: "ca", Messages: talk("", "user: Hola", "assistant:  Bon dia").Messages}},
		{name: "question and answer", in: `{"question": "u", "answer": "a"}`, format: "question/answer", want: chat},
		{name: "input and output", in: `{"input": "u", "output": "a"}`, format: "input/output", want: chat},
		{name: "lists of messages", format: "prompt/completion", want: talk("", "system: s", "user: u", "assistant: a"),
			in: `{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}]}`},
		{name: "system of a pair", in: `{"system": "s", "prompt": "u", "completion": "a"}`, format: "prompt/completion", want: talk("", "system: s", "user: u", "assistant: a")},
		{name: "alpaca", in: alpaca, format: "alpaca", want: talk("a", "user: Translate.\n\nsun", "assistant: sol")},
		{name: "alpaca without input", in: `{"instruction": "u", "input": "", "output": "a", "text": "u a"}`, format: "alpaca", want: with(chat, "text", `"u a"`)},
		{name: "alpaca with null input", in: `{"instruction": "u", "input": null, "response": "a"}`, format: "alpaca", want: chat},
		{name: "alpaca with history", format: "alpaca", want: talk("", "system: s", "user: p", "assistant: q", "user: u", "assistant: a"),
			in: `{"instruction": "u", "output": "a", "system": "s", "history": [["p", "q"]]}`},
		{name: "long ids", in: `{"id": 1234567890123456789012345678, "prompt": "u", "completion": "a"}`, format: "prompt/completion", want: talk("1234567890123456789012345678", "user: u", "assistant: a")},
		{name: "escapes", in: `{"prompt": "\ud83c\udf89\\ud800 \ufffd\u0000", "completion": "a"}`, format: "prompt/completion", want: talk("", "user: 🎉\\ud800 \ufffd\x00", "assistant: a")},
		{name: "names in capitals", in: `{"Prompt": "u", "COMPLETION": "a", "Mood": "b"}`, format: "prompt/completion", want: with(chat, "Mood", `"b"`)},
		{name: "a table as pandas writes it", in: ",prompt,completion,How was it?\n0,u,a,good\n", format: "prompt/completion", want: with(chat, "index", `"0"`, "How was it?", `"good"`)},
		{name: "an answer that is an object", in: `{"prompt": "u", "completion": {"b": 1.50, "a": ["é", {}]}}`, format: "prompt/completion", want: talk("", "user: u", `assistant: {"b": 1.50, "a": ["é", {}]}`)},
		{name: "a message that is an object", in: `{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": {"b": 1}}]}`, format: "messages", want: talk("", "user: u", `assistant: {"b": 1}`)},
		{name: "alpaca with an object", in: `{"instruction": "u", "output": {"b": 1}}`, format: "alpaca", want: talk("", "user: u", `assistant: {"b": 1}`)},
		{name: "a format of the caller's", in: `{"q": "u", "a": "a"}`, format: "listed", want: chat},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, format, err := read(strings.NewReader(row.in), listed)
			if err != nil || format != row.format || !reflect.DeepEqual(got, []Record{row.want}) {
				t.Errorf("format %q, %v\n got %#v\nwant %#v", format, err, got, row.want)
			}
		})
	}
}

// with adds keys that do not touch the conversation.
func with(r Record, pairs ...string) Record {
	r.Extra = map[string]json.RawMessage{}
	for p := range slices.Chunk(pairs, 2) {
		r.Extra[p[0]] = json.RawMessage(p[1])
	}
	return r
}

// TestRefused: nothing that would change the conversation is passed over.
func TestRefused(t *testing.T) {
	chat := func(more string) string {
		return `{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"` + more + `}]}`
	}
	beside := func(key, value string) string {
		return `{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "` + key + `": ` + value + `}`
	}
	for _, row := range []struct{ in, want string }{
		{beside("tools", `[{"type": "function"}]`), "x:1: tools: the chat template that is trained has no tools"},
		{beside("Tool Calls", `[1]`), "Tool Calls: the chat template"},
		{beside("history", `[["p", "q"]]`), "history: that would be part of the conversation"},
		{beside("prompt", `"p"`), "prompt: that would be part"},
		{beside("context", `"long passage"`), "context: that would be part"},
		{beside("images", `["a.png"]`), "images: only text is trained"},
		{beside("rejected", `"b"`), "rejected: that is preference data"},
		{beside("weight", `0`), "weight: records are not weighted"},
		{beside("train", `false`), "train: records are not weighted"},
		{beside("chat_template_kwargs", `{"a": 1}`), "chat_template_kwargs: prompts are made by the model's own"},
		{beside("turns_before", `[{"role": "user", "content": "v"}]`), "turns_before: that would be part"},
		{`{"system": "s", "messages": [{"role": "system", "content": "t"}, {"role": "user", "content": "u"}]}`, "system: the conversation has another system message"},
		{chat(`, "weight": 0.5`), "messages[1].weight: 0.5, want 0 (context, not trained) or 1"},
		{chat(`, "weight": "0"`), `messages[1].weight: "0", want 0`},
		{chat(`, "weight": 0, "train": true`), "messages[1]: its keys contradict each other"},
		{chat(`, "tool_calls": [{}]`), "messages[1].tool_calls: the chat template that is trained has no tools"},
		{chat(`, "reasoning_content": "hm"`), "messages[1].reasoning_content: the chat template that is trained has no reasoning"},
		{chat(`, "thinking": "hm"`), "messages[1].thinking: "},
		{chat(`, "name": "Ona"`), "messages[1].name: the chat template that is trained has no names"},
		{chat(`, "prefix": true`), "messages[1].prefix: answers are trained whole"},
		{chat(`, "mask": 1`), "messages[1].mask: unknown key of a message"},
		{`{"messages": [{"role": "user", "content": "u", "weight": 1}]}`, "messages[0].weight: a message of user is to be trained"},
		{`{"messages": [{"role": "function", "content": "u"}]}`, `messages[0].role: "function": the chat template that is trained has no tools`},
		{`{"messages": [{"role": "critic", "content": "u"}]}`, `messages[0].role: unknown role "critic", want system, user or assistant`},
		{`{"messages": [{"role": "", "content": "u"}]}`, `messages[0].role: unknown role ""`},
		{`{"messages": [{"role": true, "content": "u"}]}`, "messages[0].role: boolean, want a string"},
		{`{"messages": [{"content": "u"}]}`, "messages[0].role: missing"},
		{`{"messages": [{"role": "user", "from": "human", "content": "u"}]}`, "messages[0]: both role and from"},
		{`{"messages": [{"role": "user", "content": null}]}`, "messages[0].content: null, want a string"},
		{`{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}`, `messages[0].content[0]: a part of type "image_url"; only text is trained`},
		{`{"messages": [{"role": "user", "content": [{"type": "text"}, 7]}]}`, "messages[0].content[0]: a part without text"},
		{`{"messages": ["u"]}`, "messages[0]: string, want a message"},
		{`{"messages": []}`, "messages: no messages"},
		{`{"messages": "u"}`, "messages: string, want a list of messages"},
		{`{"messages": null}`, "messages: null, want a list of messages"},
		{`{"id": [], "prompt": "u", "completion": "a"}`, "id: array, want a string"},
		{`{"Prompt": "v", "prompt": "u", "completion": "a"}`, "Prompt: that would be part of the conversation"},
		{`{"prompt": {"a": 1}, "completion": "a"}`, "prompt: object, want a string"},
		{`{"prompt": "u", "completion": {"role": "assistant", "content": "a"}}`, "completion: a message, want a list of messages or a string"},
		{`{"messages": [{"role": "assistant", "content": {"type": "text", "text": "a"}}]}`, "messages[0].content: a part of a content, want a list"},
		{`{"prompt": "u", "completion": 7}`, "completion: number, want a string"},
		{`{"prompt": null, "completion": "a"}`, "prompt: null, want a string"},
		{`{"prompt": "u", "completion": "a", "label": false}`, "label: that is preference data"},
		{`{"prompt": "u", "completion": "a", "suffix": "z"}`, "suffix: that would be part"},
		{`{"instruction": "u", "output": "a", "history": "z"}`, "history: string, want a list of pairs"},
		{`{"instruction": "u", "output": "a", "history": [["z"]]}`, "history[0]: want a pair of texts"},
		{`{"question": "u", "query": "v", "answer": "a"}`, "which of the keys question, query, answer is the prompt"},
		{`{"messages": [], "prompt": "a", "completion": "b"}`, "the keys are those of messages and of prompt/completion"},
		{`{"text": "u a"}`, `unknown format with the keys "text"; which part of the text is the answer is not known`},
		{`{"prompt": "u", "chosen": "a", "rejected": "b"}`, "that is preference data: to train on the chosen answers"},
		{`{"role": "user", "content": "u"}`, "that is a message by itself"},
		{`{"contents": [{"role": "user", "parts": [{"text": "u"}]}]}`, "that looks like Gemini's format"},
		{`{"id": 1, "dialogue": ["a", "b"]}`, `unknown format with the keys "id", "dialogue"; want listed (q, a), messages of role and content`},
		{`[]`, ""},
		{`7`, "number, want an object"},
		{`null`, "null, want an object"},
	} {
		records, _, err := read(strings.NewReader(row.in), listed)
		if row.want == "" {
			if err != nil {
				t.Errorf("%s: %v", row.in, err)
			}
			continue
		}
		var faults Faults
		if records != nil || !errors.As(err, &faults) || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s:\n got %v\nwant %s", row.in, err, row.want)
		}
	}
}

// TestLayouts reads the same two records however a file is laid out.
func TestLayouts(t *testing.T) {
	var pretty strings.Builder
	enc := json.NewEncoder(&pretty)
	enc.SetIndent("", "  ")
	for range 2 {
		if err := enc.Encode(json.RawMessage(alpaca)); err != nil {
			t.Fatal(err)
		}
	}
	for name, in := range map[string]string{
		"lines":                 alpaca + "\n" + alpaca,
		"marks and blank lines": "\ufeff" + alpaca + "\r\n\r\n  \n" + alpaca + "\u00a0",
		"array":                 "[" + alpaca + "," + alpaca + "]",
		"array over lines":      "\ufeff \n[\n" + alpaca + "\n,\r\n" + alpaca + "\n]\n",
		"objects over lines":    pretty.String(),
		"object with a list":    `{"version": [1], "queries": [` + alpaca + ", " + alpaca + `], "more": {"a": [1]}}`,
		"list over lines":       "{\n \"data\": [\n" + alpaca + ",\n" + alpaca + "\n]}\n",
		"a split":               `{"train": [` + alpaca + ", " + alpaca + `], "test": []}`,
		"brackets in the texts": strings.ReplaceAll("["+alpaca+","+alpaca+"]", "sun", `}]{[\"\\`),
		"table":                 "id,instruction,input,output\na,Translate.,sun,sol\r\n\na,\"Translate.\",\"sun\",\"sol\"\n",
		"tabs":                  "\ufeffoutput\tid\tinput\tinstruction\nsol\ta\tsun\tTranslate.\nsol\ta\tsun\tTranslate.",
		"semicolons":            "output;id;input;instruction\nsol;a;sun;Translate.\nsol;a;sun;Translate.\n",
	} {
		want := talk("a", "user: Translate.\n\nsun", "assistant: sol")
		if strings.Contains(in, "}]{[") {
			want.Messages[0].Content = "Translate.\n\n}]{[\"\\"
		}
		for form, data := range encodings(in) {
			got, format, err := read(iotest.OneByteReader(bytes.NewReader(data)), listed)
			if err != nil || format != "alpaca" || !reflect.DeepEqual(got, []Record{want, want}) {
				t.Errorf("%s, %s: %s, %v\n%#v", name, form, format, err, got)
			}
		}
	}
}

// encodings are the forms in which a text may be stored.
func encodings(text string) map[string][]byte {
	forms := map[string][]byte{"UTF-8": []byte(text)}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	forms["gzip"] = packed.Bytes()
	text = strings.TrimPrefix(text, "\ufeff")
	for name, order := range map[string]binary.AppendByteOrder{"little-endian": binary.LittleEndian, "big-endian": binary.BigEndian} {
		for _, mark := range []string{"", "\ufeff"} {
			var b16, b32 []byte
			for _, unit := range utf16.Encode([]rune(mark + text)) {
				b16 = order.AppendUint16(b16, unit)
			}
			for _, c := range mark + text {
				b32 = order.AppendUint32(b32, uint32(c))
			}
			forms["UTF-16 "+name+mark], forms["UTF-32 "+name+mark] = b16, b32
		}
	}
	return forms
}

// TestPlaces: a record knows where it stood.
func TestPlaces(t *testing.T) {
	for in, lines := range map[string][2]int{
		"\n" + pair + "\n\n" + pair:            {2, 4},
		"[" + pair + ",\n\n" + pair + "]":      {1, 3},
		"prompt,completion\n\"a\nb\",c\nd,e\n": {2, 4},
		"{\n\"prompt\": \"a\",\n\"completion\": \"b\"}\n{\n\"prompt\": \"a\",\n\"completion\": \"b\"}": {1, 4},
	} {
		records, err := NewReader(strings.NewReader(in), "x").ReadAll()
		if err != nil || len(records) != 2 || records[0].Line != lines[0] || records[1].Line != lines[1] || records[0].File != "x" {
			t.Errorf("%q: %+v, %v, want lines %v", in, records, err, lines)
		}
	}
}

func TestTextFaults(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     []string // beginnings of faults
	}{
		{"mixed", line + "\n" + alpaca + "\n" + line + "\n" + pair, []string{`x:2: record "a": the format is alpaca, of those before messages`, `x:4: record "p": the format is prompt/completion`}},
		{"mixed in an array", "[\n" + pair + ",\n" + line + "]", []string{`x:3: record "q1": the format is messages`}},
		{"cut-off first line", `{"prompt": "a` + "\n" + pair, []string{"x:1: not JSON: unexpected end of input, want the end of a string (byte 14)"}},
		{"cut-off line", line + "\n  {\"id\": \"a\"", []string{`x:2: record "a": not JSON: unexpected end of input, want ',' or '}' (byte 13)`}},
		{"two values", line + line, []string{"x:1: record \"q1\": not JSON: '{' after the top-level value"}},
		{"array not closed", "[" + alpaca + "\n,", []string{"x:2: not JSON: the file ends inside the array"}},
		{"value not closed", "[" + alpaca + ",\n{\"a\": [", []string{"x:2: not JSON: the file ends inside this value"}},
		{"no comma", "[" + alpaca + "\n" + alpaca + "]", []string{"x:2: not JSON: '{' after an item"}},
		{"comma at the end", "[" + alpaca + ",\n]", []string{"x:2: not JSON: ']' where an item"}},
		{"text after the array", "[" + alpaca + "]\n7", []string{"x:2: not JSON: text after the array"}},
		{"text after the object", `{"data": [` + alpaca + "]}\n7", []string{"x:2: not JSON: text after the object"}},
		{"two lists", `{"train": [` + alpaca + `], "test": [` + alpaca + `]}`, []string{`x:1: records are under "train" and under "test"`}},
		{"object not closed", `{"train": [` + alpaca + `], "a": 7`, []string{"x:1: not JSON: the file ends inside the object"}},
		{"bad member", `{"train": [` + alpaca + `], 7: 7}`, []string{"x:1: not JSON: want a key in double quotes"}},
		{"no colon", `{"train": [` + alpaca + `], "a" 7}`, []string{"x:1: not JSON: '7' after a key"}},
		{"items of other types", "[1,\n[],\n\"a\"\n, nul]", []string{"x:1: number, want", "x:2: array, want", "x:3: string, want", "x:4: not JSON: unexpected end of input, want"}},
		{"inside an object over lines", "{\n\"prompt\": \"a\",\n\"completion\" \"b\"\n}", []string{"x:3: completion: not JSON: unexpected '\"', want ':' (byte 14)"}},
		{"inside a list", "{\"queries\": [\n" + alpaca + ",\n{\"instruction\": 1, \"output\": \"\"}\n]}", []string{"x:3: instruction: number"}},
		{"field over lines", "{\n\"prompt\": \"a\",\n\"completion\": 7\n}", []string{"x:3: completion: number"}},
		{"fault of the caller's format", "{\"queries\": [{\"q\": 1,\n\"a\": 2}]}", []string{"x:2: q and a are no texts"}},
		{"stray bracket", "[}]", []string{"x:1: not JSON: unexpected '}'", "x:1: not JSON: the file ends inside the array"}},
		{"key twice", `{"prompt": "a", "prompt": "b", "completion": "c"}`, []string{"x:1: prompt: key given twice"}},
		{"half a pair", line + "\n" + `{"messages":[{"role":"user","content":"a\udc80"}]}`, []string{`x:2: messages[0].content: \udc80 is half a surrogate pair, no character (byte 41)`}},
		{"deep", `{"id": "d", "prompt": ` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + "}", []string{`x:1: record "d": more than 200 arrays`}},
		{"mark in the middle", line + "\n\ufeff" + line, []string{"x:2: not JSON: byte-order mark (U+FEFF) at the start of a line: were files put together? take it out (byte 1)"}},
		{"Latin-1", line + "\n{\"prompt\": \"caf\xe9\", \"completion\": \"a\"}", []string{"x:2: prompt: byte 0xe9 is not UTF-8 (in Windows-1252 or Latin-1 it is 'é'): save the file as UTF-8 (byte 16)"}},
		{"NUL", "{\"prompt\": \"caf\x00\", \"completion\": \"a\"}", []string{`x:1: prompt: not JSON: unexpected NUL byte, want it written as \u0000 within a string (byte 16)`}},
		{"curly quotes", "{\u201cprompt\u201d: 1}", []string{"x:1: not JSON: unexpected curly quote (U+201C), want a key in double quotes (byte 2)"}},
		{"row too short", "prompt,completion\na\nb,c", []string{"x:2: the row has 1 cells, want 2: prompt, completion"}},
		{"quotes", "prompt,completion\n\"a\"b,c\nd,e\n", []string{`x:2: not CSV: extraneous or missing " in quoted-field, at byte 3 of line 2`}},
		{"table in Latin-1", "prompt,completion\nd,e\ncaf\xe9,c", []string{"x:3: prompt: byte 0xe9 is not UTF-8 (in Windows-1252 or Latin-1 it is 'é'): save the file as UTF-8, in the cell that begins at byte 1 of line 3"}},
		{"columns", "title,body\na,b", []string{`x:2: unknown format with the keys "title", "body"; want`}},
		{"missing cell", "prompt,completion\na,", []string{"x:2: completion: the cell is empty"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			records, _, err := read(strings.NewReader(row.in), listed)
			var faults Faults
			if records != nil || !errors.As(err, &faults) || len(faults) != len(row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			for i, want := range row.want {
				if !strings.HasPrefix(faults[i].Error(), want) {
					t.Errorf("got  %v\nwant %s", faults[i], want)
				}
			}
		})
	}
}

// TestOtherFiles: what is no text of records is named, with the way out.
func TestOtherFiles(t *testing.T) {
	tar := append(make([]byte, 257), "ustar\x0000"...)
	for in, want := range map[string]string{
		"PAR1\x15\x04":                          "looks like Parquet, which is not read: export it as JSON Lines",
		"ARROW1\x00\x00":                        "looks like Arrow",
		"SQLite format 3\x00":                   "looks like an SQLite database",
		"PK\x03\x04\x14":                        "looks like a zip archive, as Excel's files are",
		"\x28\xb5\x2f\xfd\x04":                  "looks like zstd, which is not read: unpack it: zstd -d",
		"BZh91AY":                               "looks like bzip2",
		"%PDF-1.7":                              "looks like PDF",
		"<!doctype HTML>\n":                     "looks like a web page",
		"version https://git-lfs.github.com/v1": "looks like a pointer of git-lfs",
		"\x1f\x8b\x08":                          "looks like gzip, and cannot be unpacked",
		string(tar):                             "looks like a tar archive",
		"\xff\xfe{\x00\x00\xd8":                 "UTF-16 with half a surrogate pair",
		"\xff\xfe{\x00\x00":                     "UTF-16 that ends within a character",
		"\xff\xfe\x00\x00\x00\x00\x11\x00":      "UTF-32 with 0x110000",
		"prompt,prompt\na,b":                    `the column "prompt" is there twice`,
	} {
		_, _, err := read(strings.NewReader(in))
		if err == nil || !strings.HasPrefix(err.Error(), "x:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", in, err, want)
		}
	}
	cut := encodings(strings.Repeat(alpaca+"\n", 100))["gzip"]
	if _, _, err := read(bytes.NewReader(cut[:len(cut)-9])); err == nil || !strings.Contains(err.Error(), "is the file complete?") {
		t.Errorf("a gzip cut off: %v", err)
	}
}

func TestLongRecords(t *testing.T) {
	long := strings.Repeat("a", 3<<20)
	got, _, err := read(strings.NewReader(`{"messages":[{"role":"user","content":"` + long + `"}]}`))
	if err != nil || len(got[0].Messages[0].Content) != 3<<20 {
		t.Fatal(err)
	}
	for _, in := range []string{
		line + "\n" + strings.Repeat("x", maxRecord+1) + "\n[]\n",
		"[" + line + ",\n" + strings.Repeat("x", maxRecord+1) + ",\n[]]",
	} {
		_, _, err = read(strings.NewReader(in))
		if err == nil || !strings.Contains(err.Error(), "x:2: the record is too long") || !strings.Contains(err.Error(), "x:3: array, want an object") {
			t.Error(err)
		}
	}
	_, _, err = read(io.MultiReader(strings.NewReader("prompt,completion\n\""), &repeated{text: "aaaaaaaaaaaaaaaa", n: maxRecord/16 + 1<<16}))
	if err == nil || !strings.Contains(err.Error(), "are its quotes closed?") {
		t.Error(err)
	}
}

// repeated gives n copies of a text without holding them.
type repeated struct {
	text string
	n    int
	rest string
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.text
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// TestReaderStreams measures the heap while records are read: thirty times
// as many need no more of it.
func TestReaderStreams(t *testing.T) {
	heap := func(in io.Reader, n int) uint64 {
		var most, count uint64
		for _, err := range NewReader(in, "x").Records() {
			if err != nil {
				t.Fatal(err)
			}
			if count++; count%uint64(n/4) == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
		if count != uint64(n) {
			t.Fatalf("%d records, want %d", count, n)
		}
		return most
	}
	list := func(open, end string) func(n int) io.Reader {
		return func(n int) io.Reader {
			return io.MultiReader(strings.NewReader(open), &repeated{text: line + ",", n: n - 1}, strings.NewReader(line+end))
		}
	}
	for name, of := range map[string]func(n int) io.Reader{
		"lines":  func(n int) io.Reader { return &repeated{text: line + "\n", n: n} },
		"array":  list("[", "]"),
		"object": list(`{"data": [`, "]}"),
		"table": func(n int) io.Reader {
			return io.MultiReader(strings.NewReader("prompt,completion\n"), &repeated{text: "a question,and its answer\n", n: n})
		},
	} {
		few, many := heap(of(1000), 1000), heap(of(30_000), 30_000)
		if many > few+1<<20 {
			t.Errorf("%s: %d bytes of heap, %d with few records", name, many, few)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(line + "\n" + line))
	f.Add([]byte("\ufeff{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud83c\\udf89\"}]}\r\n"))
	f.Add([]byte(`{"messages":[{"role":"user","content":"\ud800"}],"messages":null}`))
	f.Add([]byte("[" + pair + ",\n" + pair + "]"))
	f.Add([]byte("{\"queries\": [\n" + alpaca + "], \"a\": 1}"))
	f.Add([]byte("{\n\"instruction\": \"i\",\n\"output\": \"o\"}\n{"))
	f.Add([]byte("prompt,completion\n\"a\",b\n"))
	f.Add([]byte("\xff\xfe{\x00}\x00"))
	f.Add([]byte(`{"conversations": [{"from": "human", "value": "u", "weight": 0}, {"from": "gpt", "value": [{"text": "a"}], "loss": false}], "system": "s"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := NewReader(bytes.NewReader(data), "x", listed).ReadAll()
		var faults Faults
		switch {
		case errors.As(err, &faults):
			for _, fault := range faults {
				if fault.Line < 1 || fault.Error() == "" {
					t.Errorf("%+v", fault)
				}
			}
			return
		case err != nil:
			return
		}
		var b strings.Builder
		for i := range records {
			records[i].File, records[i].Line, records[i].Extra = "", 0, nil
			b.Write(appendRecord(nil, records[i]))
			if _, err := (chatml.Template{}).EncodePrompt(byteTokenizer{}, records[i].Messages); err != nil {
				t.Error(err)
			}
		}
		again, _, err := read(strings.NewReader(b.String()))
		if err != nil || len(records) > 0 && !reflect.DeepEqual(records, again) {
			t.Errorf("what is accepted does not round-trip: %v\n%+v\n%+v", err, records, again)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			b.SetBytes(int64(n * (len(line) + 1)))
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range NewReader(&repeated{text: line + "\n", n: n}, "x").Records() {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
