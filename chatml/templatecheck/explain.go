package templatecheck

import (
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
)

// explain says in one line in what the template's text got differs from want.
func explain(want, got, bos string) string {
	var parts []string
	if bos == "" {
		bos = chatml.BOSToken
	}
	// A ChatML model may call <|im_start|> its BOS; the turn begins with it.
	if bos != chatml.StartToken {
		w, wantBOS := strings.CutPrefix(want, chatml.BOSToken)
		g, gotBOS := strings.CutPrefix(got, bos)
		if wantBOS != gotBOS {
			parts = append(parts, fmt.Sprintf("it puts %s before the first turn, chatml puts %s",
				tokenOr(bos, gotBOS), tokenOr(chatml.BOSToken, wantBOS)))
		}
		want, got = w, g
	}
	wantSystem, wantRest := cutSystem(want)
	gotSystem, gotRest := cutSystem(got)
	if wantSystem != gotSystem {
		parts = append(parts, fmt.Sprintf("its system turn is %s, chatml's is %s", gotSystem, wantSystem))
	}
	if wantRest != gotRest {
		line, _, _ := firstDifference(wantRest, gotRest)
		parts = append(parts, fmt.Sprintf("the turns differ from line %d after the system turn", line))
	}
	return strings.Join(parts, "; ")
}

func tokenOr(token string, there bool) string {
	if there {
		return token
	}
	return "nothing"
}

// cutSystem takes a first system turn off a rendered conversation and returns
// its text quoted, or "none".
func cutSystem(text string) (system, rest string) {
	rest, ok := strings.CutPrefix(text, chatml.StartToken+string(chatml.System)+"\n")
	if !ok {
		return "none", text
	}
	system, rest, ok = strings.Cut(rest, chatml.EndToken+"\n")
	if !ok {
		return "none", text
	}
	return fmt.Sprintf("%q", shorten(system)), rest
}

// diff shows the first line in which want and got differ.
func diff(want, got string) string {
	n, w, g := firstDifference(want, got)
	return fmt.Sprintf("line %d\n- chatml:   %q\n+ template: %q", n, shorten(w), shorten(g))
}

// firstDifference returns the number, from 1, and the text of the first line
// that differs, with its line break.
func firstDifference(want, got string) (line int, w, g string) {
	ws, gs := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	for i := range max(len(ws), len(gs)) {
		w, g = "", ""
		if i < len(ws) {
			w = ws[i]
		}
		if i < len(gs) {
			g = gs[i]
		}
		if w != g {
			return i + 1, w, g
		}
	}
	return 0, "", ""
}

// shorten cuts a long text.
func shorten(s string) string {
	const most = 120 // runes
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
