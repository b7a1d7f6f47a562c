package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

// reportFile is the page about a run.
const reportFile = "report.html"

// reporter keeps a page about a run up to date, with answers of the adapter as
// it learns. It never stops the run: what it cannot do it says, and leaves.
type reporter struct {
	r       *trainRun
	screen  *screen
	answers *sampler // nil if none are wanted
	samples []sample // of this run, those before a resumed checkpoint included
	ended   bool
	said    string // the last complaint
}

// newReporter makes the reporter of a run that has begun. With a scorer answers
// are asked of its generator.
func newReporter(ctx context.Context, r *trainRun, s *scorer, screen *screen) *reporter {
	p := &reporter{r: r, screen: screen, answers: newSampler(ctx, r, s)}
	var err error
	if p.samples, err = readSamples(filepath.Join(r.o.OutputDir, samplesFile), r.trainer.Step()); err != nil {
		p.complain(err)
	}
	return p
}

func (p *reporter) hooks() train.Hooks {
	return train.Hooks{
		Checkpoint: func(train.Checkpoint) error {
			p.complain(p.write())
			return nil
		},
		Epoch: func(e train.Epoch) error {
			if p.answers != nil {
				if err := p.sample(e); p.answers.ctx.Err() == nil { // else the run is being stopped
					p.complain(err)
				}
			}
			p.complain(p.write())
			return nil
		},
	}
}

// sample asks for answers and keeps them beside those there are.
func (p *reporter) sample(e train.Epoch) error {
	samples, err := p.answers.ask(e)
	if err != nil {
		return fmt.Errorf("examples of answers: %w", err)
	}
	p.samples = append(p.samples, samples...)
	return writeSamples(filepath.Join(p.r.o.OutputDir, samplesFile), p.samples)
}

// write renders the page.
func (p *reporter) write() error {
	var b bytes.Buffer
	if err := writeTrainPage(&b, p.page(time.Now())); err != nil {
		return err
	}
	return safetensors.WriteFile(filepath.Join(p.r.o.OutputDir, reportFile), b.Bytes())
}

// complain says what went wrong, once in a row.
func (p *reporter) complain(err error) {
	if err == nil || err.Error() == p.said {
		return
	}
	p.said = err.Error()
	p.screen.clear()
	fmt.Fprintf(p.r.out, "warning: %s: %v; the training goes on\n", reportFile, err)
}

// close writes the page as the run ended.
func (p *reporter) close() {
	p.ended = true
	err := p.write()
	p.complain(err)
	if err == nil {
		fmt.Fprintf(p.r.out, "curves and answers: %s\n", filepath.Join(p.r.o.OutputDir, reportFile))
	}
	if p.answers != nil {
		p.answers.close()
	}
}
