package constrain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestUntrusted compiles schemas made to hurt. How long that takes is not
// tested, as a machine may be slow, but that it ends.
func TestUntrusted(t *testing.T) {
	nested := `{"type":"null"}`
	for range 8 {
		nested = fmt.Sprintf(`{"anyOf":[{"type":"array","items":%s,"maxItems":9},{"type":"array","items":%[1]s,"maxItems":8}]}`, nested)
	}
	var wide []string
	for i := range 1000 {
		wide = append(wide, fmt.Sprintf(`"k%d":{"type":"string","pattern":"^a{%d}b"}`, i, i%200))
	}
	for _, row := range []struct {
		name, schema string
		refused      bool
		reason       string
	}{
		{"long", `{"type":"string","title":"` + strings.Repeat("x", 70_000) + `"}`, true, "64 KiB"},
		{"many characters", `{"type":"string","minLength":10001}`, true, "10,000"},
		{"many items", `{"type":"array","items":{"type":"null"},"minItems":20000}`, true, "10,000"},
		{"far limits", `{"type":"object","maxProperties":9000000,"additionalProperties":{"type":"array","items":{"type":"string","maxLength":65535},"maxItems":2000000}}`, false, "no answer comes to them"},
		{"enough", `{"type":"array","items":{"type":"string","maxLength":10000},"maxItems":10000}`, false, "the limits themselves are allowed"},
		{"a file", `{"$ref":"file:///etc/passwd"}`, true, "nothing is read"},
		{"a URL", `{"$ref":"https://example.org/schema"}`, true, "nothing is fetched"},
		{"relative", `{"$ref":"other.json#/a"}`, true, "nothing is read"},
		{"states", `{"type":"string","pattern":"(a|b)*a(a|b){15}"}`, true, "more states than are allowed"},
		{"slow pattern", `{"type":"string","pattern":"((a{1,50}){1,20}|b)*c","maxLength":9000}`, false, "lengths that no answer comes to are not counted"},
		{"deep", strings.Repeat(`{"anyOf":[`, 300) + `{"type":"null"}` + strings.Repeat(`]}`, 300), true, "nested deeper than 200"},
		{"nested choices", nested, false, "read once for each place"},
	} {
		_, err := Compile([]byte(row.schema), UntrustedOptions())
		if row.refused {
			var all *CompileError
			require.ErrorAs(t, err, &all, "%s: %s", row.name, row.reason)
		} else if err != nil {
			require.ErrorContains(t, err, "takes longer", "%s: %s", row.name, row.reason)
		}
	}
	opts := UntrustedOptions()
	opts.Timeout = time.Nanosecond
	_, err := Compile([]byte("{"+`"type":"object","properties":{`+strings.Join(wide, ",")+"}}"), opts)
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "takes longer than 1ns")
	_, err = Compile(readTestdata(t, "impulse.json"), opts)
	require.NoError(t, err, "little work is never too late, as the time may be that of a busy machine")
}
