package finetune

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// maxSchemas is how many compiled schemas of conversations are kept, and
// maxSchemaBytes the most memory that they take with their masks.
const (
	maxSchemas     = 16
	maxSchemaBytes = 256 << 20
)

// schemaCache compiles schemas and keeps those used last.
type schemaCache struct {
	mu   sync.Mutex
	kept []keptSchema // the last used at the end
}

type keptSchema struct {
	key     [sha256.Size]byte
	grammar *constrain.Grammar
}

// compile returns the grammar of a schema.
func (c *schemaCache) compile(schema json.RawMessage, opts constrain.Options) (*constrain.Grammar, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%+v\n%s", opts, schema))
	if g := c.find(key); g != nil {
		return g, nil
	}
	g, err := constrain.Compile(schema, opts)
	if err == nil {
		c.keep(keptSchema{key, g})
	}
	return g, err
}

func (c *schemaCache) find(key [sha256.Size]byte) *constrain.Grammar {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.kept, func(k keptSchema) bool { return k.key == key })
	if i < 0 {
		return nil
	}
	found := c.kept[i]
	c.kept = append(slices.Delete(c.kept, i, i+1), found)
	return found.grammar
}

// keep adds a schema. Those used longest ago go where there are too many, or where
// they take too much together.
func (c *schemaCache) keep(k keptSchema) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept = append(c.kept, k)
	total, from := int64(0), len(c.kept)
	for from > 0 && len(c.kept)-from < maxSchemas {
		if total += c.kept[from-1].grammar.Size(); total > maxSchemaBytes {
			break
		}
		from--
	}
	c.kept = slices.Delete(c.kept, 0, from)
}
