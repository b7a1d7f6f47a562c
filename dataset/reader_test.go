package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/chatml"
)

const (
	pair   = `{"id": "p", "prompt": "Hola", "completion": " Bon dia", "lang": "ca"}`
	alpaca = `{"id": "a", "instruction": "Translate.", "input": "sun", "output": "sol"}`
)

func TestFormats(t *testing.T) {
	for _, row := range []struct {
		name, in, format, reason string
		want                     Record
	}{
		{name: "messages", in: line, format: "messages", want: record},
		{
			name: "prompt and completion", in: pair, format: "prompt/completion", reason: "blanks of a completion stay",
			want: Record{ID: "p", Lang: "ca", Messages: talk("", "user: Hola", "assistant:  Bon dia").Messages},
		},
		{
			name: "lists of messages", format: "prompt/completion",
			in:   `{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}]}`,
			want: talk("", "system: s", "user: u", "assistant: a"),
		},
		{name: "system of a pair", in: `{"system": "s", "prompt": "u", "completion": "a"}`, format: "prompt/completion", want: talk("", "system: s", "user: u", "assistant: a")},
		{name: "alpaca", in: alpaca, format: "alpaca", want: talk("a", "user: Translate.\n\nsun", "assistant: sol")},
		{name: "alpaca without input", in: `{"instruction": "i", "input": "", "output": "o"}`, format: "alpaca", want: talk("", "user: i", "assistant: o")},
		{name: "alpaca with null input", in: `{"instruction": "i", "input": null, "output": "o"}`, format: "alpaca", want: talk("", "user: i", "assistant: o")},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(row.in), "x")
			require.Empty(t, r.Format())
			got, err := r.ReadAll()
			require.NoError(t, err)
			require.Equal(t, []Record{row.want}, got, row.reason)
			require.Equal(t, row.format, r.Format())
		})
	}
}

// TestLayouts reads the same two records however a file is laid out.
func TestLayouts(t *testing.T) {
	var pretty strings.Builder
	enc := json.NewEncoder(&pretty)
	enc.SetIndent("", "  ")
	for range 2 {
		require.NoError(t, enc.Encode(json.RawMessage(alpaca)))
	}
	want := talk("a", "user: Translate.\n\nsun", "assistant: sol")
	listed := Alpaca()
	listed.List = "queries"
	for name, in := range map[string]string{
		"lines":                 alpaca + "\n" + alpaca,
		"array":                 "[" + alpaca + "," + alpaca + "]",
		"array over lines":      "\ufeff \n[\n" + alpaca + "\n,\r\n" + alpaca + "\n]\n",
		"objects over lines":    pretty.String(),
		"object with a list":    `{"version": [1], "queries": [` + alpaca + ", " + alpaca + `], "more": {}}`,
		"list over lines":       "{\n \"queries\": [\n" + alpaca + ",\n" + alpaca + "\n]}\n",
		"brackets in the texts": strings.ReplaceAll("["+alpaca+","+alpaca+"]", "sun", `}]{[\"\\`),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := NewReader(iotest.OneByteReader(strings.NewReader(in)), "x", listed).ReadAll()
			require.NoError(t, err)
			w := want
			if strings.Contains(in, "}]{[") {
				w = talk("a", "user: Translate.\n\n}]{[\"\\", "assistant: sol")
			}
			require.Equal(t, []Record{w, w}, got)
		})
	}
}

func TestReaderFaults(t *testing.T) {
	listed := Alpaca()
	listed.List = "queries"
	for _, row := range []struct {
		name, in string
		want     []string // place and beginning of each fault
	}{
		{name: "mixed", in: line + "\n" + alpaca + "\n" + line + "\n" + pair, want: []string{"x:2: record \"a\": mixed formats: alpaca here, messages before", "x:4: record \"p\": mixed formats: prompt/completion"}},
		{name: "mixed in an array", in: "[\n" + pair + ",\n" + line + "]", want: []string{"x:3: record \"q1\": mixed formats"}},
		{name: "unknown", in: `{"question": "a", "answer": "b"}`, want: []string{"x:1: unknown format: no record of a known format; want messages (messages) or prompt/completion (prompt, completion) or alpaca"}},
		{name: "ambiguous", in: `{"messages": [], "prompt": "a", "completion": "b"}`, want: []string{"x:1: unknown format: the keys are those of messages (messages) or prompt/completion"}},
		{name: "fields", in: `{"prompt": "a", "completion": 7}` + "\n" + `{"prompt": [], "completion": null}`, want: []string{
			"x:1: completion: wrong type: number", "x:2: prompt: missing: no messages", "x:2: completion: wrong type: null"}},
		{name: "alpaca fields", in: alpaca + "\n" + `{"id": "b", "instruction": 1, "input": 2}`, want: []string{
			"x:2: record \"b\": instruction: wrong type", "x:2: record \"b\": input: wrong type", "x:2: record \"b\": output: missing"}},
		{name: "cut-off first line", in: `{"prompt": "a` + "\n" + pair, want: []string{"x:1: not JSON"}},
		{name: "array not closed", in: "[" + alpaca + "\n,", want: []string{"x:2: not JSON: the file ends inside the array"}},
		{name: "value not closed", in: "[" + alpaca + ",\n{\"a\": [", want: []string{"x:2: not JSON: the file ends inside this value"}},
		{name: "no comma", in: "[" + alpaca + "\n" + alpaca + "]", want: []string{"x:2: not JSON: '{' after an item"}},
		{name: "comma at the end", in: "[" + alpaca + ",\n]", want: []string{"x:2: not JSON: ']' where an item"}},
		{name: "text after the array", in: "[" + alpaca + "]\n7", want: []string{"x:2: not JSON: text after the array"}},
		{name: "items of other types", in: "[1,\n[],\n\"a\"\n, nul]", want: []string{"x:1: wrong type: number", "x:2: wrong type: array", "x:3: wrong type: string", "x:4: not JSON"}},
		{name: "syntax inside an object over lines", in: "{\n\"prompt\": \"a\",\n\"completion\" \"b\"\n}", want: []string{"x:3: not JSON"}},
		{name: "inside a list", in: "{\"queries\": [\n" + alpaca + ",\n{\"instruction\": 1, \"output\": \"\"}\n]}", want: []string{"x:3: instruction: wrong type"}},
		{name: "stray bracket", in: "[}]", want: []string{"x:1: not JSON: invalid", "x:1: not JSON: the file ends inside the array"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			formats := Formats()
			if strings.Contains(row.in, "queries") {
				formats = []Format{Messages(), listed}
			}
			records, err := NewReader(strings.NewReader(row.in), "x", formats...).ReadAll()
			require.Nil(t, records)
			var faults Faults
			require.True(t, errors.As(err, &faults), "%v", err)
			require.Len(t, faults, len(row.want), "%v", err)
			for i, want := range row.want {
				require.Contains(t, faults[i].Error(), want)
				require.True(t, strings.HasPrefix(faults[i].Error(), want[:4]), "%v", faults[i])
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "train.jsonl")
	require.NoError(t, os.WriteFile(path, []byte(line), 0o600))
	got, format, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "messages", format)
	require.Equal(t, []Record{record}, got)
	_, _, err = ReadFile(path + ".absent")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = NewReader(iotest.ErrReader(fs.ErrClosed), "x").ReadAll()
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = NewReader(io.MultiReader(strings.NewReader("["+alpaca), iotest.ErrReader(fs.ErrClosed)), "x").ReadAll()
	require.ErrorIs(t, err, fs.ErrClosed)
}

func TestLongRecords(t *testing.T) {
	long := strings.Repeat("a", 3<<20)
	got, err := NewReader(strings.NewReader(`{"messages":[{"role":"user","content":"`+long+`"}]}`), "x").ReadAll()
	require.NoError(t, err)
	require.Len(t, got[0].Messages[0].Content, 3<<20)

	for _, in := range []string{
		line + "\n" + strings.Repeat("x", MaxRecord+1) + "\n[]\n",
		"[" + line + ",\n" + strings.Repeat("x", MaxRecord+1) + ",\n[]]",
	} {
		_, err = NewReader(strings.NewReader(in), "x").ReadAll()
		require.ErrorIs(t, err, ErrTooLong)
		require.ErrorContains(t, err, "x:2: ")
		require.ErrorContains(t, err, "x:3: wrong type", "reading goes on")
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
			require.NoError(t, err)
			if count++; count%uint64(n/4) == 0 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
		require.Equal(t, uint64(n), count)
		return most
	}
	for name, of := range map[string]func(n int) io.Reader{
		"lines": func(n int) io.Reader { return &repeated{text: line + "\n", n: n} },
		"array": func(n int) io.Reader {
			return io.MultiReader(strings.NewReader("["), &repeated{text: line + ",", n: n - 1}, strings.NewReader(line+"]"))
		},
	} {
		few, many := heap(of(1000), 1000), heap(of(30_000), 30_000)
		require.Less(t, many, few+1<<20, "%s: the records themselves are %d MB", name, 30_000*len(line)>>20)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(line + "\n" + line))
	f.Add([]byte("\ufeff{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud83c\\udf89\"}]}\r\n"))
	f.Add([]byte(`{"messages":[{"role":"a","content":"\ud800"}],"messages":null}`))
	f.Add([]byte("[" + pair + ",\n" + pair + "]"))
	f.Add([]byte("{\"queries\": [\n" + alpaca + "]}"))
	f.Add([]byte("{\n\"instruction\": \"i\",\n\"output\": \"o\"}\n{"))
	listed := Alpaca()
	listed.List = "queries"
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := NewReader(strings.NewReader(string(data)), "x", Messages(), PromptCompletion(), listed).ReadAll()
		if err != nil {
			var faults Faults
			require.True(t, errors.As(err, &faults))
			for _, fault := range faults {
				require.Positive(t, fault.Line)
				require.LessOrEqual(t, fault.Line, 1+strings.Count(string(data), "\n"))
				require.NotEmpty(t, fault.Error())
			}
			return
		}
		var b strings.Builder
		enc := json.NewEncoder(&b)
		for _, r := range records {
			require.NoError(t, enc.Encode(r))
			require.NoError(t, chatml.CheckMessages(r.Messages))
		}
		again, err := NewReader(strings.NewReader(b.String()), "again").ReadAll()
		require.NoError(t, err)
		require.Equal(t, records, again, "what is accepted round-trips")
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
