package runlog

import "regexp"

// piece is a part of a text. It is marked if the text beside it lacks it.
type piece struct {
	Text   string
	Marked bool
}

// words of a text: runs of letters and digits, runs of space, and other characters
// one by one.
var words = regexp.MustCompile(`[\pL\pN_]+|\s+|.`)

// mostWords bounds the work of a comparison. The end of longer texts is not
// compared, but taken to differ.
const mostWords = 1500

// differences compares two texts word by word. The pieces of each make it up, those
// that are not in a longest common subsequence marked.
func differences(a, b string) (inA, inB []piece) {
	x, y := words.FindAllString(a, -1), words.FindAllString(b, -1)
	n, m := min(len(x), mostWords), min(len(y), mostWords)
	common := commonLengths(x[:n], y[:m])
	i, j := 0, 0
	for i < n || j < m {
		switch {
		case i < n && j < m && x[i] == y[j]:
			inA, inB = appendPiece(inA, x[i], false), appendPiece(inB, y[j], false)
			i, j = i+1, j+1
		case j == m || i < n && common[i+1][j] >= common[i][j+1]:
			inA = appendPiece(inA, x[i], true)
			i++
		default:
			inB = appendPiece(inB, y[j], true)
			j++
		}
	}
	for _, w := range x[n:] {
		inA = appendPiece(inA, w, true)
	}
	for _, w := range y[m:] {
		inB = appendPiece(inB, w, true)
	}
	return inA, inB
}

// layout is where lines end and begin.
var layout = regexp.MustCompile(`[ \t]*\n\s*`)

// unmarkLayout takes the marks off what does not show: where lines end and begin
// within marked pieces.
func unmarkLayout(list []piece) []piece {
	var out []piece
	for _, p := range list {
		at := 0
		if p.Marked {
			for _, span := range layout.FindAllStringIndex(p.Text, -1) {
				if at < span[0] {
					out = appendPiece(out, p.Text[at:span[0]], true)
				}
				out = appendPiece(out, p.Text[span[0]:span[1]], false)
				at = span[1]
			}
		}
		if at < len(p.Text) {
			out = appendPiece(out, p.Text[at:], p.Marked)
		}
	}
	return out
}

// commonLengths are the lengths of the longest common subsequences of x[i:] and
// y[j:].
func commonLengths(x, y []string) [][]int16 {
	lengths := make([][]int16, len(x)+1)
	for i := range lengths {
		lengths[i] = make([]int16, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				lengths[i][j] = lengths[i+1][j+1] + 1
			} else {
				lengths[i][j] = max(lengths[i+1][j], lengths[i][j+1])
			}
		}
	}
	return lengths
}

// appendPiece appends text, to the last piece if that is marked alike.
func appendPiece(list []piece, text string, marked bool) []piece {
	if n := len(list); n > 0 && list[n-1].Marked == marked {
		list[n-1].Text += text
		return list
	}
	return append(list, piece{text, marked})
}
