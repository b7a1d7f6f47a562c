package device

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// selection says which devices of a backend are asked for.
type selection struct {
	all    bool
	number int   // of the first ones; 0 for what suits the backend
	list   []int // of GPUs
}

// parseSelection reads "auto" or "", "all", a number, or a list such as "0,1,3".
func parseSelection(text string) (selection, error) {
	switch text {
	case "", auto:
		return selection{}, nil
	case "all":
		return selection{all: true}, nil
	}
	fault := fmt.Errorf("%q, want auto, all, how many, or a list of GPUs such as 0,1,3", text)
	var s selection
	for part := range strings.SplitSeq(strings.TrimSuffix(text, ","), ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || slices.Contains(s.list, n) {
			return selection{}, fault
		}
		s.list = append(s.list, n)
	}
	if strings.Contains(text, ",") {
		return s, nil
	}
	if s = (selection{number: s.list[0]}); s.number == 0 {
		return selection{}, fault
	}
	return s, nil
}

// CheckDevices reports what is wrong with a selection of devices; see [OpenSeveral].
func CheckDevices(devices string) error {
	_, err := parseSelection(devices)
	return err
}

// OpenSeveral is [Open] for several devices of a backend: "all", a number, or the
// GPUs of a list, by the numbers of nvidia-smi, such as "0,1,3" ("3," is one of
// them). "auto" or "" is all GPUs, and one device of a CPU. XLA on a CPU has four
// virtual devices, which share its cores and memory.
func OpenSeveral(spec, devices string) (*Device, error) {
	s, err := parseSelection(devices)
	if err != nil {
		return nil, fmt.Errorf("devices %w", err)
	}
	if s.list == nil {
		d, err := Open(spec)
		if err != nil {
			return nil, err
		}
		if err := d.take(s); err != nil {
			d.Close()
			return nil, err
		}
		return d, nil
	}
	list := choices(spec)
	c := list[0]
	if !isCUDA(c.config) {
		return nil, fmt.Errorf("devices %s are GPUs, and the backend is %s (%s)", devices, c.config, c.why)
	}
	if strings.Contains(c.config, "visible_devices=") {
		return nil, fmt.Errorf("devices %s and backend %s: name the devices once", devices, c.config)
	}
	c.config += ",visible_devices=" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(s.list)), ";"), "[]")
	d, err := open(c)
	if err != nil {
		return nil, err
	}
	if n := d.Backend.NumDevices(); n != len(s.list) {
		d.Close()
		return nil, fmt.Errorf("devices %s: %d of them are there", devices, n)
	}
	d.Devices = len(s.list)
	d.noteMixed()
	return d, nil
}

// take settles how many devices are used.
func (d *Device) take(s selection) error {
	has := d.Backend.NumDevices()
	switch {
	case s.number > has:
		return fmt.Errorf("devices %d: backend %s has %d", s.number, d.Config, has)
	case s.number > 0:
		d.Devices = s.number
	case s.all || !d.Backend.HasSharedBuffers():
		d.Devices = has
	}
	d.noteMixed()
	return nil
}

// noteMixed notes GPUs that are not alike.
func (d *Device) noteMixed() {
	if d.Devices < 2 || d.Backend.HasSharedBuffers() {
		return
	}
	names := d.nvidia("name")
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 1 {
		d.Notes = append(d.Notes, fmt.Sprintf("the GPUs are not alike (%s): the slowest sets the pace, and results can differ in their last bits from those of one GPU", strings.Join(names, ", ")))
	}
}

// nvidia asks the driver for a property of each GPU in use, nil if it does not say.
func (d *Device) nvidia(property string) []string {
	args := []string{"--query-gpu=" + property, "--format=csv,noheader,nounits"}
	if visible := os.Getenv("CUDA_VISIBLE_DEVICES"); visible != "" {
		args = append(args, "--id="+visible)
	}
	out, err := exec.Command("nvidia-smi", args...).Output()
	if err != nil {
		return nil
	}
	all := strings.Split(strings.TrimSpace(string(out)), "\n")
	_, visible, chosen := strings.Cut(d.Config, "visible_devices=")
	if !chosen {
		return all[:min(d.Devices, len(all))]
	}
	visible, _, _ = strings.Cut(visible, ",")
	var names []string
	for place := range strings.SplitSeq(visible, ";") {
		if i, err := strconv.Atoi(place); err == nil && i < len(all) {
			names = append(names, all[i])
		}
	}
	return names
}
