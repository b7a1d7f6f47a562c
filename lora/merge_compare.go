package lora

import (
	"context"
	"fmt"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/salamandra"
	"github.com/impulse-salamandra/finetune/salamandra/device"
	"github.com/impulse-salamandra/finetune/salamandra/tokenizer"
)

// neutralQuestions are asked where a contract has no examples.
var neutralQuestions = []string{
	"Quins projectes hi ha sobre energia?", "¿Qué ha pasado desde ayer?", "What is this about?", "Resumeix-ho en una frase.",
	"Lista los tres últimos.", "Show everything from 2020 to 2023.", "Hola", "Cerca empreses de Girona amb menys de 50 treballadors.",
}

// compare computes the logits of the merged model in dir beside those of base and
// adapters, after Verify prompts, as check says.
func (o MergeOptions) compare(ctx context.Context, dir string, contract *chatml.Contract, check mergedCheck) (*MergedDifference, error) {
	check.Base, check.Attach, check.Dtype = o.Base, o.attach, o.VerifyDtype
	var err error
	if check.Prompts, err = o.prompts(contract); err != nil {
		return nil, err
	}
	d, err := device.Open(o.Backend)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	difference, err := compareMerged(ctx, d.Backend, dir, check)
	return &difference, err
}

// attach puts the adapter, or what several come to, on the base.
func (o MergeOptions) attach(base *salamandra.Model) (salamandra.Adapter, error) {
	adapter, err := ReadAdapter(o.Adapters[0].Dir)
	if err == nil && (len(o.Adapters) > 1 || o.Adapters[0].Weight != 1) {
		adapter, err = Combine(context.Background(), CombineOptions{Adapters: o.Adapters, Method: o.Method, Rank: o.Rank})
	}
	if err != nil {
		return nil, err
	}
	return Attach(base, adapter)
}

// prompts are questions as the adapter was asked in training: those of its
// contract, else neutral ones.
func (o MergeOptions) prompts(contract *chatml.Contract) ([][]int32, error) {
	tok, err := tokenizer.Load(o.Base)
	if err != nil {
		return nil, err
	}
	questions := neutralQuestions
	var system []chatml.Message
	var template chatml.Template
	if contract != nil {
		template = contract.Template()
		if len(contract.Examples) > 0 {
			questions = contract.Examples
		}
		if contract.SystemPrompt != "" {
			system = []chatml.Message{{Role: chatml.System, Content: contract.SystemPrompt}}
		}
	}
	prompts := make([][]int32, o.Verify)
	for i := range prompts {
		question := questions[i%len(questions)]
		if again := i / len(questions); again > 0 {
			question = fmt.Sprintf("%s (%d)", question, again+1)
		}
		messages := append(system[:len(system):len(system)], chatml.Message{Role: chatml.User, Content: question})
		if prompts[i], err = template.EncodePrompt(tok, messages); err != nil {
			return nil, err
		}
	}
	return prompts, nil
}
