package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gomlx/compute/dtypes"
	"github.com/spf13/pflag"

	"github.com/impulse-salamandra/finetune"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/lora"
	"github.com/impulse-salamandra/finetune/lora/train"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// Shares of a card's speed that a run gets, which differ from run to run.
const (
	// reached is what products of matrices get of the speed that a data sheet names,
	// readShare of the bandwidth.
	reached, readShare = 0.4, 0.8
)

// forecastFlags ask what a run would be on a card that is not here.
type forecastFlags struct {
	GPU, DeviceMemory string
	shards            int // cards like it that the base is divided among; 0 is 1
}

func (o *forecastFlags) add(f *pflag.FlagSet) {
	f.StringVar(&o.GPU, "gpu", "", "show memory and time on this card, with the settings that fit: rtx3090, t4, v100, a100-40, l4, a10, h100 and others; train needs --dry-run")
	f.StringVar(&o.DeviceMemory, "device-memory", "", "show what fits on a card with this memory, such as 24GB; train needs --dry-run")
}

// asked reports whether there is a card to look at.
func (o *forecastFlags) asked() bool { return o.GPU != "" || o.DeviceMemory != "" }

// card is the card that the flags name; without --gpu its speed is 0.
func (o *forecastFlags) card() (card gpuModel, name string, err error) {
	if o.GPU != "" {
		if card, err = findGPU(o.GPU); err != nil {
			return card, "", err
		}
		name = o.GPU
	} else {
		card.bfloat16 = true
	}
	if o.DeviceMemory == "" {
		return card, name, nil
	}
	digits := strings.TrimRight(strings.ToUpper(strings.TrimSpace(o.DeviceMemory)), " GIB")
	if card.gib, err = strconv.ParseFloat(digits, 64); err != nil || !(card.gib > 0 && card.gib < 1e6) {
		return card, "", fmt.Errorf("--device-memory %q, want gigabytes, such as 24GB", o.DeviceMemory)
	}
	return card, fmt.Sprintf("%s with %g GiB", cmp.Or(name, "a card"), card.gib), nil
}

// setting is a way to train that a card may have room for.
type setting struct {
	batch         int
	checkpointing bool
}

// forecast is what a run would be on a card.
type forecast struct {
	o           *trainOptions
	card        gpuModel
	name        string
	config      llama.Config
	job         train.Job
	train, eval *dataset.Plan
	epochs      float64
}

// outlook is what a setting would take.
type outlook struct {
	setting
	memory  int64 // bytes
	fits    bool
	seconds float64 // of an epoch, 0 if the speed of the card is not known
}

// newForecast prepares a forecast of training the model in dir on plans.
func (o *trainOptions) newForecast(dir string, plan, eval *dataset.Plan) (*forecast, error) {
	card, name, err := o.forecast.card()
	if err != nil {
		return nil, err
	}
	f := &forecast{o: o, card: card, name: name, train: plan, eval: eval}
	if f.config, err = llama.ReadConfig(dir); err != nil {
		return nil, err
	}
	f.job = train.Job{Model: f.config, HeadChunk: o.Train.HeadChunk, Dtype: f.dtype()}
	if f.job.Quantize = f.config.Quantization; o.Quantize != "none" {
		f.job.Quantize = o.Quantize
	}
	if f.job.Shards = max(1, o.forecast.shards); f.job.Shards > 1 {
		if err := salamandra.CheckShards(f.config, f.job.Shards, f.job.Quantize); err != nil {
			return nil, fmt.Errorf("--shard %d: %w", f.job.Shards, err)
		}
		f.name = fmt.Sprintf("each of %d cards, %s", f.job.Shards, f.name)
	}
	if f.job.AdapterSize, err = lora.CountParameters(f.config, o.LoRA); err != nil {
		return nil, err
	}
	pass := o.Train
	pass.Epochs, pass.MaxSteps = 1, 0
	f.epochs = float64(o.Train.TotalSteps(plan)) / float64(pass.TotalSteps(plan))
	return f, nil
}

// dtype is what the card would compute in: what --dtype says, else the stored one,
// with float16 on a card without bfloat16.
func (f *forecast) dtype() dtypes.DType {
	switch f.o.Dtype {
	case "float32":
		return dtypes.Float32
	case "float16":
		return dtypes.Float16
	}
	switch {
	case f.o.Dtype == "auto" && f.config.TorchDtype == "float32":
		return dtypes.Float32
	case f.o.Dtype == "auto" && f.config.TorchDtype == "float16", !f.card.bfloat16:
		return dtypes.Float16
	}
	return dtypes.BFloat16
}

// outlooks are those of batches of 1 to 16, each with and without checkpointing.
func (f *forecast) outlooks() ([]outlook, error) {
	var list []outlook
	for _, batch := range []int{1, 2, 4, 8, 16} {
		plan, eval := f.train.WithBatchSize(batch)
		for _, checkpointing := range []bool{false, true} {
			job := f.job
			job.Plans = []*dataset.Plan{plan, eval}
			memory, err := train.ChooseMemory(job, 0, checkpointing)
			if err != nil {
				return nil, err
			}
			o := outlook{setting: setting{batch, checkpointing}, memory: memory.Total(), seconds: f.seconds(plan, eval, checkpointing)}
			o.fits = o.memory <= f.usable()
			list = append(list, o)
		}
	}
	return list, nil
}

// usable is how much of the card's memory a run gets, in bytes.
func (f *forecast) usable() int64 { return device.UsableMemory(int64(f.card.gib * (1 << 30))) }

// dequantised is which part of a base's linear layers a pass writes and reads in Dtype
// before products, as XLA's CUDA compiler has it for blocks of a 7B
// (docs/quantised.md): codes of 8 bits are converted within products where there is
// bfloat16.
func (f *forecast) dequantised() float64 {
	switch {
	case f.job.Quantize == "4bit":
		return 0.75
	case f.job.Quantize == "8bit" && f.job.Dtype == dtypes.Float16:
		return 0.5
	}
	return 0
}

// seconds estimates an epoch on the card: each batch takes its products or, if that
// is longer, the weights, as they are stored, as often as they are read; and what is
// dequantised.
func (f *forecast) seconds(plan, eval *dataset.Plan, checkpointing bool) float64 {
	if f.card.tflops == 0 {
		return 0
	}
	cards := float64(max(1, f.job.Shards)) // what they exchange is not counted
	speed, bandwidth := cards*f.card.tflops*1e12*reached, cards*f.card.bandwidth*1e9*readShare
	if f.job.Dtype == dtypes.Float32 {
		speed /= 2 // products in tf32
	}
	memory, _ := train.ChooseMemory(f.job, 0, checkpointing) // without a limit all fits
	read := float64(memory.Weights) / bandwidth
	linears := 0
	for _, name := range f.config.Linears() {
		out, in := f.config.LinearShape(name)
		linears += out * in
	}
	dequantise := 2 * f.dequantised() * float64(linears) * float64(f.job.Dtype.Size()) / bandwidth
	pass := func(p *dataset.Plan, operations, reads float64) float64 {
		return max(operations/speed, reads*read*float64(p.Batches)) + reads*dequantise*float64(p.Batches)
	}
	reads := 2.0
	if checkpointing {
		reads = 3
	}
	total := pass(plan, passOperations(f.config, plan, true, checkpointing), reads)
	if eval != nil {
		total += pass(eval, passOperations(f.config, eval, false, false), 1)
	}
	return total
}

// best is the fastest of those that fit, with at most so many examples in a batch,
// or the one of the largest batch if the speed of the card is not known; nil if
// none fits.
func best(list []outlook, most int) *outlook {
	var b *outlook
	for i := range list {
		o := &list[i]
		switch {
		case !o.fits || o.batch > most:
		case b == nil, o.seconds < b.seconds, o.seconds == 0 && o.batch > b.batch:
			b = o
		}
	}
	return b
}

// write prints a line for each setting, and the flags of the best.
func (f *forecast) write(out io.Writer) error {
	list, err := f.outlooks()
	if err != nil {
		return err
	}
	gb := f.card.gib * (1 << 30) / 1e9
	fmt.Fprintf(out, "on %s: %.1f GB, of which a run gets %.1f\n", f.name, gb, float64(f.usable())/1e9)
	table := tabwriter.NewWriter(out, 2, 0, 2, ' ', tabwriter.AlignRight)
	header := "batch\tcheckpointing\tmemory\tfits\t"
	if f.card.tflops > 0 {
		header += "an epoch\tthe run\t"
	}
	fmt.Fprintln(table, header)
	for _, o := range list {
		fmt.Fprintf(table, "%d\t%s\t%.1f GB\t%s\t", o.batch, onOff(o.checkpointing), float64(o.memory)/1e9, yesNo(o.fits))
		if f.card.tflops > 0 {
			fmt.Fprintf(table, "%s\t%s\t", about(o.seconds), about(o.seconds*f.epochs))
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out, f.advice(list))
	return nil
}

// advice is what to type, or what else to do.
func (f *forecast) advice(list []outlook) string {
	b := best(list, f.examplesPerStep())
	if b == nil {
		return f.quantizedAdvice()
	}
	how := "the largest batch that fits"
	if f.card.tflops > 0 {
		how = "the fastest that fits"
	}
	return fmt.Sprintf("%s, with %d examples in a step: %s", how, f.examplesPerStep(), strings.Join(f.flags(*b), " "))
}

// quantizedAdvice is how many bits a base would have to have for something to fit.
func (f *forecast) quantizedAdvice() string {
	if f.job.Shards > 1 { // a quantised base is not divided
		return "nothing fits: take more shards or larger cards"
	}
	for _, quantize := range []string{"8bit", "4bit"} {
		if f.job.Quantize == quantize || f.job.Quantize == "4bit" {
			continue
		}
		smaller := *f
		smaller.job.Quantize = quantize
		list, err := smaller.outlooks()
		if b := best(list, f.examplesPerStep()); err == nil && b != nil {
			return fmt.Sprintf("nothing fits as it is; with a quantised base, %d examples in a step: --quantize %s %s",
				f.examplesPerStep(), quantize, strings.Join(smaller.flags(*b), " "))
		}
	}
	return "nothing fits: take a smaller model or a larger card"
}

// examplesPerStep is what the options ask for.
func (f *forecast) examplesPerStep() int {
	return f.o.Plan.BatchSize * f.o.Train.GradientAccumulationSteps
}

// flags are those of a setting, with as many examples in a step as the options say,
// or a few more if the batch does not divide them.
func (f *forecast) flags(o outlook) []string {
	list := []string{
		fmt.Sprintf("--batch-size %d", o.batch), fmt.Sprintf("--gradient-accumulation-steps %d", (f.examplesPerStep()+o.batch-1)/o.batch),
		"--gradient-checkpointing=" + onOff(o.checkpointing),
	}
	if f.job.Shards > 1 {
		list = append(list, fmt.Sprintf("--shard %d", f.job.Shards))
	}
	if f.job.Dtype == dtypes.Float16 {
		list = append(list, "--dtype float16")
	}
	return list
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// about is a time that is not known exactly.
func about(seconds float64) string {
	switch minutes := seconds / 60; {
	case minutes < 1:
		return fmt.Sprintf("%.0f s", math.Ceil(seconds))
	case minutes < 90:
		return fmt.Sprintf("%.0f min", minutes)
	}
	return fmt.Sprintf("%.1f h", (time.Duration(seconds) * time.Second).Hours())
}

// writeForecast prints what a run by a plan would be on the card of the flags.
func (o *trainOptions) writeForecast(p *finetune.TrainPlan, out io.Writer) error {
	f, err := o.newForecast(p.Base, p.Train, p.Eval)
	if err != nil {
		return err
	}
	return f.write(out)
}
