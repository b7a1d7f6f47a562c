package tensorboard

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestGolden compares with bytes that the event file writer of the tensorboard
// package for Python wrote; see testdata/README.md.
func TestGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/golden.tfevents")
	require.NoError(t, err)
	var b strings.Builder
	w, err := NewWriter(&b, time.Unix(1700000000, 250_000_000))
	require.NoError(t, err)
	require.NoError(t, w.Scalars(1, time.Unix(1700000001, 500_000_000), Scalar{"train/loss", 0.5}))
	require.NoError(t, w.Scalars(300, time.Unix(1700000002, 0), Scalar{"train/loss", -1e-7}, Scalar{"gradient norm, à", 1e30}))
	require.Equal(t, hex.Dump(want), hex.Dump([]byte(b.String())))
}

// read is a reader that shares nothing with the writer: it takes the checksum
// bit by bit and the fields by number. It returns lines of "step tag value".
func read(t *testing.T, data []byte) (events []string) {
	t.Helper()
	for len(data) > 0 {
		n := binary.LittleEndian.Uint64(data)
		require.Equal(t, slowMasked(data[:8]), binary.LittleEndian.Uint32(data[8:]))
		body := data[12 : 12+n]
		require.Equal(t, slowMasked(body), binary.LittleEndian.Uint32(data[12+n:]))
		data = data[16+n:]
		f := fields(t, body)
		var step int64
		for _, s := range f[2] {
			step = int64(s.(uint64))
		}
		for _, version := range f[3] {
			events = append(events, fmt.Sprintf("%d version %s", step, version))
		}
		for _, summary := range f[5] {
			for _, value := range fields(t, summary.([]byte))[1] {
				v := fields(t, value.([]byte))
				events = append(events, fmt.Sprintf("%d %s %v at %v", step, v[1][0], math.Float32frombits(v[2][0].(uint32)), math.Float64frombits(f[1][0].(uint64))))
			}
		}
	}
	return events
}

func fields(t *testing.T, message []byte) map[uint64][]any {
	t.Helper()
	all := map[uint64][]any{}
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		require.Positive(t, n)
		message = message[n:]
		var value any
		switch tag & 7 {
		case 0:
			var x uint64
			x, n = binary.Uvarint(message)
			value = x
		case 1:
			value, n = binary.LittleEndian.Uint64(message), 8
		case 5:
			value, n = binary.LittleEndian.Uint32(message), 4
		case 2:
			size, head := binary.Uvarint(message)
			value, n = message[head:head+int(size)], head+int(size)
		default:
			t.Fatalf("wire type %d", tag&7)
		}
		all[tag>>3] = append(all[tag>>3], value)
		message = message[n:]
	}
	return all
}

func slowMasked(data []byte) uint32 {
	crc := ^uint32(0)
	for _, b := range data {
		crc ^= uint32(b)
		for range 8 {
			if crc&1 == 1 {
				crc = crc>>1 ^ crc32.Castagnoli
			} else {
				crc >>= 1
			}
		}
	}
	crc = ^crc
	return (crc>>15 | crc<<17) + 0xa282ead8
}

func TestScalars(t *testing.T) {
	var b strings.Builder
	w, err := NewWriter(&b, time.Unix(100, 0))
	require.NoError(t, err)
	long := strings.Repeat("tag", 100)
	require.NoError(t, w.Scalars(0, time.Unix(101, 0), Scalar{"zero", 0}, Scalar{"inf", math.Inf(1)}))
	require.NoError(t, w.Scalars(1<<40, time.Unix(102, 0), Scalar{long, math.NaN()}))
	require.NoError(t, w.Scalars(5, time.Unix(103, 0)))
	require.Equal(t, []string{
		"0 version brain.Event:2", "0 zero 0 at 101", "0 inf +Inf at 101", "1099511627776 " + long + " NaN at 102",
	}, read(t, []byte(b.String())))
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestWriteError(t *testing.T) {
	_, err := NewWriter(failing{}, time.Now())
	require.True(t, errors.Is(err, os.ErrClosed))
}
