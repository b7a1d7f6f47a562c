package impulse

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/impulse-salamandra/finetune/chatml"
	"github.com/impulse-salamandra/finetune/dataset"
	"github.com/impulse-salamandra/finetune/salamandra/safetensors"
)

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

// AppendLine appends the record's line, with the line feed, to dst:
//
//	{"id": "q1", "messages": [{"role": "system", "content": "..."}, ...], "lang": "CA"}
//
// These bytes are fixed: the keys in this order, a blank after each comma and
// colon, and strings in which nothing is escaped but quotes, backslashes and
// control characters below U+0020.
func AppendLine(dst []byte, r dataset.Record) []byte {
	dst = append(dst, `{"id": `...)
	dst = appendString(dst, r.ID)
	dst = append(dst, `, "messages": [`...)
	for i, m := range r.Messages {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, `{"role": `...)
		dst = appendString(dst, string(m.Role))
		dst = append(dst, `, "content": `...)
		dst = appendString(dst, m.Content)
		dst = append(dst, '}')
	}
	dst = append(dst, `], "lang": `...)
	dst = appendString(dst, r.Lang)
	return append(dst, "}\n"...)
}

// WriteJSONL writes one [AppendLine] per record, which [dataset.ReadFile]
// reads. The file appears under its name, in place of one that may be there,
// when it is complete and on disk; after an error nothing has changed.
func WriteJSONL(ctx context.Context, path string, records []dataset.Record) error {
	var lines []byte
	for _, r := range records {
		lines = AppendLine(lines, r)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := safetensors.WriteFile(path, lines); err != nil {
		return fmt.Errorf("impulse: %w", err)
	}
	return nil
}

// appendAnswer appends v in the layout of answers: two spaces per level, one
// item or member per line, no line feed at the end.
func appendAnswer(dst []byte, v *value, level int) []byte {
	indent := func(level int) { dst = append(dst, "\n"+strings.Repeat("  ", level)...) }
	switch v.kind {
	case kindString:
		return appendString(dst, v.text)
	case kindArray:
		if len(v.items) == 0 {
			return append(dst, "[]"...)
		}
		for i := range v.items {
			dst = append(dst, "[,"[min(i, 1)])
			indent(level + 1)
			dst = appendAnswer(dst, &v.items[i], level+1)
		}
		indent(level)
		return append(dst, ']')
	case kindObject:
		if len(v.members) == 0 {
			return append(dst, "{}"...)
		}
		for i := range v.members {
			dst = append(dst, "{,"[min(i, 1)])
			indent(level + 1)
			dst = append(appendString(dst, v.members[i].key), ": "...)
			dst = appendAnswer(dst, &v.members[i].value, level+1)
		}
		indent(level)
		return append(dst, '}')
	}
	return append(dst, v.text...)
}

// appendString differs from encoding/json, which also escapes <, >, & (the
// years ">=2018"), U+2028 and U+2029.
func appendString(dst []byte, s string) []byte {
	const escaped, letters = "\"\\\n\r\t\b\f", `"\nrtbf`
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		if at := bytes.IndexByte([]byte(escaped), c); at >= 0 {
			dst = append(dst, '\\', letters[at])
		} else if c < ' ' {
			dst = fmt.Appendf(dst, `\u%04x`, c)
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
