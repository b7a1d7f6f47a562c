package salamandra

import (
	"fmt"
	"io"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/internal/modelfiles"
	"github.com/impulse-salamandra/finetune/internal/safetensors"
)

// An embedding that is not the head as well stays in its file. A batch has a few
// thousand tokens, and the embedding of Salamandra 256,000 rows, a seventh to a
// quarter of the model: the host reads the rows, and programs take them in place of
// ids.

// embeddingName is the tensor of the embedding.
const embeddingName = "model.embed_tokens.weight"

// rows reads rows of an embedding from its file.
type rows struct {
	files  *modelfiles.Files
	data   *io.SectionReader // [V, C]
	stored safetensors.Dtype
}

// openRows leaves the embedding of a model in its file.
func openRows(files *modelfiles.Files) (*rows, error) {
	info, _ := files.Info(embeddingName)
	data, err := files.Section(embeddingName)
	return &rows{files, data, info.Dtype}, err
}

// read returns the rows of ids, each of width c, in a dtype.
func (r *rows) read(ids []int32, c int, dtype dtypes.DType) ([]byte, error) {
	size := c * r.stored.Size()
	data := make([]byte, len(ids)*size)
	for i, id := range ids {
		if _, err := r.data.ReadAt(data[i*size:(i+1)*size], int64(id)*int64(size)); err != nil {
			return nil, fmt.Errorf("%s: row %d of %s: %w", r.files.Dir, id, embeddingName, err)
		}
	}
	return convert(data, r.stored, dtype)
}

// convert returns numbers of a stored dtype in another one.
func convert(data []byte, stored safetensors.Dtype, dtype dtypes.DType) ([]byte, error) {
	wanted := storedDtypes[dtype]
	if stored == wanted {
		return data, nil
	}
	values := make([]float32, len(data)/stored.Size())
	if err := safetensors.DecodeFloat32(values, data, stored); err != nil {
		return nil, err
	}
	data = make([]byte, len(values)*wanted.Size())
	return data, safetensors.EncodeFloat32(data, values, wanted)
}

// Tokens brings ids [N] to the model's device in the form that [Transformer.Embed]
// takes: the ids themselves, int32, where the embedding is the head as well; else
// their rows of the embedding, [N, C] in the model's dtype, read from the model's
// files. It fails for ids outside the vocabulary, and where the files cannot be read.
func (m *Model) Tokens(ids []int32) (*tensors.Tensor, error) {
	err := m.Config.CheckIDs(ids)
	var t *tensors.Tensor
	switch {
	case err != nil:
	case m.rows == nil:
		t = tensors.FromFlatDataAndDimensions(ids, len(ids))
		err = t.MaterializeOnDevice(m.backend, false, m.device)
	default:
		var data []byte
		if data, err = m.rows.read(ids, m.Config.HiddenSize, m.dtype); err == nil {
			t, err = tensors.FromRaw(m.backend, m.device, m.TokensShape(len(ids)), data)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("salamandra: tokens: %w", err)
	}
	return t, nil
}

// TokensShape is the shape of what [Model.Tokens] returns for n ids.
func (m *Model) TokensShape(n int) shapes.Shape {
	if m.rows == nil {
		return shapes.Make(dtypes.Int32, n)
	}
	return shapes.Make(m.dtype, n, m.Config.HiddenSize)
}

// Embed returns the embeddings [N, C] of tokens as [Model.Tokens] gives them, or of
// ids [N] of any integer dtype where the embedding is the head as well.
func (t Transformer) Embed(tokens *Node) *Node {
	if tokens.DType().IsFloat() {
		return tokens
	}
	return Gather(t.Weight(embeddingName), ExpandAxes(tokens, -1))
}
