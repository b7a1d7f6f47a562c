package lora

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/faults"
)

// errBase reports a base that is not the one a model was merged from.
var errBase = errors.New("not the file that was merged")

// UnmergeOptions says what Unmerge reads and writes; all are needed.
type UnmergeOptions struct {
	// Merged is a directory that Merge wrote; only its certificate is read.
	Merged string
	// Base is a copy of the model that was merged from.
	Base string
	// Output is the directory to write. It must be absent or empty, and not
	// within Merged or Base.
	Output string
}

// Unmerge writes the model that a merged one was made from, byte for byte.
// Subtracting the update could not do that, as adding it has rounded: the files
// are copied from a base at hand, and each must have the SHA-256 that the
// certificate of the merged model names, or the error lists it. Output is complete or absent, as with [Merge].
func Unmerge(ctx context.Context, opts UnmergeOptions) error {
	if opts.Merged == "" || opts.Base == "" || opts.Output == "" {
		return fmt.Errorf("lora: unmerge: %w: Merged, Base and Output are needed", errOption)
	}
	if err := checkOutput(opts.Output, []string{opts.Merged, opts.Base}); err != nil {
		return err
	}
	certificate, err := readCertificate(opts.Merged)
	if err != nil {
		return err
	}
	var size int64
	for _, sum := range certificate.BaseFiles {
		size += sum.Size
	}
	s, err := atomicfile.NewStage(opts.Output, size+spareSpace)
	if err != nil {
		return err
	}
	defer s.Close()
	list := faults.List{}
	for _, want := range certificate.BaseFiles {
		list.Join(restoreFile(ctx, opts.Base, s.Dir, want))
	}
	if err := list.Err(); err != nil {
		return err
	}
	return s.Publish()
}

// restoreFile copies a file of the base to dir if its content is as wanted.
func restoreFile(ctx context.Context, base, dir string, want FileSum) error {
	path := filepath.Join(base, want.File)
	if filepath.Base(want.File) != want.File {
		return fmt.Errorf("%s: %w: not a file name", path, errCertificate)
	}
	f, err := atomicfile.Create(filepath.Join(dir, want.File))
	if err != nil {
		return err
	}
	defer f.Abort()
	sum, err := copyAndHash(ctx, f, path)
	if err != nil {
		return err
	}
	if sum != want {
		return fmt.Errorf("%s: %w: %d bytes with SHA-256 %s, want %d with %s", path, errBase, sum.Size, sum.SHA256, want.Size, want.SHA256)
	}
	return f.Commit()
}
