package dataset

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// peekSize is how far a file is looked into before it is read.
const peekSize = 64 << 10

// decode returns a file as UTF-8 without a byte-order mark: gzip is unpacked,
// UTF-16 and UTF-32 are converted. A file of a known kind that holds no records
// as text is refused by name.
func decode(in io.Reader) (*bufio.Reader, error) {
	b := bufio.NewReaderSize(in, peekSize)
	start, _ := b.Peek(4) // an error comes again when it is read
	if bytes.HasPrefix(start, []byte("\x1f\x8b")) {
		unpacked, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("looks like gzip, and cannot be unpacked: %w", err)
		}
		b = bufio.NewReaderSize(gzipReader{unpacked}, peekSize)
		start, _ = b.Peek(4)
	}
	if size, order, mark := wide(start); size > 0 {
		_, _ = b.Discard(mark)
		return bufio.NewReaderSize(&wideReader{in: b, size: size, order: order}, peekSize), nil
	}
	if bytes.HasPrefix(start, []byte("\ufeff")) {
		_, _ = b.Discard(3)
	}
	start, _ = b.Peek(512)
	for _, k := range knownKinds {
		if k.fits(start) {
			return nil, fmt.Errorf("looks like %s, which is not read: %s", k.name, k.instead)
		}
	}
	return b, nil
}

// gzipReader says of what a fault is.
type gzipReader struct{ in io.Reader }

func (r gzipReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("gzip: %w; is the file complete?", err)
	}
	return n, err
}

// fileKind is a kind of file that people take for records.
type fileKind struct {
	at            int    // bytes from the start
	magic         string // what is there
	name, instead string
}

func (k fileKind) fits(start []byte) bool {
	if len(start) < k.at+len(k.magic) {
		return false
	}
	got := start[k.at:][:len(k.magic)]
	return string(got) == k.magic || k.magic[0] == '<' && strings.EqualFold(string(got), k.magic)
}

const (
	exportIt = "export it as JSON Lines, one object per line"
	unpackIt = "unpack it"
)

var knownKinds = []fileKind{
	{0, "PAR1", "Parquet", exportIt + `, as pandas does: read_parquet(FILE).to_json("data.jsonl", orient="records", lines=True)`},
	{0, "ARROW1", "Arrow", exportIt},
	{0, "\xff\xff\xff\xff", "Arrow", exportIt},
	{0, "SQLite format 3\x00", "an SQLite database", exportIt},
	{0, "PK\x03\x04", "a zip archive, as Excel's files are", "unpack it, or save the sheet as CSV UTF-8"},
	{0, "\xd0\xcf\x11\xe0", "an old Excel or Word document", "save the sheet as CSV UTF-8"},
	{0, "\x28\xb5\x2f\xfd", "zstd", unpackIt + ": zstd -d FILE"},
	{0, "BZh", "bzip2", unpackIt + ": bunzip2 FILE"},
	{0, "\xfd7zXZ\x00", "xz", unpackIt + ": unxz FILE"},
	{0, "7z\xbc\xaf\x27\x1c", "a 7z archive", unpackIt},
	{257, "ustar", "a tar archive", unpackIt + ": tar -xf FILE"},
	{0, "%PDF-", "PDF", exportIt},
	{0, "<!DOCTYPE html", "a web page (HTML)", "was it downloaded in place of the file?"},
	{0, "<html", "a web page (HTML)", "was it downloaded in place of the file?"},
	{0, "<?xml", "XML", exportIt},
	{0, "version https://git-lfs", "a pointer of git-lfs, not the file itself", "git lfs pull fetches that"},
	{0, "\x80\x02", "a Python pickle", exportIt},
	{0, "\x80\x03", "a Python pickle", exportIt},
	{0, "\x80\x04", "a Python pickle", exportIt},
	{0, "\x80\x05", "a Python pickle", exportIt},
	{0, "\x93NUMPY", "a NumPy array", exportIt},
	{0, "\x89HDF\r\n", "HDF5", exportIt},
	{0, "Obj\x01", "Avro", exportIt},
	{0, "ORC", "ORC", exportIt},
	{0, "GGUF", "a model (GGUF)", "want a file of examples"},
	{0, "---\n", "YAML", exportIt},
	{0, "- messages:", "YAML", exportIt},
}

// wide recognises UTF-16 and UTF-32 by their byte-order mark, of so many bytes, or by
// the zero bytes of the characters that data begin with. size is that of a code
// unit in bytes, 0 for UTF-8.
func wide(start []byte) (size int, order binary.ByteOrder, mark int) {
	var zeros [4]bool
	for i := range min(4, len(start)) {
		zeros[i] = start[i] == 0
	}
	switch {
	case bytes.HasPrefix(start, []byte{0xff, 0xfe, 0, 0}):
		return 4, binary.LittleEndian, 4
	case bytes.HasPrefix(start, []byte{0, 0, 0xfe, 0xff}):
		return 4, binary.BigEndian, 4
	case bytes.HasPrefix(start, []byte{0xff, 0xfe}):
		return 2, binary.LittleEndian, 2
	case bytes.HasPrefix(start, []byte{0xfe, 0xff}):
		return 2, binary.BigEndian, 2
	case len(start) < 4:
		return 0, nil, 0
	case zeros == [4]bool{false, true, true, true}:
		return 4, binary.LittleEndian, 0
	case zeros == [4]bool{true, true, true, false}:
		return 4, binary.BigEndian, 0
	case zeros == [4]bool{false, true, false, true}:
		return 2, binary.LittleEndian, 0
	case zeros == [4]bool{true, false, true, false}:
		return 2, binary.BigEndian, 0
	}
	return 0, nil, 0
}

// wideReader gives UTF-16 or UTF-32 as UTF-8.
type wideReader struct {
	in    *bufio.Reader
	size  int // bytes of a code unit
	order binary.ByteOrder
	text  []byte // converted and not yet given
}

func (r *wideReader) Read(p []byte) (int, error) {
	for len(r.text) == 0 {
		c, err := r.character()
		if err != nil {
			return 0, err
		}
		r.text = utf8.AppendRune(r.text, c)
		for len(r.text) < len(p) && r.in.Buffered() >= 2*r.size {
			if c, err = r.character(); err != nil {
				break // and is reported by the next call, which comes to the same place
			}
			r.text = utf8.AppendRune(r.text, c)
		}
	}
	n := copy(p, r.text)
	r.text = append(r.text[:0], r.text[n:]...)
	return n, nil
}

func (r *wideReader) character() (rune, error) {
	c, err := r.unit(0)
	if err != nil {
		return 0, err
	}
	width := r.size
	if r.size == 2 && utf16.IsSurrogate(c) {
		low, err := r.unit(2)
		if c = utf16.DecodeRune(c, low); err != nil || c == utf8.RuneError {
			return 0, errors.New("UTF-16 with half a surrogate pair, which is no character")
		}
		width = 4
	}
	if !utf8.ValidRune(c) {
		return 0, fmt.Errorf("UTF-%d with %#x, which is no character", 8*r.size, c)
	}
	_, _ = r.in.Discard(width)
	return c, nil
}

// unit looks at the code unit so many bytes ahead.
func (r *wideReader) unit(ahead int) (rune, error) {
	b, err := r.in.Peek(ahead + r.size)
	switch {
	case err == nil && r.size == 2:
		return rune(r.order.Uint16(b[ahead:])), nil
	case err == nil:
		return rune(r.order.Uint32(b[ahead:])), nil
	case errors.Is(err, io.EOF) && len(b) > ahead:
		return 0, fmt.Errorf("UTF-%d that ends within a character", 8*r.size)
	}
	return 0, err
}
