package device

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// hostMemory is how many bytes this process may still take, 0 where the kernel
// does not say.
func hostMemory() int64 {
	available := statusBytes("/proc/meminfo", "MemAvailable:")
	group, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return available
	}
	if left, limited := groupMemory(string(group), "/sys/fs/cgroup"); limited {
		return min(available, left)
	}
	return available
}

// groupMemory is what the limits of a process's control groups leave it, as
// containers have them. The group is the text of /proc/self/cgroup, root the
// directory of all groups. File pages that were not used lately do not count: the
// kernel drops them when there is need.
func groupMemory(group, root string) (left int64, limited bool) {
	for line := range strings.Lines(group) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		top, most, used, inactive := root, "memory.max", "memory.current", "inactive_file"
		switch {
		case fields[1] == "memory": // version 1
			top, most, used, inactive = filepath.Join(root, "memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
		case fields[1] != "":
			continue
		}
		// The limits of all groups above hold too. Inside a container the path may
		// be the host's, of which only the top is there.
		for path := filepath.Join("/", fields[2]); ; path = filepath.Dir(path) {
			dir := filepath.Join(top, path)
			if limit, ok := readNumber(filepath.Join(dir, most)); ok {
				taken, _ := readNumber(filepath.Join(dir, used))
				rest := max(0, limit-taken+statistic(filepath.Join(dir, "memory.stat"), inactive))
				if !limited || rest < left {
					left, limited = rest, true
				}
			}
			if path == "/" {
				break
			}
		}
	}
	return left, limited
}

// readNumber reads a file that holds one whole number; "max" is none.
func readNumber(file string) (int64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// statistic reads a line such as "inactive_file 4096", 0 if there is none.
func statistic(file, name string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
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
