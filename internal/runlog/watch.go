package runlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/impulse-salamandra/finetune/internal/page"
)

// Watch returns a handler that serves the page about the run in dir as it is now,
// which keeps itself up to date in the browser. The directory may be a copy of
// another machine's, and may come to be later. Only requests to the loopback are
// answered.
func Watch(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !loopback(r.Host):
			http.Error(w, "this page is served to this machine only", http.StatusForbidden)
			return
		case r.URL.Path != "/":
			http.NotFound(w, r)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "want GET", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		tag := stateTag(dir)
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		var b bytes.Buffer
		if err := writeLive(&b, dir, time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(b.Bytes()) // whoever asked may have gone
	})
}

// loopback reports whether a request was made to this machine by its own name:
// other names, which a page elsewhere may have given it, are refused.
func loopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// stateTag changes when one of the files does that the page is made from.
func stateTag(dir string) string {
	tag := ""
	for _, name := range []string{overviewFile, metricsFile, samplesFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			tag += fmt.Sprintf("-%x-%x", info.Size(), info.ModTime().UnixNano())
		}
	}
	return `"run` + tag + `"`
}

// writeLive writes the page about the run in dir.
func writeLive(b *bytes.Buffer, dir string, now time.Time) error {
	c, err := readCourse(dir)
	if err != nil {
		return err
	}
	r := c.report(now)
	r.Head, r.Live = page.NewLiveHead("Training: "+c.Title), true
	if len(c.steps) == 0 && c.TotalSteps == 0 {
		r.Running, r.State = true, "no run yet in "+page.Printable(dir)
	} else if n := len(c.steps); n > 0 {
		r.Written = clock(c.steps[n-1].Time).Format("2006-01-02 15:04:05 MST")
	}
	return writeReport(b, r)
}

// readCourse reads what the files of a run hold, as far as they are there. The last
// line of one may be on its way still.
func readCourse(dir string) (course, error) {
	c := course{overview: overview{Title: dir}}
	text, err := readIfThere(filepath.Join(dir, overviewFile))
	if err == nil && text != nil {
		if err = json.Unmarshal(text, &c.overview); err != nil {
			err = fmt.Errorf("%s: %w", filepath.Join(dir, overviewFile), err)
		}
	}
	if err != nil {
		return c, err
	}
	c.Histograms = printableBars(c.Histograms)
	path := filepath.Join(dir, metricsFile)
	if text, err = readIfThere(path); err != nil {
		return c, err
	}
	var m metrics
	if err := m.read(bytes.NewReader(wholeLines(text)), path); err != nil {
		return c, err
	}
	c.steps, c.evaluations = m.steps, m.evaluations
	path = filepath.Join(dir, samplesFile)
	if text, err = readIfThere(path); err != nil {
		return c, err
	}
	c.samples, err = parseSamples(wholeLines(text), path)
	return c, err
}

// printableBars makes charts of bars, which a file may have brought from elsewhere,
// fit to be drawn.
func printableBars(charts []page.Chart) []page.Chart {
	for i, c := range charts {
		charts[i] = page.Chart{Title: page.Printable(c.Title), Last: page.Printable(c.Last), X: page.Printable(c.X)}
		for _, b := range c.Bars {
			b.Text = page.Printable(b.Text)
			charts[i].Bars = append(charts[i].Bars, b)
		}
	}
	return charts
}

// readIfThere reads a file, nil if it is not there.
func readIfThere(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// wholeLines leaves out what comes after the last line feed.
func wholeLines(text []byte) []byte { return text[:bytes.LastIndexByte(text, '\n')+1] }
