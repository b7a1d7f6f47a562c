package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:embed style.css
var style string

//go:embed live.js
var script string

//go:embed page.html
var text string

// Head is what every page has: embed it in a page's data.
type Head struct {
	Title  string
	Policy template.HTMLAttr // the content security policy, as an attribute
	Style  template.CSS
	Script template.JS // "" but in a live page
}

// NewHead returns the head of a page with a title, which is made printable.
func NewHead(title string) Head { return newHead(title, "") }

// NewLiveHead returns the head of a page that its server keeps up to date: its
// script asks for the page again every two seconds and shows what has changed.
// Sections that are open stay so if they have an id, and so do switches.
func NewLiveHead(title string) Head {
	h := newHead(title, fmt.Sprintf(`script-src 'sha256-%s'; connect-src 'self'; `, digest(script)))
	h.Script = template.JS(script)
	return h
}

func newHead(title, sources string) Head {
	policy := fmt.Sprintf(`content="default-src 'none'; %sstyle-src 'sha256-%s'; base-uri 'none'; form-action 'none'"`, sources, digest(style))
	return Head{Title: Printable(title), Policy: template.HTMLAttr(policy), Style: template.CSS(style)}
}

// digest is a hash as a content security policy has it.
func digest(text string) string {
	hash := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(hash[:])
}

// Templates returns the templates that pages are made of: "head" and "foot",
// both given the page's data, "chart", given a [Chart], and "scale", the switch of
// the charts that have two scales. Parse a page's own into them.
func Templates() *template.Template {
	return template.Must(template.New("").Parse(text))
}

// Write writes a page whole or, if a template fails, nothing.
func Write(w io.Writer, t *template.Template, name string, data any) error {
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return nil
}

// Printable returns text with each character that is not printable, and each
// byte that is not UTF-8, written as an escape.
func Printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		if size := len(string(r)); r == utf8.RuneError && !strings.HasPrefix(s[i:], string(r)) {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		} else if unicode.IsPrint(r) {
			b.WriteString(s[i : i+size])
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// PrintableLines is [Printable] for texts of several lines, whose line feeds
// stay.
func PrintableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = Printable(line)
	}
	return strings.Join(lines, "\n")
}
