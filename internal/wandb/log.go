package wandb

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// The framing of LevelDB's log: a block holds whole fragments of records, each
// behind a header of checksum, length and kind.
const (
	blockSize      = 32 << 10
	fragmentHeader = 4 + 2 + 1
)

// Kinds of fragments.
const (
	full   = 1
	first  = 2
	middle = 3
	last   = 4
)

// fileHeader identifies the format: a mark, a magic number and version 0.
var fileHeader = []byte{':', 'W', '&', 'B', 0xe1, 0xbe, 0}

// recordLog appends records to a file, which it begins.
type recordLog struct {
	out io.Writer
	at  int // offset in the present block
}

func newRecordLog(out io.Writer) (*recordLog, error) {
	_, err := out.Write(fileHeader)
	return &recordLog{out: out, at: len(fileHeader)}, err
}

// append writes a record in one call, so that a reader of the growing file, or
// of one whose writer was killed, sees few torn records.
func (l *recordLog) append(record []byte) error {
	var out []byte
	for begun := false; ; begun = true {
		if room := blockSize - l.at; room < fragmentHeader {
			out = append(out, make([]byte, room)...)
			l.at = 0
		}
		n := min(len(record), blockSize-l.at-fragmentHeader)
		ends := n == len(record)
		out = appendFragment(out, fragmentKind(begun, ends), record[:n])
		l.at += fragmentHeader + n
		if record = record[n:]; ends {
			break
		}
	}
	_, err := l.out.Write(out)
	return err
}

func fragmentKind(begun, ends bool) byte {
	switch {
	case !begun && ends:
		return full
	case !begun:
		return first
	case ends:
		return last
	}
	return middle
}

func appendFragment(dst []byte, kind byte, data []byte) []byte {
	sum := crc32.Update(crc32.ChecksumIEEE([]byte{kind}), crc32.IEEETable, data)
	dst = binary.LittleEndian.AppendUint32(dst, sum)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(data)))
	return append(append(dst, kind), data...)
}
