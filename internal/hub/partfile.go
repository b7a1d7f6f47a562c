package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
)

// part is a file that is growing to its size, with the hash of what is there.
type part struct {
	*os.File
	want  file
	at    int64
	sum   hash.Hash
	grown func() // called after each change of at; may be nil
}

// openPart opens what an earlier run left, or an empty file.
func openPart(path string, want file) (*part, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &part{File: f, want: want}
	if err := p.reset(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if p.at, err = io.Copy(p.sum, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if p.at > want.size {
		err = p.restart()
	}
	return p, err
}

// reset forgets what is there without removing it.
func (p *part) reset() error {
	p.at = 0
	if len(p.want.hash) == 2*sha256.Size {
		p.sum = sha256.New()
	} else {
		p.sum = sha1.New() // the id of a file in git
		fmt.Fprintf(p.sum, "blob %d\x00", p.want.size)
	}
	_, err := p.Seek(0, io.SeekStart)
	return err
}

// restart empties the file.
func (p *part) restart() error {
	if err := p.reset(); err != nil {
		return err
	}
	p.note()
	return p.Truncate(0)
}

func (p *part) note() {
	if p.grown != nil {
		p.grown()
	}
}

// Write appends; it fails with [errCorrupt] past the size.
func (p *part) Write(b []byte) (int, error) {
	if int64(len(b)) > p.want.size-p.at {
		return 0, fmt.Errorf("%w: the file is longer than the %d bytes the hub lists", errCorrupt, p.want.size)
	}
	n, err := p.File.Write(b)
	p.sum.Write(b[:n])
	p.at += int64(n)
	p.note()
	return n, err
}

// ReadFrom hides that of os.File, which would not count.
func (p *part) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{p}, r)
}
