package templatecheck

import (
	"time"

	"github.com/impulse-salamandra/finetune/chatml"
)

// Render renders a template once, watched.
func Render(source string, tokens map[string]string, messages []chatml.Message, prompt bool, date string) (string, error) {
	e, err := compile(source, tokens)
	if err != nil {
		return "", err
	}
	out := e.render(messages, prompt, date)
	return out.text, out.err
}

// RenderWithin renders a template without messages in a given time.
func RenderWithin(source string, timeout time.Duration) error {
	e, err := compile(source, nil)
	if err != nil {
		return err
	}
	e.timeout = timeout
	return e.render(nil, false, "").err
}
