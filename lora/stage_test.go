package lora

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// childMerge tells the test program to do nothing but one merge: base, adapter
// and output, one a line.
const childMerge = "LORA_TEST_MERGE"

func TestMain(m *testing.M) {
	if job := os.Getenv(childMerge); job != "" {
		if err := runChild(strings.Split(job, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runChild merges and prints "begin" before and the peak of its memory after,
// in bytes, 0 if the system does not tell.
func runChild(job []string) error {
	fmt.Println("begin")
	if _, err := Merge(context.Background(), MergeOptions{Base: job[0], Adapter: job[1], Output: job[2]}); err != nil {
		return err
	}
	peak := 0
	status, _ := os.ReadFile("/proc/self/status") // Linux alone has it
	for line := range strings.Lines(string(status)) {
		if kB, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			if _, err := fmt.Sscan(kB, &peak); err != nil {
				return err
			}
		}
	}
	fmt.Println(peak << 10)
	return nil
}

// child prepares a merge in another process.
func child(t testing.TB, base, adapter, output string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childMerge+"="+strings.Join([]string{base, adapter, output}, "\n"))
	cmd.Stderr = os.Stderr
	return cmd
}

// Killed at any moment, a merge leaves a complete output or none, and can be
// done again.
func TestMergeKilled(t *testing.T) {
	const moments = 20
	base := filepath.Join(referenceModels(t), "tiny-gqa")
	adapter := filepath.Join(base, "golden", "adapter-lora")
	dir := t.TempDir()
	killAfter := func(output string, wait time.Duration) (whole time.Duration) {
		cmd := child(t, base, adapter, output)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = bufio.NewReader(out).ReadString('\n')
		require.NoError(t, err)
		begin := time.Now()
		if wait >= 0 {
			time.Sleep(wait)
			require.NoError(t, cmd.Process.Kill())
		}
		if err := cmd.Wait(); wait < 0 {
			require.NoError(t, err)
		}
		return time.Since(begin)
	}
	whole := killAfter(filepath.Join(dir, "first"), -1)
	want := digest(t, filepath.Join(dir, "first"))
	absent, left := 0, 0
	for moment := range moments {
		output := filepath.Join(dir, fmt.Sprintf("killed-%d", moment), "merged")
		killAfter(output, whole*time.Duration(moment)/moments)
		if _, err := os.Stat(output); err == nil {
			_, err := VerifyDir(t.Context(), output)
			require.NoError(t, err, "a directory of that name is complete")
			require.Equal(t, want, digest(t, output))
			continue
		}
		absent++
		if entries, err := os.ReadDir(filepath.Dir(output)); err == nil && len(entries) > 0 {
			left++
		}
		report, err := Merge(t.Context(), MergeOptions{Base: base, Adapter: adapter, Output: output})
		require.NoError(t, err)
		require.Equal(t, want, digest(t, output))
		// Where directories cannot be locked, a warning names what was left.
		require.Equal(t, 1+len(report.Warnings), len(names(t, filepath.Dir(output))))
	}
	require.Positive(t, absent, "some moments are before the end")
	require.Positive(t, left, "some are in the middle")
}

// A directory that another merge still writes is left alone, and so is what
// only looks like one.
func TestStageLeavesOthers(t *testing.T) {
	dir := t.TempDir()
	output := filepath.Join(dir, "merged")
	first, err := NewStage(output, 0)
	require.NoError(t, err)
	defer first.Close()
	for _, name := range []string{"merged.tmp-1234567", "merged.tmp-1234567g", "merged.rejected-12345678", "xmerged.tmp-12345678", "merged.tmp-12345678x"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o777))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "merged.tmp-87654321"), nil, 0o666))
	before := names(t, dir)
	second, err := NewStage(output, 0)
	require.NoError(t, err)
	require.Subset(t, names(t, dir), before)
	second.Close()
	require.Equal(t, before, names(t, dir))
	require.NoError(t, first.Publish())
	require.DirExists(t, output)
}

// A directory is kept for one at a time, also within a process.
func TestLockDir(t *testing.T) {
	dir := t.TempDir()
	release, err := LockDir(dir)
	require.NoError(t, err)
	if lock, err := lockDir(dir); errors.Is(err, errors.ErrUnsupported) {
		release()
		return
	} else if err == nil {
		lock.Close()
	}
	_, err = LockDir(dir)
	require.ErrorIs(t, err, ErrBusy)
	release()
	release, err = LockDir(dir)
	require.NoError(t, err)
	release()
	_, err = LockDir(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestDiskSpace(t *testing.T) {
	dir := t.TempDir()
	if _, err := freeSpace(dir); err != nil {
		require.ErrorContains(t, err, "unsupported")
		return
	}
	require.NoError(t, checkSpace(dir, 1))
	output := filepath.Join(dir, "merged")
	_, err := NewStage(output, 1<<60)
	require.ErrorIs(t, err, ErrDiskSpace)
	require.Empty(t, names(t, dir), "nothing is begun")
}

// BenchmarkMergeModel merges into a random model in another process and reports
// the peak of its memory. A model of 1.1e9 parameters takes 5 GB of disk; it is
// there if LORA_BENCHMARK_LARGE is set.
func BenchmarkMergeModel(b *testing.B) {
	sizes := []struct {
		name                              string
		layers, hidden, width, vocabulary int
	}{{"20M", 2, 512, 2048, 8192}}
	if os.Getenv("LORA_BENCHMARK_LARGE") != "" {
		sizes = append(sizes, struct {
			name                              string
			layers, hidden, width, vocabulary int
		}{"1B", 18, 2048, 5440, 64000})
	}
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			base, adapter := randomModel(b, size.layers, size.hidden, size.width, size.vocabulary)
			stat, err := os.ReadDir(base)
			require.NoError(b, err)
			var bytes, peak int64
			for _, entry := range stat {
				info, err := entry.Info()
				require.NoError(b, err)
				bytes += info.Size()
			}
			b.SetBytes(bytes)
			output := filepath.Join(b.TempDir(), "merged")
			for b.Loop() {
				out, err := child(b, base, adapter, output).Output()
				require.NoError(b, err)
				var one int64
				_, err = fmt.Sscanf(string(out), "begin\n%d", &one)
				require.NoError(b, err)
				peak = max(peak, one)
				require.NoError(b, os.RemoveAll(output))
			}
			b.ReportMetric(float64(peak)/(1<<20), "peak-MB")
		})
	}
}

// randomModel stores a bfloat16 model in the layout of Llama, in shards of 500
// MB, and an adapter of rank 16 for all its layers.
func randomModel(b *testing.B, layers, hidden, width, vocabulary int) (base, adapter string) {
	base, adapter = b.TempDir(), b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(base, "config.json"), []byte(`{"dtype": "bfloat16"}`), 0o666))
	infos := []safetensors.Info{{Name: "model.embed_tokens.weight", Dtype: safetensors.BF16, Shape: []int{vocabulary, hidden}}}
	a := &Adapter{Config: DefaultConfig()}
	rng := rand.New(rand.NewPCG(1, 0))
	for layer := range layers {
		for _, kind := range []struct {
			name    string
			out, in int
		}{
			{"mlp.down_proj", hidden, width}, {"mlp.gate_proj", width, hidden}, {"mlp.up_proj", width, hidden},
			{"self_attn.k_proj", hidden, hidden}, {"self_attn.o_proj", hidden, hidden}, {"self_attn.q_proj", hidden, hidden}, {"self_attn.v_proj", hidden, hidden},
		} {
			name := fmt.Sprintf("model.layers.%02d.%s", layer, kind.name)
			infos = append(infos, safetensors.Info{Name: name + ".weight", Dtype: safetensors.BF16, Shape: []int{kind.out, kind.in}})
			m := Module{Name: name, In: kind.in, Out: kind.out, Rank: 16, A: make([]float32, 16*kind.in), B: make([]float32, kind.out*16)}
			for _, values := range [][]float32{m.A, m.B} {
				for i := range values {
					values[i] = float32(rng.NormFloat64() * 0.02)
				}
			}
			a.Modules = append(a.Modules, m)
		}
	}
	require.NoError(b, a.Write(adapter))
	shards := safetensors.PlanShards(infos, 500_000_000)
	values := make([]float32, 1<<16)
	chunk := make([]byte, 2*len(values))
	for _, shard := range shards {
		w, err := safetensors.Create(filepath.Join(base, shard.Name), shard.Tensors, map[string]string{"format": "pt"})
		require.NoError(b, err)
		defer w.Abort()
		for _, info := range shard.Tensors {
			for left := info.NumElements(); left > 0; left -= len(values) {
				for i := range values {
					values[i] = float32(rng.NormFloat64() * 0.02)
				}
				require.NoError(b, safetensors.EncodeFloat32(chunk, values, safetensors.BF16))
				require.NoError(b, w.WriteChunk(info.Name, chunk[:2*min(left, len(values))]))
			}
		}
		require.NoError(b, w.Commit())
	}
	if len(shards) > 1 {
		require.NoError(b, safetensors.WriteIndex(base, shards))
	}
	return base, adapter
}
