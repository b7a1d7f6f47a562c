package hub

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
)

// wanted are the files from which a model is loaded, as patterns of [path.Match];
// a star does not reach into folders.
var wanted = []string{
	"config.json", "generation_config.json",
	"*.safetensors", "*.safetensors.index.json",
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template*",
	"LICENSE*",
}

// maxList bounds the hub's list of a model's files, in bytes.
const maxList = 16 << 20

// Download fetches the hub model called id, "owner/name", into the cache and
// returns its directory there. What the cache has is not fetched again, and what
// an earlier call began is continued.
//
// The directory has config.json, generation_config.json, *.safetensors and
// their index, tokenizer.json, tokenizer_config.json, special_tokens_map.json,
// chat_template* and LICENSE*, as far as the model has them; it must have the
// first and some weights.
//
// The error names the model, the file and what would help; it wraps [ErrNotFound]
// where the hub has no such model, and what the context or the file system says.
// After an error no file is incomplete under its final name, and another call
// continues.
func Download(ctx context.Context, id string, opts Options) (dir string, err error) {
	client, err := newClient()
	if err != nil {
		return "", &failure{ID: id, Err: err}
	}
	return download(ctx, client, repo{id: id, symlink: os.Symlink}, opts)
}

func download(ctx context.Context, c *client, r repo, opts Options) (dir string, err error) {
	refuse := func(cause error, help, format string, args ...any) (string, error) {
		return "", &failure{ID: r.id, Err: fmt.Errorf("%w: "+format, append([]any{cause}, args...)...), Help: help}
	}
	if name, on := offline(); on {
		return refuse(errOffline, "unset it, or fetch the model elsewhere and copy the cache", "%s is set", name)
	}
	if !IsID(r.id) {
		return refuse(errRefused, "want owner/name", "%q is not the name of a model", r.id)
	}
	if !validRevision(opts.revision()) {
		return refuse(errRefused, "want a branch, a tag or a commit", "%q is not the name of a revision", opts.revision())
	}
	if r.cache, err = CacheDir(); err != nil {
		return "", &failure{ID: r.id, Err: err, Help: "set HF_HUB_CACHE"}
	}
	commit, files, err := list(ctx, c, r.id, opts.revision())
	if err != nil {
		return "", c.explain(r.id, "", err)
	}
	d := downloader{client: c, repo: r, commit: commit, progress: opts.Progress}
	for _, f := range files {
		d.size += f.size
	}
	for _, f := range files {
		if err := d.file(ctx, f); err != nil {
			return "", c.explain(r.id, f.name, err)
		}
	}
	if err := r.setRef(opts.revision(), commit); err != nil {
		return "", &failure{ID: r.id, Err: err}
	}
	return r.snapshot(commit), nil
}

// offline names the variable that forbids requests, if one does.
func offline() (name string, on bool) {
	for _, name := range []string{"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		switch strings.ToUpper(os.Getenv(name)) {
		case "1", "ON", "YES", "TRUE":
			return name, true
		}
	}
	return "", false
}

// file is one file of the hub's list. Its hash is the name of its blob: the
// SHA-256 of a large file, else the id that git gives it, a SHA-1.
type file struct {
	name, hash string
	size       int64
}

// list asks which commit a revision is and which of its files are wanted.
func list(ctx context.Context, c *client, id, revision string) (commit string, files []file, err error) {
	data, err := c.getAll(ctx, "/api/models/"+id+"/revision/"+url.PathEscape(revision)+"?blobs=true", maxList)
	if err != nil {
		return "", nil, err
	}
	var info struct {
		SHA      string
		Siblings []struct {
			Name   string `json:"rfilename"`
			Size   int64
			BlobID string
			LFS    *struct {
				Size   int64
				SHA256 string
			}
		}
	}
	if err := json.Unmarshal(data, &info); err != nil {
		return "", nil, fmt.Errorf("%w: the list of files is not in the hub's form: %w", errUnavailable, err)
	}
	if !commitForm.MatchString(info.SHA) {
		return "", nil, fmt.Errorf("%w: the list names the commit %q", errRefused, info.SHA)
	}
	for _, s := range info.Siblings {
		if !safeName(s.Name) {
			return "", nil, fmt.Errorf("%w: the list names the file %q, which leads elsewhere", errRefused, s.Name)
		}
		if !slices.ContainsFunc(wanted, func(p string) bool { ok, _ := path.Match(p, s.Name); return ok }) {
			continue
		}
		f, form := file{s.Name, s.BlobID, s.Size}, commitForm
		if s.LFS != nil {
			f, form = file{s.Name, s.LFS.SHA256, s.LFS.Size}, sha256Form
		}
		if !form.MatchString(f.hash) || f.size < 0 {
			return "", nil, fmt.Errorf("%w: the list gives the file %s the hash %q and the size %d", errRefused, f.name, f.hash, f.size)
		}
		files = append(files, f)
	}
	has := func(pattern string) bool {
		return slices.ContainsFunc(files, func(f file) bool { ok, _ := path.Match(pattern, f.name); return ok })
	}
	if !has("config.json") || !has("*.safetensors") {
		return "", nil, fmt.Errorf("%w: the repository has no config.json with *.safetensors", ErrNotFound)
	}
	return info.SHA, files, nil
}

var sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)

// safeName refuses what would lead out of a directory on any system.
func safeName(name string) bool {
	return filepath.IsLocal(name) && !strings.ContainsAny(name, "\\:\x00") &&
		!slices.Contains(strings.Split(name, "/"), "..")
}

// downloader is the state of one download.
type downloader struct {
	client   *client
	repo     repo
	commit   string
	progress func(phase string, done, total int64)
	size     int64 // of all files
	done     int64 // of all files
	fileDone int64 // of the one under way
	told     time.Time
}

// tell reports that n more bytes of a file are there.
func (d *downloader) tell(n int64, always bool) {
	d.fileDone += n
	d.done += n
	if d.progress == nil || !always && time.Since(d.told) < 100*time.Millisecond {
		return
	}
	d.told = time.Now()
	d.progress("downloading "+d.repo.id, d.done, d.size)
}

// file makes the snapshot's file, fetching the blob if it is not there.
func (d *downloader) file(ctx context.Context, f file) error {
	for _, name := range []string{d.repo.blob(f.hash), d.repo.lock(f.hash), filepath.Join(d.repo.snapshot(d.commit), f.name)} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
	}
	d.fileDone = 0
	d.tell(0, true)
	if !d.repo.has(f) {
		if err := d.fetchLocked(ctx, f); err != nil {
			return err
		}
	}
	if err := d.repo.link(d.commit, f); err != nil {
		return err
	}
	d.tell(f.size-d.fileDone, true)
	return nil
}

// fetchLocked fetches a blob while no other process fetches it.
func (d *downloader) fetchLocked(ctx context.Context, f file) error {
	release, err := atomicfile.LockFile(d.repo.lock(f.hash)) // as the Python tools do
	for ; errors.Is(err, atomicfile.ErrBusy); release, err = atomicfile.LockFile(d.repo.lock(f.hash)) {
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer release()
	if d.repo.has(f) { // another process was faster
		return nil
	}
	resumed, err := d.fetch(ctx, f)
	if errors.Is(err, errCorrupt) && resumed {
		_, err = d.fetch(ctx, f) // what an earlier run left was bad, and is gone
	}
	return err
}

// fetch continues or begins the blob's incomplete file, checks it and gives it
// its name. resumed reports whether it was continued. A corrupt one is removed.
func (d *downloader) fetch(ctx context.Context, f file) (resumed bool, err error) {
	p, err := openPart(d.repo.blob(f.hash)+".incomplete", f)
	if err != nil {
		return false, err
	}
	defer p.Close()
	resumed = p.at > 0
	d.done -= d.fileDone
	d.fileDone = 0
	d.tell(p.at, false)
	before := p.at
	p.grown = func() { // also shrinks, when the server starts over
		n := p.at - before
		before = p.at
		d.tell(n, false)
	}
	address := "/" + d.repo.id + "/resolve/" + d.commit + "/" + url.PathEscape(f.name)
	err = d.client.getPart(ctx, address, p)
	if err == nil && hex.EncodeToString(p.sum.Sum(nil)) != f.hash {
		err = fmt.Errorf("%w: the hash is %x, the hub lists %s", errCorrupt, p.sum.Sum(nil), f.hash)
	}
	if errors.Is(err, errCorrupt) {
		return resumed, errors.Join(err, p.Close(), os.Remove(p.Name()))
	}
	if err == nil {
		err = errors.Join(p.Sync(), p.Close())
	}
	if err != nil {
		return resumed, err
	}
	return resumed, atomicfile.Rename(p.Name(), d.repo.blob(f.hash))
}
