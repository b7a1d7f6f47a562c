package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Options returns the choices the plan was made with.
func (p *Plan) Options() PlanOptions { return p.opts }

// Len returns the number of examples.
func (p *Plan) Len() int { return len(p.examples) }

// SHA256 returns a hash, in hexadecimal, of the examples in their order: their
// ids, tokens and masks. Two plans with the same hash and the same options
// have the same batches.
func (p *Plan) SHA256() string {
	h := sha256.New()
	var b bytes.Buffer
	for _, e := range p.examples {
		b.Reset()
		number := func(n int) { b.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))) }
		number(len(e.ID))
		b.WriteString(e.ID)
		number(len(e.IDs))
		for i, id := range e.IDs {
			b.Write(binary.LittleEndian.AppendUint32(nil, uint32(id)))
			trained := byte(0)
			if e.Train[i] {
				trained = 1
			}
			b.WriteByte(trained)
		}
		h.Write(b.Bytes())
	}
	return hex.EncodeToString(h.Sum(nil))
}
