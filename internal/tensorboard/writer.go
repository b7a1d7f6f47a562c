package tensorboard

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"
)

// FileName is a name that TensorBoard takes for a file of events.
const FileName = "events.out.tfevents.0.finetune"

// Scalar is the value of a curve at a step. A tag such as "train/loss" puts the
// curve into the group before the slash. TensorBoard keeps values as float32.
type Scalar struct {
	Tag   string
	Value float64
}

// Writer writes events. It is used by one goroutine at a time, and keeps nothing
// back: an event is written when its call returns.
type Writer struct{ out io.Writer }

// NewWriter begins a file of events, at its start, with the record that says
// their version.
func NewWriter(out io.Writer, at time.Time) (*Writer, error) {
	w := &Writer{out}
	version := appendBytes(event(at, 0), 3, []byte("brain.Event:2"))
	return w, w.record(version)
}

// Scalars writes the values of curves at a step. Values that are not finite are
// written as they are; TensorBoard marks them.
func (w *Writer) Scalars(step int64, at time.Time, scalars ...Scalar) error {
	var summary []byte
	for _, s := range scalars {
		value := appendBytes(nil, 1, []byte(s.Tag))
		value = appendTag(value, 2, fixed32)
		value = binary.LittleEndian.AppendUint32(value, math.Float32bits(float32(s.Value)))
		summary = appendBytes(summary, 1, value)
	}
	return w.record(appendBytes(event(at, step), 5, summary))
}

// event begins an Event message: wall_time = 1 in seconds, step = 2, which is
// left out if it is zero, as protobuf's own writers do.
func event(at time.Time, step int64) []byte {
	e := appendTag(nil, 1, fixed64)
	e = binary.LittleEndian.AppendUint64(e, math.Float64bits(float64(at.UnixMicro())/1e6))
	if step == 0 {
		return e
	}
	return binary.AppendUvarint(appendTag(e, 2, varint), uint64(step))
}

// Wire types of protobuf.
const (
	varint  = 0
	fixed64 = 1
	bytes   = 2
	fixed32 = 5
)

func appendTag(dst []byte, field, wireType int) []byte {
	return append(dst, byte(field<<3|wireType)) // fields below 16 fit one byte
}

func appendBytes(dst []byte, field int, data []byte) []byte {
	dst = binary.AppendUvarint(appendTag(dst, field, bytes), uint64(len(data)))
	return append(dst, data...)
}

// record writes one TFRecord in a single call, so that readers of a growing file
// find it whole or not at all but for a torn write, which they wait out.
func (w *Writer) record(data []byte) error {
	r := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	r = binary.LittleEndian.AppendUint32(r, masked(r))
	r = append(r, data...)
	r = binary.LittleEndian.AppendUint32(r, masked(data))
	if _, err := w.out.Write(r); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

// masked is the checksum of TFRecords: a CRC-32C, rotated and moved, since the
// CRC of data that holds CRCs is weak.
func masked(data []byte) uint32 {
	crc := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return (crc>>15 | crc<<17) + 0xa282ead8
}
