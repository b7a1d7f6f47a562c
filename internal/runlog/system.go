package runlog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// system reads what the machine is busy with, by W&B's names. What the system does
// not say is left out.
type system struct {
	memory     func() int64 // the most used so far, where the present use is not known
	busy, time float64      // of all processors so far, in ticks
	noGPU      bool
}

// read returns the figures of now; use of the processors is that since the last
// call.
func (s *system) read(ctx context.Context) map[string]float64 {
	values := map[string]float64{}
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if pages := numbers(string(text)); len(pages) > 1 {
			values["proc.memory.rssMB"] = pages[1] * float64(os.Getpagesize()) / (1 << 20)
		}
	} else if n := s.memory(); n > 0 {
		values["proc.memory.rssMB"] = float64(n) / (1 << 20)
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if share, ok := memoryPercent(string(text)); ok {
			values["memory_percent"] = share
		}
	}
	if text, err := os.ReadFile("/proc/stat"); err == nil {
		if share, ok := s.cpuPercent(string(text)); ok {
			values["cpu"] = share
		}
	}
	s.readGPUs(ctx, values)
	return values
}

// numbers are those that a line begins with.
func numbers(line string) []float64 {
	var list []float64
	for _, field := range strings.Fields(line) {
		f, err := strconv.ParseFloat(field, 64)
		if err != nil {
			break
		}
		list = append(list, f)
	}
	return list
}

// memoryPercent reads /proc/meminfo.
func memoryPercent(text string) (share float64, ok bool) {
	values := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if n := numbers(rest); len(n) > 0 {
			values[name] = n[0]
		}
	}
	total, available := values["MemTotal"], values["MemAvailable"]
	return 100 * (total - available) / total, total > 0 && available > 0
}

// cpuPercent reads the first line of /proc/stat: ticks as user, nice, system, idle,
// waiting for devices, and others.
func (s *system) cpuPercent(text string) (share float64, ok bool) {
	line, _, _ := strings.Cut(text, "\n")
	ticks := numbers(strings.TrimPrefix(line, "cpu"))
	if len(ticks) < 5 {
		return 0, false
	}
	all := 0.0
	for _, t := range ticks[:min(8, len(ticks))] { // what follows is within user and nice
		all += t
	}
	busy := all - ticks[3] - ticks[4]
	share, ok = 100*(busy-s.busy)/(all-s.time), s.time > 0 && all > s.time
	s.busy, s.time = busy, all
	return share, ok
}

// readGPUs asks the driver for the GPUs, if there is one.
func (s *system) readGPUs(ctx context.Context, values map[string]float64) {
	if s.noGPU {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=index,utilization.gpu,memory.used,memory.total,temperature.gpu,power.draw", "--format=csv,noheader,nounits").Output()
	if s.noGPU = err != nil; !s.noGPU {
		gpuValues(string(out), values)
	}
}

// gpuValues adds what nvidia-smi says, a line for each GPU.
func gpuValues(text string, values map[string]float64) {
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), ", ")
		if len(fields) != 6 {
			continue
		}
		said := map[string]float64{}
		for i, name := range []string{"gpu", "used", "total", "temp", "powerWatts"} {
			if f, err := strconv.ParseFloat(fields[i+1], 64); err == nil {
				said[name] = f
			}
		}
		for _, name := range []string{"gpu", "temp", "powerWatts"} {
			if f, ok := said[name]; ok {
				values[fmt.Sprintf("gpu.%s.%s", fields[0], name)] = f
			}
		}
		if used, total := said["used"], said["total"]; total > 0 {
			values[fmt.Sprintf("gpu.%s.memoryAllocatedBytes", fields[0])] = used * (1 << 20)
			values[fmt.Sprintf("gpu.%s.memoryAllocated", fields[0])] = 100 * used / total
		}
	}
}
