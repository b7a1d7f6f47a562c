package finetune

import (
	"fmt"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra/llama"
)

// settleQuantization decides how the base of the model in dir is stored: as its files
// hold it, as the options say, or as it was when an adapter was trained.
func (b *sharedBase) settleQuantization(dir string) (err error) {
	option := b.opts.Quantize
	if option == "auto" && b.config.Quantization == "" && dir != b.dir {
		c, _, err := readContract(dir, chatml.Contract{})
		b.quantized = c.BaseQuantization
		return err
	}
	b.quantized, err = quantizationOf(option, b.config, b.opts.name)
	return err
}

// quantizationOf is what an option, Options.Quantize or TrainOptions.Quantize, makes
// of the base: what it is in its files, and otherwise what the option says.
func quantizationOf(option string, config llama.Config, name func(field string) string) (string, error) {
	wanted := option
	if option == "none" || option == "auto" {
		wanted = ""
	}
	if stored := config.Quantization; stored != "" {
		if wanted != "" && wanted != stored {
			return "", fmt.Errorf("%s %s: the base is in %s in its files; use the 16-bit model it was made from", name("Quantize"), option, stored)
		}
		return stored, nil
	}
	return wanted, nil
}

// checkQuantization warns of an adapter that was trained on a base stored otherwise:
// it made up for other roundings.
func (b *sharedBase) checkQuantization(dir string, trained chatml.Contract) {
	if dir == b.dir || trained.BaseQuantization == b.quantized {
		return
	}
	b.opts.warn(fmt.Sprintf("adapter %s was trained on a base %s, and this one is %s: answers may differ from those in training (%s %s is as trained)",
		dir, storedIn(trained.BaseQuantization), storedIn(b.quantized), b.opts.name("Quantize"), quantizeOption(trained.BaseQuantization)))
}

// storedIn says in words how weights are stored.
func storedIn(quantized string) string {
	if quantized == "" {
		return "that is not quantised"
	}
	return "quantised to " + quantized
}

// quantizeOption is the value of Options.Quantize.
func quantizeOption(quantized string) string {
	if quantized == "" {
		return "none"
	}
	return quantized
}
