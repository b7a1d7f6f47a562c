package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a long piece of work is: a bar on a terminal, else a
// line now and then.
type progress struct {
	out   io.Writer
	title string
	bar   *progressbar.ProgressBar // made by the first set; nil without a terminal
	shown time.Time
}

// linePeriod is how often a line is written where there is no bar.
const linePeriod = 5 * time.Second

func newProgress(out io.Writer, title string) *progress {
	return &progress{out: out, title: title, shown: time.Now()}
}

// set shows that done of total is finished, and detail beside it.
func (p *progress) set(done, total int64, detail string) {
	if p.bar == nil && isTerminal(p.out) {
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(p.title), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish())
	}
	if p.bar != nil {
		p.bar.Describe(p.title + " " + detail)
		_ = p.bar.Set64(done) // a failing terminal must not stop the work
		return
	}
	if time.Since(p.shown) >= linePeriod {
		p.shown = time.Now()
		fmt.Fprintf(p.out, "%s %d/%d %s\n", p.title, done, total, detail)
	}
}

// done takes the bar away.
func (p *progress) done() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
