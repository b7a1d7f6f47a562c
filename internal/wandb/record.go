package wandb

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protobuf message under construction.
type message []byte

func (m message) text(field protowire.Number, s string) message {
	if s == "" {
		return m
	}
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), s)
}

func (m message) number(field protowire.Number, n int64) message {
	if n == 0 {
		return m
	}
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), uint64(n))
}

func (m message) nested(field protowire.Number, n message) message {
	return protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), n)
}

// Fields of wandb_internal.Record.
const (
	historyRecord     = 2
	summaryRecord     = 3
	filesRecord       = 6
	statsRecord       = 7
	runRecord         = 17
	exitRecord        = 18
	headerRecord      = 21
	environmentRecord = 26
)

func timestamp(t time.Time) message {
	return message(nil).number(1, t.Unix()).number(2, int64(t.Nanosecond()))
}

// header names the oldest client that reads the records.
func header() message {
	return message(nil).nested(1, message(nil).text(1, "finetune").text(2, "0.70.0"))
}

// item is an entry of a config, a summary or a history: a path of keys and a
// value in JSON.
func item(value []byte, path ...string) message {
	var m message
	if len(path) == 1 {
		m = m.text(1, path[0])
	} else {
		for _, key := range path {
			m = m.text(2, key)
		}
	}
	return m.text(16, string(value))
}

// items are the entries of a map, sorted by key, each as field of the message.
func items(field protowire.Number, values map[string]json.RawMessage) message {
	var m message
	for _, key := range slices.Sorted(maps.Keys(values)) {
		m = m.nested(field, item(values[key], key))
	}
	return m
}

func (o Options) runMessage(host string) message {
	config := items(1, o.config)
	return message(nil).text(1, o.ID).text(2, o.Entity).text(3, o.Project).nested(4, config).
		text(8, o.Name).text(13, host).nested(17, timestamp(o.Start))
}

// Types of files.
const otherType, mediaType = 0, 2

// fileItem lists a file below files/ that is uploaded at once.
func fileItem(path string, kind int64) message {
	const uploadNow = 0
	return message(nil).nested(1, message(nil).text(1, path).number(2, uploadNow).number(3, kind))
}
