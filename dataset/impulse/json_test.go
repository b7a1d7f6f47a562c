package impulse

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// plain returns v as encoding/json decodes it with UseNumber.
func plain(v *value) any {
	switch v.kind {
	case kindObject:
		m := map[string]any{}
		for i := range v.members {
			m[v.members[i].key] = plain(&v.members[i].value)
		}
		return m
	case kindArray:
		items := []any{}
		for i := range v.items {
			items = append(items, plain(&v.items[i]))
		}
		return items
	case kindString:
		return v.text
	case kindNumber:
		return json.Number(v.text)
	case kindBoolean:
		return v.text == "true"
	}
	return nil
}

func decode(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("more data")
	}
	return v, nil
}

// FuzzParse: what parse accepts encoding/json accepts and reads alike, also
// after it was written as an answer. What parse refuses encoding/json refuses,
// but for the four reasons in which parse is stricter.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.json")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	for _, s := range []string{
		`{"a":[1,-0.5e+7,true,false,null,"\u00e8\ud83d\ude00\n\/"],"b":{}}`, `[01]`, `[1.]`, `[.5]`, `[-]`, `[1e]`, `"\x"`, `"\u12g4"`, `"\ud800"`, `"\udc00\ud800"`,
		`"\ud83d\u0041"`, "\"\t\"", `[1,]`, `{"a":1,}`, `{"a"}`, `{a:1}`, `nul`, `nullx`, `-Infinity`, `Infinity`, `[NaN]`, `"`, `"\`, `"\u`, ``, ` `, `[`, `{`, `{"a":`, "\x00", "\xff",
		strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 65) + strings.Repeat("]", 65), `{"a":1,"a":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		root, problems, complete := parse(data, 0)
		want, err := decode(data)
		if len(problems) == 0 {
			require.True(t, complete)
			require.NoError(t, err)
			require.Equal(t, want, plain(&root))
			written, err := decode(appendAnswer(nil, &root, 0))
			require.NoError(t, err)
			require.Equal(t, want, written)
			return
		}
		stricter := false
		for _, p := range problems {
			require.GreaterOrEqual(t, p.offset, 0)
			require.LessOrEqual(t, p.offset, len(data))
			require.True(t, utf8.ValidString(p.message))
			stricter = stricter || p.err != ErrSyntax
		}
		if !stricter {
			require.Error(t, err, "refused as %v", problems)
		}
	})
}

// FuzzValidate: whatever a file holds, reading it ends without a panic, in
// records or in faults that have a place.
func FuzzValidate(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.json", "testdata/v1/*.json"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files)
		for _, file := range files {
			data, err := os.ReadFile(file)
			require.NoError(f, err)
			f.Add(data[:min(len(data), 2000)])
		}
	}
	f.Add([]byte(`[{"filters": {"year": -1e999999999}, "organisations": [{}, 7], "meta": {"id": 5}, "metric": "sum"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		batches, err := Parse(data, "f", Options{Validate: true})
		if err == nil {
			require.NotEmpty(t, batches.Records)
			return
		}
		var faults *FaultsError
		require.ErrorAs(t, err, &faults)
		for _, fault := range faults.Faults {
			require.LessOrEqual(t, fault.Offset, len(data))
			require.Positive(t, fault.Line)
			require.NotEmpty(t, fault.Message)
		}
	})
}

// Numbers too long for exact arithmetic keep their side of any limit.
func TestInstanceNumbers(t *testing.T) {
	for text, sign := range map[string]int{"1e999999999": 1, "-1e999999999": -1, "1e-999999999": 0, "2e3": 1} {
		got, ok := instance(&value{kind: kindNumber, text: text}).(float64)
		require.True(t, ok, text)
		require.Equal(t, sign, big.NewFloat(got).Sign(), text)
	}
	require.Equal(t, json.Number("2023"), instance(&value{kind: kindNumber, text: "2023"}))
}
