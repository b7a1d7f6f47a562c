package templatecheck_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/internal/templatecheck"
)

// A model whose template puts a greeting of its own is served otherwise than
// it was trained; a program says so before it starts.
func Example() {
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	const template = `<|im_start|>system
{{ messages[0].content if messages[0].role == "system" else "You are Salamandra." }}<|im_end|>
{% for m in messages if m.role != "system" %}
<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o644); err != nil {
		fmt.Println(err)
		return
	}

	warning, err := templatecheck.Check(dir, chatml.Template{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(warning)
	// Output:
	// chat_template.jinja: the chat template writes other prompts (question without system message): line 2 is "You are Salamandra.<|im_end|>\n", not "system message. Today Date: 2024-09-30<|im_end|>\n"
}
