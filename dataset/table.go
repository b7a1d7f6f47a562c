package dataset

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// table reads CSV and TSV whose first row names the columns. A row is the object
// of its cells; empty ones are null.
type table struct {
	in      *csv.Reader
	bounded *bounded
	columns []string
	line    int // of the file, before the first row
}

// indexColumn is the name of a first column without one, which is the row's number
// as pandas writes it.
const indexColumn = "index"

// columnName is what a cell of a header looks like where no name is known.
var columnName = regexp.MustCompile(`^[\pL_][\pL\pN _.-]{0,63}$`)

// tableHeader returns the columns that the first line of a text names, and what
// separates them; nil if that is no header.
func tableHeader(start []byte) (columns []string, comma rune) {
	line, rest, _ := bytes.Cut(start, []byte("\n"))
	if bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte("{")) {
		return nil, 0 // lines of JSON after one that is none
	}
	for _, comma := range ",\t;" {
		r := csv.NewReader(bytes.NewReader(line))
		r.Comma = comma
		columns, err := r.Read()
		if err == nil && len(columns) > 1 && (slices.ContainsFunc(columns, isFormatColumn) || !slices.ContainsFunc(columns, isNoColumn)) {
			return columns, comma
		}
	}
	return nil, 0
}

func isFormatColumn(c string) bool { return isFormatKey(strings.ToLower(strings.TrimSpace(c))) }

func isNoColumn(c string) bool { return !columnName.MatchString(strings.TrimSpace(c)) }

func newTable(in *bufio.Reader, comma rune, line int) *table {
	t := &table{bounded: &bounded{in: in, left: maxRecord}, line: line - 1}
	t.in = csv.NewReader(t.bounded)
	t.in.Comma = comma
	return t
}

// header reads the first row.
func (t *table) header() error {
	columns, err := t.in.Read()
	for i, c := range columns {
		if c = strings.TrimSpace(c); c == "" && i == 0 {
			c = indexColumn
		}
		if slices.Contains(t.columns, c) {
			return fmt.Errorf("the column %q is there twice", c)
		}
		t.columns = append(t.columns, c)
		columns[i] = c
	}
	return err
}

// tableRow is the layout of a table.
func (s *source) tableRow() ([]byte, error) {
	t := s.table
	t.bounded.left = maxRecord
	cells, err := t.in.Read()
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse):
		s.startLine, s.startColumn = t.line+parse.StartLine, 1
		if errors.Is(parse.Err, csv.ErrFieldCount) {
			return nil, faulty("the row has %d cells, want %d: %s", len(cells), len(t.columns), strings.Join(t.columns, ", "))
		}
		return nil, faulty("not CSV: %v, at byte %d of line %d", parse.Err, parse.Column, t.line+parse.Line)
	case err != nil:
		return nil, err
	}
	line, _ := t.in.FieldPos(0)
	s.startLine, s.startColumn = t.line+line, 1
	row := &strictjson.Value{Kind: strictjson.Object}
	for i, cell := range cells {
		if at := strictjson.InvalidUTF8(cell); at >= 0 {
			line, column := t.in.FieldPos(i)
			return nil, faulty("%s: %s, in the cell that begins at byte %d of line %d", t.columns[i], notUTF8(cell[at]), column, t.line+line)
		}
		value := strictjson.Value{Kind: strictjson.String, Text: cell}
		if cell == "" {
			value = strictjson.Value{Kind: strictjson.Null, Text: "null"}
		}
		row.Members = append(row.Members, strictjson.Member{Key: t.columns[i], Value: value})
	}
	s.row = row
	return nil, nil
}

// bounded ends reading where one row takes too many bytes, as one does whose
// quotes are not closed.
type bounded struct {
	in   io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("a row of more than %d bytes: are its quotes closed?", maxRecord)
	}
	n, err := b.in.Read(p)
	b.left -= n
	return n, err
}
