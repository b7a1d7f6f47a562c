package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
)

// A Stage is a directory that is filled under a temporary name, OUTPUT.tmp- and
// eight hexadecimal digits, and gets its own when it is complete. The process
// holds a lock on it, so that another can tell a directory in use from one that
// a killed process left. The caller ends with Publish, and defers Close, which
// then does nothing.
type Stage struct {
	// Dir is the temporary name, the place to put files.
	Dir string
	// Warnings name temporary directories of this output that may be left over.
	Warnings []string

	output string
	lock   *os.File // nil where directories cannot be locked
}

var (
	// ErrBusy reports a directory that another process works in.
	ErrBusy = errors.New("another process works there")
	// ErrDiskSpace reports an output that does not fit on its disk.
	ErrDiskSpace = errors.New("not enough disk space")
	// ErrOutput reports an output directory that cannot be made there.
	ErrOutput = errors.New("output directory refused")
)

// Lock keeps a directory, which must be there, for this caller until release
// is called or the process ends. It fails with [ErrBusy] if another has it.
// Where directories cannot be locked, as on some network file systems, it does
// nothing.
func Lock(dir string) (release func(), err error) {
	if release, err = held(lockDir(dir)); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return release, nil
}

// held returns what gives a lock back.
func held(lock *os.File, err error) (release func(), _ error) {
	if errors.Is(err, errors.ErrUnsupported) {
		return func() {}, nil
	}
	return func() { lock.Close() }, err
}

// LockFile is Lock for the file at path, which it makes and leaves there: a lock
// that other programs take too.
func LockFile(path string) (release func(), err error) {
	return held(lockFile(path))
}

// NewStage begins the directory output, which will hold about size bytes:
// removes what killed processes left of it, checks that there is room
// ([ErrDiskSpace]), and makes a temporary directory beside it.
func NewStage(output string, size int64) (*Stage, error) {
	output, err := filepath.Abs(output)
	if err != nil {
		return nil, err
	}
	parent := filepath.Dir(output)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return nil, err
	}
	s := &Stage{output: output}
	if err := s.removeStale(); err != nil {
		return nil, err
	}
	if err := CheckSpace(parent, size); err != nil {
		return nil, err
	}
	for {
		s.Dir = fmt.Sprintf("%s.tmp-%08x", output, rand.Uint32())
		if err := os.Mkdir(s.Dir, 0o777); err != nil {
			return nil, err
		}
		if s.lock, err = lockDir(s.Dir); err == nil || errors.Is(err, errors.ErrUnsupported) {
			return s, nil
		}
		// Another process took the directory, still unlocked, for a stale one.
		if !errors.Is(err, ErrBusy) && !errors.Is(err, fs.ErrNotExist) {
			os.Remove(s.Dir)
			return nil, err
		}
	}
}

// CheckSpace fails with [ErrDiskSpace] if the disk of a directory has less than
// need bytes free.
func CheckSpace(dir string, need int64) error {
	free, err := freeSpace(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err == nil && free < uint64(need) {
		err = fmt.Errorf("%w: %d MB free, want %d MB", ErrDiskSpace, free>>20, need>>20)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return nil
}

// removeStale removes the temporary directories of processes that ended before
// they could, and warns of those for which that is not known.
func (s *Stage) removeStale() error {
	ours := regexp.MustCompile(`^` + regexp.QuoteMeta(filepath.Base(s.output)) + `\.tmp-[0-9a-f]{8}$`)
	entries, err := os.ReadDir(filepath.Dir(s.output))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() || !ours.MatchString(entry.Name()) {
			continue
		}
		dir := filepath.Join(filepath.Dir(s.output), entry.Name())
		lock, err := lockDir(dir)
		switch {
		case errors.Is(err, ErrBusy) || errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			s.Warnings = append(s.Warnings, fmt.Sprintf("%s may be left over; remove it if nothing is being merged there", dir))
			continue
		}
		err = os.RemoveAll(dir)
		lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Publish gives the finished directory its name. It fails with [ErrOutput] if
// there is a directory of that name that is not empty.
func (s *Stage) Publish() error {
	if err := os.Remove(s.output); err != nil && !errors.Is(err, fs.ErrNotExist) { // only if it is empty
		return fmt.Errorf("%s: %w: %w", s.output, ErrOutput, err)
	}
	return Rename(s.Dir, s.output)
}

// Keep gives the directory a name under which it stays though it is not the
// output, OUTPUT.rejected- and eight digits.
func (s *Stage) Keep() (dir string, err error) {
	kept := fmt.Sprintf("%s.rejected-%08x", s.output, rand.Uint32())
	return kept, Rename(s.Dir, kept)
}

// Close removes the temporary directory if it still has that name.
func (s *Stage) Close() {
	os.RemoveAll(s.Dir)
	if s.lock != nil {
		s.lock.Close()
	}
}
