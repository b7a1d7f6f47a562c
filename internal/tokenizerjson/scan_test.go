package tokenizerjson

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScannerStrings(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{`"\"\\\/\b\f\n\r\t"`, "\"\\/\b\f\n\r\t"},
		{`"\u00e9\u2581x"`, "é\u2581x"},
		{`"\ud83c\udf89"`, "🎉"},
		{`"\u0000"`, "\x00"},
	} {
		got, err := (&scanner{data: []byte(row.in)}).str(nil)
		require.NoError(t, err, row.in)
		require.Equal(t, row.want, string(got))
	}
	for _, in := range []string{``, `x`, `"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\ud83c"`, `"\ud83c\u0041"`, `"\udf89"`, "\"\n\""} {
		_, err := (&scanner{data: []byte(in)}).str(nil)
		require.Error(t, err, in)
	}
}
