package tokenizer

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

// llamaLayouts are the tokenizers of a reference directory; each has its cases.
var llamaLayouts = []string{"tokenizer", "tokenizer_prefix_space", "tokenizer_metaspace_first", "tokenizer_metaspace_never"}

// layouts are the tokenizers in testdata; each has its cases.
var layouts = append(slices.Clone(llamaLayouts), "bytelevel", "smollm2")

// row is what Hugging Face tokenizers makes of a text.
type row struct {
	Text               string  `json:"text"`
	IDs                []int32 `json:"ids"`
	IDsWithBOS         []int32 `json:"ids_with_bos"`
	Plain              []int32 `json:"plain"` // with encode_special_tokens; not in all files
	Decoded            string  `json:"decoded"`
	DecodedSkipSpecial string  `json:"decoded_skip_special"`
}

func (r row) check(t *testing.T, tok *Tokenizer) {
	t.Helper()
	got := row{
		Text:               r.Text,
		IDs:                tok.Encode(r.Text),
		IDsWithBOS:         tok.encodeWithSpecial(r.Text),
		Decoded:            tok.Decode(r.IDs, false),
		DecodedSkipSpecial: tok.Decode(r.IDs, true),
	}
	if r.Plain != nil {
		got.Plain = tok.EncodeText(r.Text, true)
	}
	if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%q (-want +got):\n%s", r.Text, diff)
	}
}

func TestLayoutsEqualReference(t *testing.T) {
	for _, name := range layouts {
		t.Run(name, func(t *testing.T) {
			tok := parseLayout(t, name)
			rows := readRows(t, name)
			require.GreaterOrEqual(t, len(rows), 350)
			for _, r := range rows {
				r.check(t, tok)
			}
		})
	}
}

// TestOtherReference does the same with the tokenizers and texts of another
// reference directory, where SALAMANDRA_REFERENCE names one.
func TestOtherReference(t *testing.T) {
	dir := os.Getenv("SALAMANDRA_REFERENCE")
	if dir == "" {
		t.Skip("SALAMANDRA_REFERENCE is not set: only testdata")
	}
	for _, name := range llamaLayouts {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, "tokenizer", name+".json"))
			require.NoError(t, err)
			tok, err := Parse(data)
			require.NoError(t, err)
			cases, err := os.ReadFile(filepath.Join(dir, "text", name+"_cases.jsonl"))
			require.NoError(t, err)
			rows := parseRows(t, cases)
			require.NotEmpty(t, rows)
			for _, r := range rows {
				r.check(t, tok)
			}
		})
	}
}

// variant is a tokenizer that differs from one of the layouts.
type variant struct {
	Name        string                     `json:"name"`
	Of          string                     `json:"of"`
	Sections    map[string]json.RawMessage `json:"sections"`
	Model       map[string]any             `json:"model"`
	Removed     []string                   `json:"removed"`
	AddedTokens json.RawMessage            `json:"added_tokens"`
	Rows        []row                      `json:"rows"`
	Decodes     []struct {
		IDs                []int32 `json:"ids"`
		Decoded            string  `json:"decoded"`
		DecodedSkipSpecial string  `json:"decoded_skip_special"`
	} `json:"decodes"`
}

// file returns the tokenizer.json of a variant.
func (v variant) file(t *testing.T) []byte {
	t.Helper()
	var model struct {
		Model map[string]any `json:"model"`
	}
	sections := map[string]any{}
	data := readGzip(t, v.Of+".json.gz")
	require.NoError(t, json.Unmarshal(data, &sections))
	require.NoError(t, json.Unmarshal(data, &model))
	for key, value := range v.Sections {
		sections[key] = value
	}
	for key, value := range v.Model {
		model.Model[key] = value
	}
	gone := map[string]bool{}
	for _, piece := range v.Removed {
		gone[piece] = true
		delete(model.Model["vocab"].(map[string]any), piece)
	}
	var merges []any
	for _, merge := range model.Model["merges"].([]any) {
		left, right := merge.([]any)[0].(string), merge.([]any)[1].(string)
		if !gone[left] && !gone[right] && !gone[left+right] {
			merges = append(merges, merge)
		}
	}
	model.Model["merges"] = merges
	sections["model"] = model.Model
	sections["added_tokens"] = v.AddedTokens
	data, err := json.Marshal(sections)
	require.NoError(t, err)
	return data
}

func TestVariantsEqualReference(t *testing.T) {
	var variants []variant
	require.NoError(t, json.Unmarshal(readGzip(t, "variants.json.gz"), &variants))
	require.NotEmpty(t, variants)
	for _, v := range variants {
		t.Run(v.Name, func(t *testing.T) {
			tok, err := Parse(v.file(t))
			require.NoError(t, err)
			for _, r := range v.Rows {
				r.check(t, tok)
			}
			for _, d := range v.Decodes {
				require.Equal(t, d.Decoded, tok.Decode(d.IDs, false), d.IDs)
				require.Equal(t, d.DecodedSkipSpecial, tok.Decode(d.IDs, true), d.IDs)
			}
		})
	}
}

func parseLayout(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Parse(readGzip(t, name+".json.gz"))
	require.NoError(t, err)
	return tok
}

func readRows(t testing.TB, layout string) []row {
	t.Helper()
	return parseRows(t, readGzip(t, layout+"_cases.jsonl.gz"))
}

func parseRows(t testing.TB, data []byte) []row {
	t.Helper()
	var rows []row
	lines := json.NewDecoder(bytes.NewReader(data))
	for {
		var r row
		err := lines.Decode(&r)
		if err == io.EOF {
			return rows
		}
		require.NoError(t, err)
		rows = append(rows, r)
	}
}

func readGzip(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	return data
}
