package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// plain returns v as encoding/json decodes it with UseNumber.
func plain(v *Value) any {
	switch v.Kind {
	case Object:
		m := map[string]any{}
		for i := range v.Members {
			m[v.Members[i].Key] = plain(&v.Members[i].Value)
		}
		return m
	case Array:
		items := []any{}
		for i := range v.Items {
			items = append(items, plain(&v.Items[i]))
		}
		return items
	case String:
		return v.Text
	case Number:
		return json.Number(v.Text)
	case Boolean:
		return v.Text == "true"
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
	files, err := filepath.Glob("../../dataset/impulse/testdata/bad/*.json")
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
		root, problems, complete := Parse(data, 0, 64)
		want, err := decode(data)
		if len(problems) == 0 {
			require.True(t, complete)
			require.NoError(t, err)
			require.Equal(t, want, plain(&root))
			written, err := decode(Append(nil, &root, Layout{Indent: 2, ItemSeparator: ",", KeySeparator: ": "}))
			require.NoError(t, err)
			require.Equal(t, want, written)
			return
		}
		stricter := false
		for _, p := range problems {
			require.GreaterOrEqual(t, p.Offset, 0)
			require.LessOrEqual(t, p.Offset, len(data))
			require.True(t, utf8.ValidString(p.Detail))
			stricter = stricter || p.Cause != Syntax
		}
		if !stricter {
			require.Error(t, err, "refused as %v", problems)
		}
	})
}
