package finetune

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// checkShards refuses a number of shards that a model cannot be divided into.
func (o *Options) checkShards(config llama.Config, quantized string) error {
	if err := salamandra.CheckShards(config, max(1, o.Shards), quantized); err != nil {
		return fmt.Errorf("%s %d: %w", o.name("Shards"), o.Shards, err)
	}
	return nil
}

// sharded reports whether the base is divided among devices.
func (o *TrainOptions) sharded() bool { return o.Shards > 1 }

// openDevices opens the devices that the batches of a step are dealt to or, with
// shards, that the base is divided among.
func (o *TrainOptions) openDevices() (*device.Device, error) {
	devices := o.Devices
	if o.sharded() && (devices == "" || devices == "auto") {
		devices = strconv.Itoa(o.Shards)
	}
	d, err := device.OpenSeveral(o.Backend, devices)
	if err != nil && o.sharded() {
		err = fmt.Errorf("%s %d: %w", o.name("Shards"), o.Shards, err)
	}
	if err != nil {
		return nil, err
	}
	if o.sharded() && d.Devices != o.Shards {
		n := d.Devices
		d.Close()
		return nil, fmt.Errorf("%s %d and %s %s, which are %d: all devices of a run have a part of the base each; run several such groups as processes (mpirun)",
			o.name("Shards"), o.Shards, o.name("Devices"), o.Devices, n)
	}
	return d, nil
}

// adviseShards says into how many shards a base has to be divided to fit, if memory
// is what fails and it is not divided already.
func (o *TrainOptions) adviseShards(err error, job train.Job, limit int64, modes []bool) error {
	if !errors.Is(err, train.ErrMemory) || job.OnHost || o.sharded() {
		return err
	}
	for n := 2; n <= job.Model.NumKeyValueHeads; n++ {
		if salamandra.CheckShards(job.Model, n, job.Quantize) != nil {
			continue
		}
		job.Shards, job.Devices = n, 1
		if p, fault := train.ChooseMemory(job, limit, modes...); fault == nil {
			return fmt.Errorf("%w; %s %d, the base divided among as many devices, would be %.2f GB on each", err, o.name("Shards"), n, float64(p.Total())/1e9)
		}
	}
	return err
}
