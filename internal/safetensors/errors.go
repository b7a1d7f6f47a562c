package safetensors

import (
	"errors"
	"strconv"

	"github.com/impulse-salamandra/finetune/internal/faults"
)

// ErrReadBack reports a file that does not read back as it was written.
var ErrReadBack = errors.New("written file reads back differently")

// Ways in which a file can be wrong, found when opening it.
var (
	errTruncated  = errors.New("file is truncated")
	errHeaderSize = errors.New("header size out of bounds")
	errHeader     = errors.New("malformed header")
	errDuplicate  = errors.New("duplicate name")
	errDtype      = errors.New("unknown dtype")
	errShape      = errors.New("bad shape")
	errOverflow   = errors.New("size overflows")
	errOffsets    = errors.New("bad data_offsets")
	errSize       = errors.New("data has the wrong size for dtype and shape")
	errHole       = errors.New("bytes that belong to no tensor")
	errOverlap    = errors.New("bytes that belong to two tensors")
	errMetadata   = errors.New("metadata is not text")
)

// again is the way out of a file that is not whole.
const again = "download or copy it again"

// Ways in which the index of a sharded model can disagree with its files.
var (
	errIndex    = errors.New("malformed index")
	errMissing  = errors.New("tensor is missing")
	errLeftOver = errors.New("tensor is not in the index")
)

// Misuse, found when reading or writing tensors.
var (
	errNotFound   = errors.New("no such tensor")
	errClosed     = errors.New("file is closed")
	errOrder      = errors.New("tensor written out of order")
	errIncomplete = errors.New("tensor is not written")
)

// fault returns an error of a tensor of the file at path, or of the file itself
// where tensor is empty.
func fault(path, tensor string, err error) error {
	list := faults.List{Subject: path}
	list.Add(shown(tensor), err)
	return list.Err()
}

// shown returns the name of a tensor, in quotes if that helps to read it.
func shown(tensor string) string {
	if quoted := strconv.Quote(tensor); len(quoted) > len(tensor)+len(`""`) {
		return quoted
	}
	return tensor
}
