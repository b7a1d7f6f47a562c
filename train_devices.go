package finetune

import (
	"context"
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra/device"
)

// useDevices leaves out devices that nobody asked for and that no step has a batch
// for, and warns of those that were.
func (o *TrainOptions) useDevices(d *device.Device) {
	k, processes := o.Train.GradientAccumulationSteps, o.processes()
	share := (k + processes - 1) / processes
	if d.Devices <= share {
		return
	}
	has := fmt.Sprintf("a step has %s (%s)", counted(k, "batch", "batches"), o.name("Train.GradientAccumulationSteps"))
	if o.Devices == "" || o.Devices == "auto" {
		d.Notes = append(d.Notes, fmt.Sprintf("%d of %d devices: %s", share, d.Devices, has))
		d.Devices = share
		return
	}
	o.warn(fmt.Sprintf("%s %s: %s, so %d of %d devices have nothing to do but evaluations", o.name("Devices"), o.Devices, has, d.Devices-share, d.Devices))
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// replicate brings the model to the other devices.
func (r *run) replicate(ctx context.Context) error {
	opts, n := r.o.open(), int64(r.plan.Devices)
	for d := int64(1); d < n; d++ {
		opts.progress("copying the model to other devices", d-1, n-1)
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := r.model.Replica(int(d))
		if err != nil {
			return err
		}
		r.replicas = append(r.replicas, m)
		opts.progress("copying the model to other devices", d, n-1)
	}
	return nil
}

// describeDevices says what several devices gain, "" for one.
func (p *TrainPlan) describeDevices() string {
	var b strings.Builder
	if p.Shards > 1 {
		exchanged := float64(p.Memory.Exchanged) / 1e9
		fmt.Fprintf(&b, "base: divided among %d devices, which compute every batch together; each sends the others some %.2g GB for the largest, %.2g s at 16 GB/s\n",
			p.Shards, exchanged, exchanged/16)
	}
	n := p.Devices * p.Processes
	if n < 2 {
		return b.String()
	}
	fmt.Fprintf(&b, "devices: %d take the batches of a step in turn", n)
	if p.Processes > 1 {
		fmt.Fprintf(&b, ", %d in each of %d processes", p.Devices, p.Processes)
	}
	if gain := devicesGain(p.Train, n); len(p.Train.Prefix) > 0 {
		fmt.Fprintf(&b, "; each computes the shared prefix of %d tokens for itself, so that they do %.2f times the work of one with batches of %d (%.0f %%)\n"+
			"  what pays first is larger batches as long as they fit, then accumulation, then devices",
			len(p.Train.Prefix), gain, n*p.Train.Options().BatchSize, 100*gain/float64(n))
	}
	b.WriteByte('\n')
	return b.String()
}

// devicesGain is how much faster n devices with a plan's batches are than one
// device with batches n times as large, by the tokens that each computes.
func devicesGain(p *dataset.Plan, n int) float64 {
	prefix, each, all := float64(len(p.Prefix)), 0.0, 0.0
	for _, s := range p.Shapes {
		suffixes := float64(s.B * s.S)
		each += float64(s.Batches) * (prefix + suffixes)
		all += float64(s.Batches) * (prefix + float64(n)*suffixes)
	}
	return all / each
}
