package device_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/gomlx/compute/gobackend"

	"github.com/impulse-salamandra/finetune/salamandra/device"
)

func Example() {
	d, err := device.Open("go")
	if err != nil {
		panic(err)
	}
	defer d.Close()
	fmt.Println(d.Config, "because:", d.Why)
	// Output: go:ops_sequential because: as asked
}

// What is asked for is opened or refused, with the way out.
func TestOpenAsked(t *testing.T) {
	for spec, want := range map[string]string{
		"tpu":                           "want auto, go",
		"go:,fused_attention=no":        "fused_attention=no, want true or false",
		"xla:/no/such/pjrt_plugin_a.so": "",
	} {
		d, err := device.Open(spec)
		if err == nil {
			d.Close()
			t.Errorf("%s: opened %s", spec, d)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", spec, err)
		}
	}
	t.Setenv("GOMLX_BACKEND", "tpu")
	if err := device.Check(""); err == nil || !strings.Contains(err.Error(), "GOMLX_BACKEND") {
		t.Errorf("the environment: %v", err)
	}
	if err := device.Check("go"); err != nil {
		t.Errorf("what is asked for comes before the environment: %v", err)
	}
}

// With nothing asked for and no plugin it is Go, and fused_attention=false is an
// option of the model.
func TestOpenGo(t *testing.T) {
	t.Setenv("GOMLX_BACKEND", "")
	t.Setenv("PJRT_PLUGIN_LIBRARY_PATH", t.TempDir())
	d, err := device.Open("auto")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if !d.IsGo() || d.Config != "go:ops_sequential" || d.Why == "" || d.Options.PlainAttention {
		t.Errorf("%s, %+v", d, d.Options)
	}
	plain, err := device.Open("go:ops_sequential,fused_attention=false")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if !plain.Options.PlainAttention || !strings.Contains(plain.String(), "matrix products") {
		t.Errorf("%s, %+v", plain, plain.Options)
	}
}

// A program without XLA has no use for a plugin.
func TestPluginsWithoutXLA(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PJRT_PLUGIN_LIBRARY_PATH", dir)
	if err := os.WriteFile(filepath.Join(dir, "pjrt_c_api_cpu_plugin.so"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := device.Plugins(); device.HasXLA() == (len(got) == 0) {
		t.Errorf("plugins %q, XLA %v", got, device.HasXLA())
	}
}

func TestMemory(t *testing.T) {
	d, err := device.Open("go")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	peak := d.WatchMemory(t.Context())
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Log("the kernel says nothing of memory here")
		return
	}
	if d.Memory() <= 0 || peak() <= 0 {
		t.Errorf("available %d, peak %d", d.Memory(), peak())
	}
}
