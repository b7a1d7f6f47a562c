package hub

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/wrongfile"
)

// Options says which version of a model is meant and who hears of a download. The
// zero value is the main branch, in silence.
type Options struct {
	// Revision is a branch, a tag or a commit hash; empty means "main".
	Revision string
	// Progress, if not nil, is called during a download, from one goroutine, with
	// the bytes done of all files: when a file begins and ends, and at most ten
	// times a second between. What was there before counts as done. The phase
	// names the model.
	Progress func(phase string, done, total int64)
}

// Forms of names. A revision may have slashes, as in refs/pr/1.
var (
	idForm       = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$`)
	revisionForm = regexp.MustCompile(`^[\w][\w.+-]*(/[\w][\w.+-]*)*$`)
	commitForm   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

func (o Options) revision() string {
	if o.Revision == "" {
		return "main"
	}
	return o.Revision
}

// Resolve returns the directory of a model: name itself if it is a directory,
// whatever the revision, else the snapshot in the cache of the hub model called
// name at the revision. The error wraps [ErrNotFound] and says what would help,
// also where files of the snapshot are missing.
func Resolve(name string, o Options) (string, error) {
	info, err := os.Stat(name)
	if err == nil && info.IsDir() {
		return name, nil
	}
	if err == nil {
		return "", wrongfile.ExplainModel(name, ErrNotFound)
	}
	fail := func(help, format string, args ...any) (string, error) {
		err := fmt.Errorf("%w: "+format, append([]any{ErrNotFound}, args...)...)
		return "", &failure{ID: name, Err: err, Help: help}
	}
	if !IsID(name) {
		return fail("", "%s is not a directory", name)
	}
	if !validRevision(o.revision()) {
		return fail("", "%q is not the name of a revision", o.Revision)
	}
	cache, err := CacheDir()
	if err != nil {
		return fail("set HF_HUB_CACHE", "%s is not a directory, and there is no cache: %w", name, err)
	}
	command := "hf download " + name
	if o.Revision != "" {
		command += " --revision " + o.Revision
	}
	repo := filepath.Join(cache, repoFolder(name))
	commit := o.revision()
	ref, err := os.ReadFile(filepath.Join(repo, "refs", filepath.FromSlash(commit)))
	if err == nil {
		commit = strings.TrimSpace(string(ref))
	}
	dir := filepath.Join(repo, "snapshots", commit)
	if _, absent := os.Stat(dir); err != nil && absent != nil {
		return fail("fetch it with: "+command, "neither a directory nor, as %s, in the cache %s", commit, cache)
	}
	if missing := missingFiles(dir); missing != nil {
		return fail("fetch it again with: "+command, "the cached copy %s lacks %s, it is incomplete", dir, strings.Join(missing, ", "))
	}
	return dir, nil
}

// missingFiles names what a snapshot lacks: config.json, and the shards that an
// index of the weights lists.
func missingFiles(dir string) []string {
	want := map[string]bool{"config.json": true}
	if data, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json")); err == nil {
		var index struct {
			WeightMap map[string]string `json:"weight_map"`
		}
		if json.Unmarshal(data, &index) == nil { // whoever loads the model says what is wrong with it
			for _, shard := range index.WeightMap {
				want[shard] = true
			}
		}
	}
	var missing []string
	for name := range want {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

// IsID reports whether id has the form of a hub model's id: a name, or owner/name,
// of letters, digits, '_', '-' and '.', of which '-' and '.' do not stand twice
// in a row.
func IsID(id string) bool {
	return idForm.MatchString(id) && !strings.Contains(id, "..") && !strings.Contains(id, "--")
}

func validRevision(r string) bool {
	return revisionForm.MatchString(r) && !strings.Contains(r, "..")
}
