//go:build linux

package constrain

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// BenchmarkSchemas compiles the schemas of a file and writes their valid values
// with a vocabulary of 256,000 tokens. SALAMANDRA_SCHEMAS names the file, of lines
// {"schema", "tests": [{"valid", "data"}]}; SALAMANDRA_TOKENS one that the
// vocabulary is put in for other programs, a token a line in hexadecimal digits. Times
// are of the processor.
func BenchmarkSchemas(b *testing.B) {
	path := os.Getenv("SALAMANDRA_SCHEMAS")
	if path == "" {
		b.Skip("SALAMANDRA_SCHEMAS names no file")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	v, _ := madeUpVocabulary(256_000)
	writeTokens(b, os.Getenv("SALAMANDRA_TOKENS"), v)
	for b.Loop() {
		var compile, first, later []time.Duration
		memory := uint64(0)
		n, count := 0, map[string]int{"passing": 0, "refused": 0, "invalid": 0, "not-written": 0}
		eachSchema(b, path, func(schema json.RawMessage, valid, invalid [][]byte) {
			n++
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := processorTime(b, ofProcess)
			g, err := Compile(schema, Options{MaxStates: 50_000})
			compile = append(compile, processorTime(b, ofProcess)-begin)
			runtime.ReadMemStats(&after)
			memory = max(memory, after.TotalAlloc-before.TotalAlloc)
			switch {
			case err != nil:
				count["refused"]++
				return
			case slices.ContainsFunc(invalid, g.Match):
				count["invalid"]++
			case slices.ContainsFunc(valid, func(x []byte) bool { return !g.Match(x) && !g.Match(plainText(x)) }):
				count["not-written"]++
			default:
				count["passing"]++
			}
			if i := slices.IndexFunc(valid, g.Match); i >= 0 {
				first = append(first, maskTimes(b, g, v, valid[i])...)
				later = append(later, maskTimes(b, g, v, valid[i])...)
			}
		})
		b.ReportMetric(float64(memory)/(1<<20), "compile-most-MB")
		for name, k := range count {
			b.ReportMetric(100*float64(k)/float64(n), name+"-%")
		}
		for name, list := range map[string][]time.Duration{"compile": compile, "first-masks": first, "masks": later} {
			slices.Sort(list)
			b.ReportMetric(float64(list[len(list)/2].Nanoseconds())/1000, name+"-p50-µs")
			b.ReportMetric(float64(list[len(list)*99/100].Nanoseconds())/1000, name+"-p99-µs")
			b.ReportMetric(float64(list[len(list)-1].Nanoseconds())/1000, name+"-most-µs")
		}
	}
}

// Clocks of clock_gettime: the processor time of this process, and of this thread.
const (
	ofProcess = 2
	ofThread  = 3
)

// processorTime is what a clock says.
func processorTime(tb testing.TB, clock uintptr) time.Duration {
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		tb.Fatal(errno)
	}
	return time.Duration(t.Nano())
}

// plainText is a text with its numbers in plain decimals.
func plainText(text []byte) []byte {
	v, err := parseValue(text)
	if err != nil {
		return text
	}
	plain(v)
	return layout{item: ", ", key: ": "}.append(nil, v, 0)
}

// eachSchema calls visit with each schema of a file and its values, written as
// Python's json.dumps does.
func eachSchema(tb testing.TB, path string, visit func(schema json.RawMessage, valid, invalid [][]byte)) {
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var row struct {
			Schema json.RawMessage
			Tests  []struct {
				Valid bool
				Data  json.RawMessage
			}
		}
		if err := json.Unmarshal(in.Bytes(), &row); err != nil {
			tb.Fatal(err)
		}
		var valid, invalid [][]byte
		for _, x := range row.Tests {
			y, err := parseValue(x.Data)
			if err != nil {
				continue // such as nested too deep
			}
			text := layout{item: ", ", key: ": "}.append(nil, y, 0)
			if x.Valid {
				valid = append(valid, text)
			} else {
				invalid = append(invalid, text)
			}
		}
		visit(row.Schema, valid, invalid)
	}
}

// maskTimes writes a text with the longest tokens there are, and times the masks.
func maskTimes(tb testing.TB, g *Grammar, v *Vocabulary, text []byte) []time.Duration {
	m, err := g.Matcher(v)
	if err != nil {
		tb.Fatal(err)
	}
	var times []time.Duration
	for at := 0; at < len(text); {
		begin := processorTime(tb, ofThread)
		if _, err := m.Allowed(Unlimited); err != nil {
			tb.Fatal(err)
		}
		times = append(times, processorTime(tb, ofThread)-begin)
		place, end, id := int32(-1), at, int32(-1)
		for k := at; k < len(text); k++ {
			if place = v.child(place, text[k]); place < 0 {
				break
			}
			if list := v.endingAt(place); len(list) > 0 {
				end, id = k+1, list[0]
			}
		}
		if err := m.Accept(id); err != nil {
			tb.Fatal(err)
		}
		at = end
	}
	return times
}

func writeTokens(tb testing.TB, path string, v *Vocabulary) {
	if path == "" {
		return
	}
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for _, text := range v.text {
		w.WriteString(hex.EncodeToString(text) + "\n")
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		tb.Fatal(err)
	}
}
