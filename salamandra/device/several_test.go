package device

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	_ "github.com/gomlx/compute/gobackend"
)

func TestParseSelection(t *testing.T) {
	for text, want := range map[string]selection{
		"": {}, "auto": {}, "all": {all: true}, "4": {number: 4}, "0,1,3": {list: []int{0, 1, 3}}, "3,": {list: []int{3}},
	} {
		if got, err := parseSelection(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"0", "-1", "two", "1,1", "0,,1", ",", "1;2"} {
		if err := CheckDevices(text); err == nil || !strings.Contains(err.Error(), "want auto, all, how many") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The Go backend has one device: "auto" and "all" are that one.
func TestOpenSeveralOnGo(t *testing.T) {
	for devices, want := range map[string]string{"": "", "all": "", "1": "", "2": "devices 2: backend go:ops_sequential has 1", "0,1": "devices 0,1 are GPUs"} {
		d, err := OpenSeveral("go", devices)
		if err != nil {
			if want == "" || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %q", devices, err, want)
			}
			continue
		}
		if want != "" || d.Devices != 1 {
			t.Errorf("%q: %d devices, want %q", devices, d.Devices, want)
		}
		d.Close()
	}
}

// What the driver says of the GPUs in use: the first ones, or those of the list,
// among those that CUDA_VISIBLE_DEVICES leaves.
func TestNvidiaOfDevicesInUse(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nfor a; do case $a in --id=*) echo \"of ${a#--id=}\"; exit;; esac; done\nprintf 'a\\nb\\nc\\nd\\n'\n"
	if err := os.WriteFile(filepath.Join(dir, "nvidia-smi"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("CUDA_VISIBLE_DEVICES", "")
	for _, row := range []struct {
		d    Device
		want []string
	}{
		{Device{Config: "xla:cuda", Devices: 2}, []string{"a", "b"}},
		{Device{Config: "xla:cuda,visible_devices=1;3,tf32=false", Devices: 2}, []string{"b", "d"}},
	} {
		if got := row.d.nvidia("name"); !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %q, want %q", row.d.Config, got, row.want)
		}
	}
	t.Setenv("CUDA_VISIBLE_DEVICES", "2,3")
	d := Device{Config: "xla:cuda", Devices: 1}
	if got := d.nvidia("name"); !reflect.DeepEqual(got, []string{"of 2,3"}) {
		t.Errorf("%q", got)
	}
}
