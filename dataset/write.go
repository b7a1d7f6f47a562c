package dataset

import (
	"bufio"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/impulse-salamandra/finetune/internal/atomicfile"
	"github.com/impulse-salamandra/finetune/internal/strictjson"
)

// WriteFile writes records as JSON Lines, which [ReadFile] reads:
//
//	{"id": "q1", "messages": [{"role": "system", "content": "..."}, ...], "lang": "CA"}
//
// These bytes are fixed: the keys in this order, a blank after each comma and
// colon, and strings in which nothing is escaped but quotes, backslashes and
// control characters below U+0020. A message that is not trained has "weight": 0
// after its content. After lang come, where the record has them, variant_of and
// what is in [Record.Extra], but for keys of messages, in the order of their names.
//
// The file appears under its name, in place of one that may be there, when it is
// complete and on disk; after an error nothing has changed.
func WriteFile(ctx context.Context, path string, records []Record) error {
	file, err := atomicfile.Create(path)
	if err != nil {
		return err
	}
	defer file.Abort()
	out := bufio.NewWriter(file)
	var line []byte
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return err
		}
		line = appendRecord(line[:0], r)
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return file.Commit()
}

// appendRecord appends a record's line, with its line feed.
func appendRecord(dst []byte, r Record) []byte {
	dst = append(dst, `{"id": `...)
	dst = strictjson.AppendString(dst, r.ID)
	dst = append(dst, `, "messages": [`...)
	for i, m := range r.Messages {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, `{"role": `...)
		dst = strictjson.AppendString(dst, string(m.Role))
		dst = append(dst, `, "content": `...)
		dst = strictjson.AppendString(dst, m.Content)
		if m.Untrained {
			dst = append(dst, `, "weight": 0`...)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `], "lang": `...)
	dst = strictjson.AppendString(dst, r.Lang)
	if r.VariantOf != "" {
		dst = append(dst, `, "`+variantKey+`": `...)
		dst = strictjson.AppendString(dst, r.VariantOf)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Extra)) {
		if strings.Contains(key, messageKey) {
			continue
		}
		dst = append(strictjson.AppendString(append(dst, ", "...), key), ": "...)
		dst = append(dst, r.Extra[key]...)
	}
	return append(dst, "}\n"...)
}
