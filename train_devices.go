package finetune

import (
	"context"
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra"
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

// openDevices opens the devices that a model is opened on.
func (o *Options) openDevices() (*device.Device, error) {
	if o.Devices == "" || o.Shards > 1 {
		return device.Open(o.Backend)
	}
	return device.OpenSeveral(o.Backend, o.Devices)
}

// replicate copies a model to the devices of its backend, n with its own. Those that
// it has made by an error are returned too.
func replicate(ctx context.Context, m *salamandra.Model, n int, progress func(string, int64, int64)) (replicas []*salamandra.Model, err error) {
	for d := 1; d < n; d++ {
		progress("copying the model to other devices", int64(d-1), int64(n-1))
		if err := ctx.Err(); err != nil {
			return replicas, err
		}
		r, err := m.Replica(d)
		if err != nil {
			return replicas, err
		}
		replicas = append(replicas, r)
		progress("copying the model to other devices", int64(d), int64(n-1))
	}
	return replicas, nil
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
