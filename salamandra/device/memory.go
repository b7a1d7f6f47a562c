package device

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// GlibcTunables is a value for the environment variable GLIBC_TUNABLES that suits
// XLA on a CPU, which takes the memory of its products from glibc. By default
// glibc keeps what is given back to it, in pieces of many sizes: two thirds of the
// memory of training in bfloat16. With these settings arrays go back to the system
// at once, and come from it in huge pages, which makes up for the time. glibc
// reads them only when a program starts: a program that wants them starts itself
// anew with the variable set, or has it set by whoever starts it.
const GlibcTunables = "glibc.malloc.mmap_threshold=4194304:glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"

// Memory is how many bytes programs may take on each device in use, 0 where that is
// not known: on NVIDIA GPUs the share of the smallest one's memory that XLA takes
// (memory_fraction, 0.92 by default), less if CUDA itself would not have room beside
// it; else what the host has available and the limits of its container leave, divided
// by the devices.
func (d *Device) Memory() int64 {
	if d.Backend.HasSharedBuffers() {
		return hostMemory() / int64(max(1, d.Devices))
	}
	least := int64(0)
	for _, text := range d.nvidia("memory.total") {
		mib, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return 0
		}
		if least == 0 || mib < least {
			least = mib
		}
	}
	return usable(d.Config, least<<20)
}

// memoryShare is memory_fraction where nothing else is asked for. XLA's own default,
// three quarters, leaves a quarter of a card to nobody.
const memoryShare = 0.92

// cudaBytes is about what CUDA's context and the libraries' kernels take of a GPU
// beside the memory that XLA shares out.
const cudaBytes = 700e6

const shareOption = "memory_fraction="

// withMemoryShare adds memory_fraction to the configuration of a CUDA backend that
// does not say it.
func withMemoryShare(config string) string {
	if !isCUDA(config) || strings.Contains(config, shareOption) {
		return config
	}
	return fmt.Sprintf("%s,%s%v", config, shareOption, memoryShare)
}

// UsableMemory is how much of a GPU with so many bytes programs may take where
// memory_fraction is not said.
func UsableMemory(total int64) int64 { return usable("", total) }

// usable is the same with a backend's configuration.
func usable(config string, total int64) int64 {
	share := memoryShare
	if _, rest, ok := strings.Cut(config, shareOption); ok {
		rest, _, _ = strings.Cut(rest, ",")
		if f, err := strconv.ParseFloat(rest, 64); err == nil {
			share = f
		}
	}
	return max(0, min(int64(share*float64(total)), total-cudaBytes))
}

// WatchMemory notes how much memory the process has used at most: resident
// memory of the host, or on an NVIDIA GPU what the driver reports. The function
// it returns gives bytes, 0 where they are not known. Watching ends with ctx.
func (d *Device) WatchMemory(ctx context.Context) (peak func() int64) {
	if d.Backend.HasSharedBuffers() {
		return func() int64 { return statusBytes("/proc/self/status", "VmHWM:") }
	}
	var most atomic.Int64
	go func() {
		for ctx.Err() == nil {
			if n := nvidiaMemory(ctx); n > most.Load() {
				most.Store(n)
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
	}()
	return most.Load
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

// beforeAmpere reports whether there is an NVIDIA GPU without bfloat16 and cuDNN's
// flash attention, which need compute capability 8.0.
func beforeAmpere() bool {
	if !HasGPU() {
		return false
	}
	out, err := exec.Command("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader").Output()
	capability, parseErr := strconv.ParseFloat(strings.TrimSpace(strings.SplitN(string(out), "\n", 2)[0]), 64)
	return err == nil && parseErr == nil && capability < 8
}
