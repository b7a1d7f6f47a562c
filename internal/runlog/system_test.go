package runlog

import (
	"maps"
	"runtime"
	"testing"
)

func TestSystem(t *testing.T) {
	var s system
	if _, ok := s.cpuPercent("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1\n"); ok {
		t.Error("use since no earlier time")
	}
	if got, ok := s.cpuPercent("cpu  160 0 120 810 110 0 0 0 90 0\n"); !ok || got != 40 { // 80 of 200 ticks
		t.Errorf("processors %v %v", got, ok)
	}
	if got, ok := memoryPercent("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  250 kB\n"); !ok || got != 75 {
		t.Errorf("memory %v %v", got, ok)
	}
	for _, text := range []string{"", "cpu", "intr 1 2 3 4 5 6"} {
		if _, ok := s.cpuPercent(text); ok {
			t.Errorf("%q", text)
		}
		if _, ok := memoryPercent(text); ok {
			t.Errorf("%q", text)
		}
	}
	got := map[string]float64{}
	gpuValues("0, 87, 20480, 40960, 61, 250.5\n1, [N/A], 10, 40, [N/A], [N/A]\nnothing known\n", got)
	want := map[string]float64{
		"gpu.0.gpu": 87, "gpu.0.memoryAllocatedBytes": 20480 << 20, "gpu.0.memoryAllocated": 50, "gpu.0.temp": 61, "gpu.0.powerWatts": 250.5,
		"gpu.1.memoryAllocatedBytes": 10 << 20, "gpu.1.memoryAllocated": 25,
	}
	if !maps.Equal(got, want) {
		t.Errorf("GPUs %v, want %v", got, want)
	}
}

// TestSystemHere: on Linux there are figures, elsewhere at least the memory.
func TestSystemHere(t *testing.T) {
	s := system{memory: func() int64 { return 3 << 20 }}
	got := s.read(t.Context())
	if got["proc.memory.rssMB"] < 3 && runtime.GOOS == "linux" || got["proc.memory.rssMB"] == 0 {
		t.Errorf("%v", got)
	}
}
