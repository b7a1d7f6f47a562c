package serve

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/impulse-salamandra/finetune"
)

// metrics are counted since the start. Labels are routes, statuses and kinds, of
// which there are few, so that memory stays what it is.
type metrics struct {
	mu       sync.Mutex
	started  time.Time
	requests map[requestLabel]int
	seconds  map[string]*histogram // by route
	first    histogram             // to the first token
	tokens   map[string]int        // by kind
	swaps    int
}

type requestLabel struct {
	route  string
	status int
}

func newMetrics() *metrics {
	return &metrics{started: time.Now(), requests: map[requestLabel]int{}, seconds: map[string]*histogram{}, tokens: map[string]int{"prompt": 0, "cached": 0, "new": 0, "forced": 0}}
}

// bounds of the buckets of times, in seconds.
var bounds = [...]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// histogram counts times by bucket.
type histogram struct {
	counts [len(bounds) + 1]int
	sum    float64
}

func (h *histogram) add(d time.Duration) {
	i, _ := slices.BinarySearch(bounds[:], d.Seconds())
	h.counts[i]++
	h.sum += d.Seconds()
}

// request counts an answer.
func (m *metrics) request(route string, status int, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[requestLabel{route, status}]++
	if m.seconds[route] == nil {
		m.seconds[route] = &histogram{}
	}
	m.seconds[route].add(took)
}

// answered counts what an answer took.
func (m *metrics) answered(a finetune.Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first.add(a.FirstToken)
	m.tokens["prompt"] += a.PromptTokens
	m.tokens["cached"] += a.CachedTokens
	m.tokens["new"] += a.NewTokens
	m.tokens["forced"] += a.ForcedTokens
}

func (m *metrics) swapped() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.swaps++
}

// exposition writes Prometheus' text format, version 0.0.4.
type exposition struct{ strings.Builder }

func (x *exposition) head(name, kind, help string) {
	fmt.Fprintf(x, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (x *exposition) gauge(name, help string, value float64) {
	x.head(name, "gauge", help)
	fmt.Fprintf(x, "%s %v\n", name, value)
}

// histogram writes the buckets; labels, if any, end with a comma.
func (x *exposition) histogram(name, labels string, h *histogram) {
	total := 0
	for i, n := range h.counts {
		total += n
		le := "+Inf"
		if i < len(bounds) {
			le = fmt.Sprint(bounds[i])
		}
		fmt.Fprintf(x, "%s_bucket{%sle=%q} %d\n", name, labels, le, total)
	}
	of := strings.TrimSuffix(labels, ",")
	if of != "" {
		of = "{" + of + "}"
	}
	fmt.Fprintf(x, "%s_sum%s %v\n%s_count%s %d\n", name, of, h.sum, name, of, total)
}

// showMetrics answers with all metrics.
func (s *Server) showMetrics(w http.ResponseWriter, _ *http.Request, _ *entry) error {
	x := &exposition{}
	s.metrics.write(x)
	x.gauge("salamandra_in_flight", "Requests that are computed or wait for it.", float64(s.inFlight.Load()))
	x.gauge("salamandra_in_flight_limit", "How many may be.", float64(s.opts.InFlight))
	x.gauge("salamandra_ready", "Whether requests are taken.", map[bool]float64{true: 1}[s.isReady()])
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	x.gauge("go_goroutines", "Goroutines that exist.", float64(runtime.NumGoroutine()))
	x.gauge("go_memstats_heap_inuse_bytes", "Bytes of the Go heap in use; arrays on the device are not among them.", float64(memory.HeapInuse))
	if resident := residentBytes(); resident > 0 {
		x.gauge("process_resident_memory_bytes", "Resident memory of the process.", float64(resident))
	}
	writeBytes(w, http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", []byte(x.String()))
	return nil
}

func (m *metrics) write(x *exposition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	x.head("salamandra_requests_total", "counter", "Requests by route and status.")
	for _, l := range slices.SortedFunc(maps.Keys(m.requests), func(a, b requestLabel) int {
		return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.status, b.status))
	}) {
		fmt.Fprintf(x, "salamandra_requests_total{route=%q,status=\"%d\"} %d\n", l.route, l.status, m.requests[l])
	}
	x.head("salamandra_request_seconds", "histogram", "Time to the end of the answer.")
	for _, route := range slices.Sorted(maps.Keys(m.seconds)) {
		x.histogram("salamandra_request_seconds", fmt.Sprintf("route=%q,", route), m.seconds[route])
	}
	x.head("salamandra_first_token_seconds", "histogram", "Time from admission to the first token of an answer.")
	x.histogram("salamandra_first_token_seconds", "", &m.first)
	x.head("salamandra_tokens_total", "counter", "Tokens: of prompts, of those from the cache, of answers, of those forced by a schema.")
	for _, kind := range slices.Sorted(maps.Keys(m.tokens)) {
		fmt.Fprintf(x, "salamandra_tokens_total{kind=%q} %d\n", kind, m.tokens[kind])
	}
	x.head("salamandra_adapter_swaps_total", "counter", "Adapters loaded by /admin/adapter.")
	fmt.Fprintf(x, "salamandra_adapter_swaps_total %d\n", m.swaps)
	x.gauge("process_start_time_seconds", "When the server was made, in seconds since 1970.", float64(m.started.Unix()))
}
