package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/impulse-salamandra/finetune/lora"
)

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	plain, rank := referenceModel+"/golden/adapter-lora", referenceModel+"/golden/adapter-rslora"
	for _, row := range []struct {
		name, reason string
		args         []string // beside base and output
		out          []string // parts
		errs         []string // parts of lines; none for success
		left         string   // pattern of what a failure leaves
	}{
		{name: "one", args: []string{"--adapter-path", plain}, out: []string{"merged 28 of 39 tensors"}},
		{name: "verified", args: []string{"--adapter-path", plain, "--verify", "2"}, out: []string{"verified: logits after 2 prompts", "likeliest token equal 2 times"}},
		{
			name: "weights", args: []string{"--adapter-path", plain, "--adapter-path", rank, "--weights", "0.5,-0.5", "--verify", "1"},
			out: []string{"verified: logits after 1 prompts"}, reason: "compared with both adapters",
		},
		{name: "svd", args: []string{"--adapter-path", plain, "--adapter-path", rank, "--method", "svd", "--rank", "4", "--verify", "1"}, out: []string{"verified"}},
		{name: "ties", args: []string{"--adapter-path", plain, "--adapter-path", rank, "--method", "ties", "--density", "0.3"}, out: []string{"merged 28 of 39"}},
		{name: "dare", args: []string{"--adapter-path", plain, "--adapter-path", rank, "--method", "dare", "--density", "0.3", "--seed", "7"}, out: []string{"merged 28 of 39"}},
		{
			name: "rejected", args: []string{"--adapter-path", plain, "--weights", "0.001", "--verify", "1"}, left: "rejected.rejected-*",
			errs: []string{"merged model was rejected, and is kept in this directory", "the merged model does not compute what base and adapter do"}, reason: "rounding takes such an update away",
		},
		{
			name: "flags", args: []string{"--weights", "1", "--verify", "-1", "--verify-dtype", "x"}, reason: "all at once",
			errs: []string{"--adapter-path is required", "--weights has 1 numbers for 0 adapters", "--verify is -1", `--verify-dtype is "x"`},
		},
		{
			name: "flags of the method", args: []string{"--adapter-path", plain, "--dtype", "int8", "--method", "mean", "--density", "0.5", "--rank", "2"}, reason: "by their names",
			errs: []string{`--dtype "int8", want keep`, `--method "mean", want linear`, "--rank 2 with --method mean", "--density 0.5 with --method mean"},
		},
		{name: "no adapter to compare with", args: []string{"--adapter-path", plain, "--method", "ties", "--density", "1", "--verify", "1"}, errs: []string{"--verify with --method ties"}},
		{name: "no adapter", args: []string{"--adapter-path", dir}, errs: []string{"no adapter_config.json in " + dir + ": not an adapter directory"}},
		{name: "another base", args: []string{"--adapter-path", filepath.Join(referenceModel, "..", "tiny-mha", "golden", "adapter-lora")}, errs: []string{"model.layers.0.mlp.down_proj.weight: tensor has the wrong shape"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			output := filepath.Join(dir, row.name)
			var out, errs bytes.Buffer
			status := execute(newMergeCommand(), append(row.args, "--base-model", referenceModel, "--output-path", output, "--backend", "go"), &out, &errs)
			for _, part := range row.out {
				require.Contains(t, out.String(), part, row.reason)
			}
			for _, part := range row.errs {
				require.Contains(t, errs.String(), part, row.reason)
			}
			if row.errs == nil {
				require.Zero(t, status, errs.String())
				output, row.left = "", row.name
			} else {
				require.Equal(t, 1, status)
			}
			if output != "" {
				require.NoDirExists(t, output)
			}
			if row.left != "" {
				found, err := filepath.Glob(filepath.Join(dir, row.left))
				require.NoError(t, err)
				require.Len(t, found, 1)
				_, err = lora.VerifyDir(t.Context(), found[0])
				require.NoError(t, err, "it is complete")
				require.NoError(t, os.RemoveAll(found[0]))
			}
			entries, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, entries, "nothing else is left")
		})
	}
}
