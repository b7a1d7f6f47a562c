package tokenizer_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// TestEqual: another spelling of the file is the same tokenizer, another setting
// or another order of ids is not.
func TestEqual(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "example", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := tokenizer.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		text string
		want bool
	}{
		"the file":          {string(text), true},
		"without blanks":    {compact.String(), true},
		"ids change places": {strings.NewReplacer(`"n":19`, `"n":18`, `"m":18`, `"m":19`).Replace(compact.String()), false},
		"marks change ids":  {strings.NewReplacer("im_start", "im_end", "im_end", "im_start").Replace(compact.String()), false},
		"without NFC":       {strings.Replace(compact.String(), `"normalizer":null`, `"normalizer":{"type":"NFC"}`, 1), true},
		"no space in front": {strings.Replace(compact.String(), `"prepend_scheme":"first"`, `"prepend_scheme":"never"`, 1), false},
	} {
		other, err := tokenizer.Parse([]byte(row.text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := tok.Equal(other); got != row.want {
			t.Errorf("%s: equal is %v", name, got)
		}
		if other.Equal(tok) != row.want {
			t.Errorf("%s: not the same the other way", name)
		}
	}
}
