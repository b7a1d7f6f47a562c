package donation

import (
	"strings"
	"testing"
)

// text is a program as go-xla writes it.
func text(name, arguments, results string) string {
	return "module @" + name + " {\n  func.func @main(" + arguments + ") -> " + results + " {\n    \"stablehlo.return\"() : () -> ()\n  }\n}\n"
}

// TestAlias: arguments that are given up lie in the first result of their type and
// sharding that is left; all else stays as it is.
func TestAlias(t *testing.T) {
	const (
		a, b  = "tensor<8xf32>", "tensor<8x2xbf16>"
		whole = ` { sdy.sharding = #sdy.sharding<@mesh, [{}, {}]> }`
		parts = ` { sdy.sharding = #sdy.sharding<@mesh, [{"devices"}, {}]> }`
		alias = "tf.aliasing_output = "
	)
	for _, row := range []struct{ name, arguments, results, want string }{
		{"f_gives_0_to_1_0", "%arg0: " + a, a, "%arg0: " + a + " {" + alias + "0 : i32}"},
		{"f_gives_0_to_1_0", "%arg0: " + a + ", %arg1: " + a, "(" + b + ", " + a + ")", "%arg0: " + a + " {" + alias + "1 : i32}, %arg1: " + a},
		{"f_gives_1_to_4_12", "%arg0: " + a + ", %arg1: " + a + ", %arg2: " + b + ", %arg3: " + a, "(" + a + ", " + b + ", " + b + ")",
			"%arg0: " + a + ", %arg1: " + a + " {" + alias + "0 : i32}, %arg2: " + b + " {" + alias + "1 : i32}, %arg3: " + a},
		{"f_gives_0_to_2_0", "%arg0: " + b + parts + ", %arg1: " + b + whole, "(" + b + whole + ", " + b + whole + ")",
			"%arg0: " + b + parts + ", %arg1: " + b + strings.TrimSuffix(whole, " }") + ", " + alias + "0 : i32 }"},
		{"f_gives_1_on_0", "%arg0: " + a + ", %arg1: " + a + ", %arg2: " + a, "(" + a + ", " + a + ")", "%arg0: " + a + ", %arg1: " + a + " {" + alias + "0 : i32}, %arg2: " + a + " {" + alias + "1 : i32}"},
		{"f_gives_99999999999999999999_on_0", "%arg0: " + a, a, ""},
		{"f_gives_2_to_1_0", "%arg0: " + a + ", %arg1: " + a, a, ""},
		{"f_0", "%arg0: " + a, a, ""},
		{"f_gives_0_to_1", "%arg0: " + a, a, ""},
		{"f_gives_0_to_2_0", "%arg0: " + a, a, ""},
		{"f_gives_0_to_1_0", "%arg0: " + a, b, ""},
		{"f_gives_0_to_0_0", "", a, ""},
	} {
		want := row.want
		if want == "" {
			want = row.arguments
		}
		if got := string(Alias([]byte(text(row.name, row.arguments, row.results)))); got != text(row.name, want, row.results) {
			t.Errorf("%s of (%s) to %s:\n%s", row.name, row.arguments, row.results, got)
		}
	}
	for _, broken := range []string{"", "module @f_gives_0_to_1_0 {\n}", "module @f_gives_0_to_1_0 {\n func.func @main(%arg0: tensor<8xf32>", "module @f_gives_0_to_1_0 {\n func.func @main(%arg0: tensor<8xf32>) -> tensor<8xf32>"} {
		if got := string(Alias([]byte(broken))); got != broken {
			t.Errorf("%q becomes %q", broken, got)
		}
	}
}
