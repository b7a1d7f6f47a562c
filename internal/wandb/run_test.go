package wandb

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// readLog takes a file apart again, by the description of LevelDB's log.
func readLog(t *testing.T, data []byte) [][]byte {
	t.Helper()
	if !bytes.HasPrefix(data, fileHeader) {
		t.Fatalf("file begins with % x", data[:min(len(data), 7)])
	}
	var records [][]byte
	var record []byte
	for at := len(fileHeader); at < len(data); {
		if left := blockSize - at%blockSize; left < fragmentHeader {
			if len(bytes.Trim(data[at:at+left], "\x00")) != 0 {
				t.Fatalf("offset %d: the rest of a block is not zero", at)
			}
			at += left
			continue
		}
		sum, n, kind := binary.LittleEndian.Uint32(data[at:]), int(binary.LittleEndian.Uint16(data[at+4:])), data[at+6]
		body := data[at+fragmentHeader : at+fragmentHeader+n]
		if got := crc32.ChecksumIEEE(append([]byte{kind}, body...)); got != sum {
			t.Fatalf("offset %d: checksum %x, want %x", at, sum, got)
		}
		if at/blockSize != (at+fragmentHeader+n-1)/blockSize {
			t.Fatalf("offset %d: a fragment of %d bytes crosses a block", at, n)
		}
		at += fragmentHeader + n
		if begins := kind == full || kind == first; begins != (record == nil) {
			t.Fatalf("offset %d: fragment of kind %d", at, kind)
		}
		record = append(record, body...)
		if record == nil {
			record = []byte{}
		}
		if kind == full || kind == last {
			records, record = append(records, record), nil
		}
	}
	if record != nil {
		t.Fatal("the last record has no end")
	}
	return records
}

// Records of any length come back, those that fill a block to its last byte
// included.
func TestLogHoldsRecordsOfAnyLength(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var want [][]byte
	for n := range 20 {
		want = append(want, make([]byte, blockSize-2*fragmentHeader-n))
	}
	for range 60 {
		want = append(want, make([]byte, random.IntN(3*blockSize)))
	}
	want = append(want, []byte{1}, make([]byte, 0))
	var file bytes.Buffer
	log, err := newRecordLog(&file)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range want {
		for i := range r {
			r[i] = byte(random.Uint32())
		}
		if err := log.append(r); err != nil {
			t.Fatal(err)
		}
	}
	got := readLog(t, file.Bytes())
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("record %d of %d bytes differs", i, len(want[i]))
		}
	}
}

// fields of a message by number, length-delimited ones as bytes, others as
// numbers in decimal.
func fields(t *testing.T, m []byte) map[protowire.Number][]string {
	t.Helper()
	all := map[protowire.Number][]string{}
	for len(m) > 0 {
		number, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			t.Fatal(protowire.ParseError(n))
		}
		m = m[n:]
		switch kind {
		case protowire.BytesType:
			v, n := protowire.ConsumeBytes(m)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			all[number], m = append(all[number], string(v)), m[n:]
		case protowire.VarintType:
			v, n := protowire.ConsumeVarint(m)
			if n < 0 {
				t.Fatal(protowire.ParseError(n))
			}
			all[number], m = append(all[number], fmt.Sprint(v)), m[n:]
		default:
			t.Fatalf("wire type %d", kind)
		}
	}
	return all
}

// values of the items of a message: key to JSON.
func values(t *testing.T, items []string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, i := range items {
		f := fields(t, []byte(i))
		m[strings.Join(append(f[1], f[2]...), ".")] = f[16][0]
	}
	return m
}

func TestRun(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	run, err := Create(Options{Dir: t.TempDir(), Project: "p", Entity: "e", Name: "n", ID: "abc", Start: start, Config: json.RawMessage(`{"lr": 0.5, "list": [1, 2]}`)})
	if err != nil {
		t.Fatal(err)
	}
	at := start.Add(1500 * time.Millisecond)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(run.Log(7, at, map[string]any{"train/loss": 0.25, "bad": math.NaN(), "worse": math.Inf(-1)}))
	check(run.System(at, map[string]float64{"proc.memory.rssMB": 12}))
	page, err := run.HTML("report", 8, []byte("<p>report</p>"))
	check(err)
	check(run.Log(8, at, map[string]any{"report": page}))
	check(run.Summary(map[string]any{"best": 3}))
	check(run.Close(2))
	check(run.Close(0))
	if err := run.Log(9, at, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if base := filepath.Base(run.Dir()); base != "offline-run-20260102_030405-abc" {
		t.Errorf("directory %s", base)
	}
	data, err := os.ReadFile(filepath.Join(run.Dir(), "run-abc.wandb"))
	check(err)
	byKind := map[protowire.Number][]map[protowire.Number][]string{}
	for i, r := range readLog(t, data) {
		f := fields(t, r)
		if got := f[1][0]; got != fmt.Sprint(i+1) {
			t.Errorf("record %d is number %s", i+1, got)
		}
		for kind, bodies := range f {
			if kind != 1 {
				byKind[kind] = append(byKind[kind], fields(t, []byte(bodies[0])))
			}
		}
	}
	r := byKind[runRecord][0]
	if r[1][0] != "abc" || r[2][0] != "e" || r[3][0] != "p" || r[8][0] != "n" {
		t.Errorf("run %q", r)
	}
	config := fields(t, []byte(r[4][0]))
	if got := values(t, config[1]); got["lr"] != "0.5" || got["list"] != "[1, 2]" {
		t.Errorf("config %q", got)
	}
	first := byKind[historyRecord][0]
	got := values(t, first[1])
	if got["train/loss"] != "0.25" || got["bad"] != `"NaN"` || got["worse"] != `"-Infinity"` || got["_step"] != "7" || got["_runtime"] != "1.5" {
		t.Errorf("history %q", got)
	}
	if step := fields(t, []byte(first[2][0])); step[1][0] != "7" {
		t.Errorf("step %q", step)
	}
	file := fields(t, []byte(byKind[filesRecord][0][1][0]))
	if page, err := os.ReadFile(filepath.Join(run.Dir(), "files", file[1][0])); err != nil || string(page) != "<p>report</p>" {
		t.Errorf("page %q, %v", page, err)
	}
	if exit := byKind[exitRecord][0]; exit[1][0] != "2" {
		t.Errorf("exit %q", exit)
	}
}

func TestCreateListsFaults(t *testing.T) {
	_, err := Create(Options{Dir: t.TempDir(), ID: "a b", Config: json.RawMessage(`[1]`)})
	if err == nil || !strings.Contains(err.Error(), `"a b"`) || !strings.Contains(err.Error(), "config") {
		t.Errorf("error %v", err)
	}
}
