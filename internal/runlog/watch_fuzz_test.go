package runlog

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzWatch: whatever the files of a copied directory hold, there is a page without
// their markup or an error.
func FuzzWatch(f *testing.F) {
	f.Add(`{"title":"<script>alert(1)</script>","histograms":[{"Title":"a","Bars":[{"From":0,"To":0,"Count":-1,"Text":"<b>"}],"Curves":[{"Y":[1]}]}],"total_steps":3,"best_step":1,"settings":{"a":[1]}}`,
		"{\"step\":1,\"loss\":0.5,\"tokens_per_second\":2}\n{\"step\":1,\"eval_loss\":0.25,\"eval_score\":1e308,\"metric\":\"<i>\"}\n", `{"id":"<u>","answer":"\ufffd{"}`+"\n")
	f.Add(`{}`, "{\"step\":2}\n{\"step\":1,\"loss\":-1e308}\n{\"step\":9007199254740993,\"loss\":1e308}\n", "{}\n")
	f.Add(``, ``, ``)
	f.Fuzz(func(t *testing.T, about, metrics, samples string) {
		dir := t.TempDir()
		for name, text := range map[string]string{overviewFile: about, metricsFile: metrics, samplesFile: samples} {
			check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		}
		var b bytes.Buffer
		if err := writeLive(&b, dir, time.Now()); err != nil {
			return
		}
		if page := b.String(); strings.Count(page, "<script>") != 1 || strings.Contains(page, "<i>") || strings.Contains(page, "<u>") {
			t.Errorf("markup of strangers in the page")
		}
	})
}
