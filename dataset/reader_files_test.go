package dataset

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/impulse-salamandra/finetune/chatml"
)

// TestCases reads files that other programs train on.
func TestCases(t *testing.T) {
	get := func(name string) ([]Record, error) {
		records, _, err := ReadFile(filepath.Join("testdata/cases", name+".jsonl"))
		return records, err
	}
	weight, err := get("weight")
	if err != nil || !weight[0].Messages[1].Untrained || weight[0].Messages[3].Untrained || weight[1].Messages[1].Untrained {
		t.Errorf("weight: %+v, %v", weight, err)
	}
	system, err := get("topsystem")
	if err != nil || system[0].Messages[0] != (chatml.Message{Role: chatml.System, Content: "Answer in JSON."}) {
		t.Errorf("topsystem: %+v, %v", system, err)
	}
	sharegpt, err := get("sharegpt")
	if err != nil || sharegpt[1].Messages[1] != (chatml.Message{Role: chatml.Assistant, Content: "Madrid"}) || sharegpt[1].Messages[0].Role != chatml.User {
		t.Errorf("sharegpt: %+v, %v", sharegpt, err)
	}
	number, err := get("numberid")
	if err != nil || number[0].ID != "12345678901234567890" {
		t.Errorf("numberid: %+v, %v", number, err)
	}
	for name, want := range map[string]string{
		"toolcalls":         "toolcalls.jsonl:1: tools: ",
		"bom-in-the-middle": "bom-in-the-middle.jsonl:2: not JSON: byte-order mark (U+FEFF)",
	} {
		if _, err := get(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// TestFaultsError: faults of one cause are one line.
func TestFaultsError(t *testing.T) {
	_, _, err := read(strings.NewReader(strings.Repeat("{\"a\": 1}\n", 123) + `{"messages": [{"role": "user", "content": 1}]}` + "\n" + `{"messages": [{}, {"role": "user", "content": 1}]}`))
	want := `127 faults:
  x:1: unknown format with the keys "a"; want ` + formatNames + `; also x:2, x:3 and 120 more
  x:124: messages[0].content: number, want a string; also x:125
  x:125: messages[0].role: missing
  x:125: messages[0].content: missing`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var many Faults
	for i := range 40 {
		many = append(many, Fault{Err: errors.New(strings.Repeat("x", i))})
	}
	if !strings.HasSuffix(many.Error(), "\n  and 20 of other causes") {
		t.Error(many)
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "train.jsonl")
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	got, format, err := ReadFile(path)
	if err != nil || format != "messages" || len(got) != 1 || got[0].File != path || got[0].Line != 1 {
		t.Errorf("%+v, %s, %v", got, format, err)
	}
	if _, _, err = ReadFile(path + ".absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, in := range []io.Reader{iotest.ErrReader(fs.ErrClosed), io.MultiReader(strings.NewReader("["+alpaca), iotest.ErrReader(fs.ErrClosed))} {
		if _, _, err = read(in); !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "train.jsonl")
	want := talk("é\"", "system: >=1 \u2028", "user: u", "assistant: a\n\x01", "user: v", "assistant: b")
	want.Messages[2].Untrained, want.Lang = true, "ca"
	if err := WriteFile(t.Context(), path, []Record{want, talk("2", "user: u", "assistant: a")}); err != nil {
		t.Fatal(err)
	}
	records, _, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	records[0].File, records[0].Line = "", 0
	if !reflect.DeepEqual(records[0], want) {
		t.Errorf("got %+v, want %+v", records[0], want)
	}
	data, _ := os.ReadFile(path)
	if last := `{"id": "2", "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}], "lang": ""}` + "\n"; !bytes.HasSuffix(data, []byte(last)) {
		t.Errorf("%s", data)
	}
}
