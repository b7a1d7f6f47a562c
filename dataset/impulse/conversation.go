package impulse

import (
	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// answerLayout is how answers of training are written: two spaces per level.
var answerLayout = strictjson.Layout{Indent: 2, ItemSeparator: ",", KeySeparator: ": "}

// Conversation returns the record as a training example: the system prompt,
// the question, the answer. With mergeSystem, for models without a system role,
// the prompt, an empty line and the question make one user message.
func (r Record) Conversation(system string, mergeSystem bool) dataset.Record {
	messages := []chatml.Message{
		{Role: chatml.System, Content: system},
		{Role: chatml.User, Content: r.Query},
		{Role: chatml.Assistant, Content: r.Answer},
	}
	if mergeSystem {
		messages = messages[1:]
		messages[0].Content = system + "\n\n" + r.Query
	}
	return dataset.Record{ID: r.ID, Messages: messages, Lang: r.Lang}
}
