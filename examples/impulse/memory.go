package main

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomlx/compute"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// peakMemory watches how much memory the process has used at most: resident
// memory of the host, or on an NVIDIA GPU what the driver reports. The function
// it returns gives bytes, or nil where they are not known. Watching ends with
// ctx.
func peakMemory(ctx context.Context, b compute.Backend) func() *int64 {
	if !salamandra.OnAccelerator(b) {
		return peakResident
	}
	var peak atomic.Int64
	go func() {
		for ctx.Err() == nil {
			if n := nvidiaMemory(ctx); n > peak.Load() {
				peak.Store(n)
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
	}()
	return func() *int64 {
		if n := peak.Load(); n > 0 {
			return &n
		}
		return nil
	}
}

// nvidiaMemory asks the driver for the memory of this process in bytes, 0 if
// it does not say.
func nvidiaMemory(ctx context.Context) int64 {
	out, err := exec.CommandContext(ctx, "nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return 0
	}
	var total int64
	for line := range strings.Lines(string(out)) {
		pid, mib, _ := strings.Cut(strings.TrimSpace(line), ", ")
		if n, err := strconv.ParseInt(mib, 10, 64); err == nil && pid == strconv.Itoa(os.Getpid()) {
			total += n << 20
		}
	}
	return total
}

// deviceMemory is how many bytes a backend may use, 0 if that is not known: on
// an NVIDIA GPU the share of its memory that XLA takes, else what the host has
// available.
func deviceMemory(b compute.Backend, config string) int64 {
	if !salamandra.OnAccelerator(b) {
		return statusBytes("/proc/meminfo", "MemAvailable:")
	}
	out, err := exec.Command("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(out), "\n")
	mib, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	if err != nil {
		return 0
	}
	share := 0.75
	if _, rest, ok := strings.Cut(config, "memory_fraction="); ok {
		rest, _, _ = strings.Cut(rest, ",")
		if f, err := strconv.ParseFloat(rest, 64); err == nil {
			share = f
		}
	}
	return int64(share * float64(mib<<20))
}

// peakResident reads the largest resident size from the kernel.
func peakResident() *int64 {
	if n := statusBytes("/proc/self/status", "VmHWM:"); n > 0 {
		return &n
	}
	return nil
}

// statusBytes reads a line such as "MemAvailable: 17 kB" of a file of the
// kernel's, 0 if there is none.
func statusBytes(file, name string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
