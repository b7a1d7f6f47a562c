package lora

import (
	"encoding/hex"
	"path/filepath"
	"sync"

	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// weightFiles are the weights of an output, written file by file. Each is
// synced and read back in the background.
type weightFiles struct {
	dir    string
	shards []safetensors.Shard
	files  []*weightFile // begun
	group  sync.WaitGroup
	turn   sync.Mutex // one file is finished at a time
}

// A weightFile is one of them.
type weightFile struct {
	*safetensors.Writer
	left int        // tensors to come
	err  chan error // gets one when the file is finished
}

// write appends a block to the file in progress.
func (o *weightFiles) write(b *block) error {
	if n := len(o.files); n == 0 || o.files[n-1].left == 0 {
		shard := o.shards[n]
		w, err := safetensors.Create(filepath.Join(o.dir, shard.Name), shard.Tensors, map[string]string{"format": "pt"})
		if err != nil {
			return err
		}
		o.files = append(o.files, &weightFile{w, len(shard.Tensors), make(chan error, 1)})
	}
	f := o.files[len(o.files)-1]
	if err := f.Write(b.to.Name, b.data); err != nil {
		return err
	}
	if b.last {
		f.left--
	}
	if f.left == 0 {
		o.group.Go(func() { f.err <- o.finish(f) })
	}
	return nil
}

// finish syncs a file, reads it back and gives it its name.
func (o *weightFiles) finish(f *weightFile) error {
	o.turn.Lock()
	defer o.turn.Unlock()
	return f.Commit()
}

// size returns the bytes written, headers included.
func (o *weightFiles) size() int64 {
	var total int64
	for _, f := range o.files {
		total += f.Size()
	}
	return total
}

// wait returns the sum of file i when it is finished.
func (o *weightFiles) wait(i int) (FileSum, error) {
	f := o.files[i]
	sum := f.SHA256()
	return FileSum{o.shards[i].Name, f.Size(), hex.EncodeToString(sum[:])}, <-f.err
}

// close ends what is in progress and removes unfinished files.
func (o *weightFiles) close() {
	o.group.Wait()
	for _, f := range o.files {
		f.Abort()
	}
}
