package serve

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/impulse-salamandra/finetune/salamandra/constrain"
)

// maxSchemas is how many compiled schemas of clients are kept, and
// maxSchemaBytes the most memory that they take with their masks.
const (
	maxSchemas     = 16
	maxSchemaBytes = 256 << 20
)

// schemaCache compiles the schemas of clients, within limits, and keeps those
// used last.
type schemaCache struct {
	limits constrain.Options
	mu     sync.Mutex
	kept   []keptSchema // the last used at the end
}

type keptSchema struct {
	hash    [sha256.Size]byte
	indent  int
	grammar *constrain.Grammar
}

func newSchemaCache() *schemaCache { return &schemaCache{limits: constrain.UntrustedOptions()} }

// compile returns the grammar of a schema, laid out as the model is used to.
func (c *schemaCache) compile(schema json.RawMessage, indent int) (*constrain.Grammar, error) {
	hash := sha256.Sum256(schema)
	if g := c.find(hash, indent); g != nil {
		return g, nil
	}
	opts := c.limits
	opts.Indent = indent
	g, err := constrain.Compile(schema, opts)
	if errors.Is(err, constrain.ErrTooLarge) {
		return nil, schemaTooLarge(err)
	}
	var faults *constrain.CompileError
	if errors.As(err, &faults) {
		return nil, fail(http.StatusBadRequest, "invalid_schema", "response_format", "%v", err)
	}
	if err != nil {
		return nil, err
	}
	c.keep(keptSchema{hash, indent, g})
	return g, nil
}

func (c *schemaCache) find(hash [sha256.Size]byte, indent int) *constrain.Grammar {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.kept, func(k keptSchema) bool { return k.hash == hash && k.indent == indent })
	if i < 0 {
		return nil
	}
	found := c.kept[i]
	c.kept = append(slices.Delete(c.kept, i, i+1), found)
	return found.grammar
}

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

// schemaTooLarge answers that a schema takes more than a client may ask for.
func schemaTooLarge(err error) error {
	return fail(http.StatusUnprocessableEntity, "schema_too_large", "response_format", "%v", err)
}
