package generate

import (
	"fmt"
	"sync"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// programs are the compiled programs of a model as they run on it or on a replica.
type programs struct {
	model *salamandra.Model
	*sharedPrograms
}

// sharedPrograms are those of the generators made from one by [Generator.With] and
// [Generator.On].
type sharedPrograms struct {
	made  *salamandra.Model // for which they are
	mu    sync.Mutex
	known map[string]*salamandra.Program
	users int
	rest  sync.Mutex // held to compile by CompileRest
}

func newPrograms(m *salamandra.Model) *programs {
	return &programs{m, &sharedPrograms{made: m, known: map[string]*salamandra.Program{}, users: 1}}
}

// share returns the same programs for m, which is their model or a replica of it.
func (ps *programs) share(m *salamandra.Model) *programs {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.users++
	return &programs{m, ps.sharedPrograms}
}

// close frees the programs when the last user is gone.
func (ps *programs) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.users--; ps.users > 0 {
		return
	}
	for _, p := range ps.known {
		p.Close()
	}
	clear(ps.known)
}

// compiled is how many programs were compiled.
func (ps *programs) compiled() (n int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.known {
		n += p.Compiled()
	}
	return n
}

// maker makes a program; they are methods of a model.
type maker func(name string, a salamandra.Adapter, build func(t salamandra.Transformer, args []*Node) []*Node) (*salamandra.Program, error)

// get returns the program called name for an adapter, made at the first call and
// compiled when it first runs. Adapters of one structure share it.
func (ps *programs) get(make maker, a salamandra.Adapter, name string, build func(t salamandra.Transformer, args []*Node) []*Node) (*salamandra.Program, error) {
	key := name
	if a != nil {
		key += a.Structure()
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p, ok := ps.known[key]
	if !ok {
		var err error
		if p, err = make(name, a, build); err != nil {
			return nil, err
		}
		ps.known[key] = p
	}
	return p.On(ps.model), nil
}

// some is a maker of programs of n blocks.
func (ps *programs) some(n int) maker {
	return func(name string, a salamandra.Adapter, build func(t salamandra.Transformer, args []*Node) []*Node) (*salamandra.Program, error) {
		return ps.made.NewBlocksProgram(name, a, n, build)
	}
}

// giving is a maker of programs that are given up n arguments from number first on, 0
// for all.
func giving(first, n int, make maker) maker {
	return func(name string, a salamandra.Adapter, build func(t salamandra.Transformer, args []*Node) []*Node) (*salamandra.Program, error) {
		p, err := make(name, a, build)
		if err != nil {
			return nil, err
		}
		return p.Gives(first, n), nil
	}
}

// ends is a maker of programs without blocks.
func (ps *programs) ends(name string, _ salamandra.Adapter, build func(t salamandra.Transformer, args []*Node) []*Node) (*salamandra.Program, error) {
	return ps.made.NewEndsProgram(name, build)
}

// together is how many blocks are in a program where a step is one for each of its
// parts, of which that of blocks runs as often as there are such groups: compiling takes
// longer than anything else before the first answer. On a CPU it is one, for calls cost
// little; on a GPU about eight, so that one of blocks has work for longer than the host
// takes to call it. It is 0 where a step is one program.
func (ps *programs) together(a salamandra.Adapter) int {
	switch {
	case ps.model.Shards() > 1 || !ps.model.Uniform() || a != nil && !a.Uniform():
		return 0
	case hostWrites(ps.model):
		return 1
	}
	return gpuGroup(ps.model.Config.NumHiddenLayers)
}

// gpuGroup is the number of blocks of a program on a GPU, of so many: a divisor from
// four to eight, else the next one. It is 0 for a program of all.
func gpuGroup(blocks int) int {
	for _, n := range []int{8, 7, 6, 5, 4} {
		if n < blocks && blocks%n == 0 {
			return n
		}
	}
	for n := 9; n < blocks; n++ {
		if blocks%n == 0 {
			return n
		}
	}
	return 0
}

// onHost reports whether the host keeps keys and values and computes attention, between
// the programs of a step: on a CPU. See blocks.go.
func (ps *programs) onHost(a salamandra.Adapter) bool { return ps.together(a) == 1 }

// call is a program and what it takes beside weights and adapter.
type call struct {
	*salamandra.Program
	takes []shapes.Shape
}

// stepPrograms are the parts of a step; where it is one program that is the last.
type stepPrograms struct{ embed, blocks, head call }

// step returns the programs of a step.
func (ps *programs) step(a salamandra.Adapter, s stepShape) (p stepPrograms, err error) {
	n := 0
	cut(s, func(k int) int { n += k; return n })
	numbers := shapes.Make(dtypes.Int32, n)
	group := ps.together(a)
	if group == 0 {
		p.head.Program, err = ps.get(ps.made.NewProgram, a, s.String(), s.build)
		p.head.takes = append([]shapes.Shape{ps.model.TokensShape(s.n), numbers, ps.masks(s.r)}, ps.caches(s, ps.model.Config.NumHiddenLayers)...)
		return p, err
	}
	if p.embed, err = ps.embed(s.n); err != nil {
		return p, err
	}
	p.blocks.takes = append([]shapes.Shape{ps.states(s.n), numbers}, ps.caches(s, group)...)
	if p.blocks.Program, err = ps.get(giving(0, 1, ps.some(group)), a, "blocks "+s.String(), func(t salamandra.Transformer, args []*Node) []*Node {
		x, kv := s.blocks(t, args[0], s.inputs(args[1]), args[2:])
		return []*Node{x, kv}
	}); err != nil {
		return p, err
	}
	p.head, err = ps.head(s.n, s.r)
	return p, err
}

// embed returns the program of what comes before the blocks, for n tokens.
func (ps *programs) embed(n int) (c call, err error) {
	c.takes = []shapes.Shape{ps.model.TokensShape(n)}
	c.Program, err = ps.get(ps.ends, nil, fmt.Sprintf("embed N=%d", n), func(t salamandra.Transformer, args []*Node) []*Node {
		return []*Node{t.Embed(args[0])}
	})
	return c, err
}

// head returns the program of what comes after the blocks, for n tokens and r choices.
func (ps *programs) head(n, r int) (c call, err error) {
	c.takes = []shapes.Shape{ps.states(n), shapes.Make(dtypes.Int32, r), ps.masks(r)}
	c.Program, err = ps.get(ps.ends, nil, fmt.Sprintf("head N=%d R=%d", n, r), func(t salamandra.Transformer, args []*Node) []*Node {
		return choose(t, args[0], args[1], args[2])
	})
	return c, err
}

// states is the shape of what goes from block to block, for n tokens.
func (ps *programs) states(n int) shapes.Shape {
	return shapes.Make(ps.model.DType(), n, ps.model.Config.HiddenSize)
}

// masks is the shape of the tokens allowed at r choices.
func (ps *programs) masks(r int) shapes.Shape {
	return shapes.Make(dtypes.Uint32, r, maskWords(ps.model.Config.VocabSize))
}

// stepResult is what a step computes.
type stepResult struct {
	best   []int32           // [R], the likeliest allowed token after each of last
	logits *tensors.Tensor   // [R, V], float32
	kv     []*tensors.Tensor // [2·L', N, K, D] of L' layers, those of all layers in turn
}

func (r stepResult) free() { finalize(append(r.kv, r.logits)) }

// runStep runs a step. The prefix is 2·L tensors [K, 1, P, D], none if P is 0.
func (ps *programs) runStep(a salamandra.Adapter, l *layout, cache *kvCache, prefix []*tensors.Tensor) (stepResult, error) {
	p, err := ps.step(a, l.stepShape)
	if err != nil {
		return stepResult{}, err
	}
	tokens, err := ps.model.Tokens(l.ids)
	if err != nil {
		return stepResult{}, err
	}
	masks := tensors.FromFlatDataAndDimensions(l.masks, l.r, len(l.masks)/l.r)
	defer finalize([]*tensors.Tensor{masks})
	if p.blocks.Program == nil {
		args := append([]any{salamandra.Donate(tokens), l.numbers, masks}, list(cache.tensors)...)
		out, err := p.head.CallWith(a, append(args, list(prefix)...)...)
		if err != nil {
			return stepResult{}, err
		}
		return chosen(out[0], out[1], out[2:])
	}
	numbers := tensors.FromFlatDataAndDimensions(l.numbers, len(l.numbers))
	defer finalize([]*tensors.Tensor{numbers})
	x, kv, err := ps.runBlocks(a, p, tokens, func(from, to int) []any {
		args := append([]any{numbers}, list(cache.tensors[2*from:2*to])...)
		if len(prefix) > 0 {
			args = append(args, list(prefix[2*from:2*to])...)
		}
		return args
	})
	if err != nil {
		return stepResult{}, err
	}
	out, err := p.head.Call(salamandra.Donate(x), l.last, masks)
	if err != nil {
		finalize(kv)
		return stepResult{}, err
	}
	return chosen(out[0], out[1], kv)
}

// runBlocks runs what comes before the head, with the arguments that the program of
// some blocks takes after the activations. It returns these, and what blocks give beside
// them.
func (ps *programs) runBlocks(a salamandra.Adapter, p stepPrograms, tokens *tensors.Tensor, takes func(from, to int) []any) (x *tensors.Tensor, kv []*tensors.Tensor, err error) {
	out, err := p.embed.Call(salamandra.Donate(tokens))
	if err != nil {
		return nil, nil, err
	}
	x = out[0]
	group := ps.together(a)
	for i := 0; i < ps.model.Config.NumHiddenLayers; i += group {
		if out, err = p.blocks.CallBlock(a, i, append([]any{salamandra.Donate(x)}, takes(i, i+group)...)...); err != nil {
			finalize(kv)
			return nil, nil, err
		}
		x, kv = out[0], append(kv, out[1:]...)
	}
	return x, kv, nil
}

// chosen reads which tokens were chosen.
func chosen(best, logits *tensors.Tensor, kv []*tensors.Tensor) (stepResult, error) {
	r := stepResult{logits: logits, kv: kv}
	var err error
	if r.best, err = tensors.CopyFlatData[int32](best); err != nil {
		r.free()
		err = fmt.Errorf("generate: %w", err)
	}
	finalize([]*tensors.Tensor{best})
	return r, err
}

// build is the program of a step.
func (s stepShape) build(t salamandra.Transformer, args []*Node) []*Node {
	in := s.inputs(args[1])
	x, kv := s.blocks(t, t.Embed(args[0]), in, args[3:])
	return append(choose(t, x, in.last, args[2]), kv)
}

// inputs cuts the vector of numbers.
func (s stepShape) inputs(numbers *Node) parts[*Node] {
	at := 0
	return cut(s, func(n int) *Node {
		at += n
		return SliceAxis(numbers, 0, AxisRange(at-n, at))
	})
}

// blocks runs the blocks of t on x [N, C], with the caches of its layers and, after
// them, the prefixes. It returns the step's keys and values too, [2·L, N, K, D].
func (s stepShape) blocks(t salamandra.Transformer, x *Node, in parts[*Node], caches []*Node) (_, kv *Node) {
	layers := 2 * t.Config.NumHiddenLayers
	a := &salamandra.Cached{
		Rows: s.w, RowTokens: s.s, Cache: caches[:layers], Prefix: caches[layers:], Lengths: in.lengths, PrefixLengths: in.seen,
	}
	if s.w > 1 {
		a.Seats, a.Back = in.seats, in.back
	}
	x = t.Blocks(x, in.positions, a)
	return x, Stack(a.KV, 0)
}

// choose returns the likeliest allowed tokens after the last ones, [R], and the logits.
func choose(t salamandra.Transformer, x, last, masks *Node) []*Node {
	if x.Shape().Dim(0) > 1 {
		x = Gather(x, ExpandAxes(last, -1))
	}
	logits := t.Logits(x)
	allowed := unpack(masks, t.Config.VocabSize)
	best := ArgMax(Where(allowed, logits, MulScalar(OnesLike(logits), excluded)), -1, dtypes.Int32)
	return []*Node{best, logits}
}

// excluded is the logit of a token that the mask leaves out.
const excluded = -1e30

// unpack makes a mask [R, words] of bits one of booleans [R, V].
func unpack(words *Node, v int) *Node {
	r, n := words.Shape().Dim(0), words.Shape().Dim(1)
	shape := shapes.Make(dtypes.Uint32, r, n, 32)
	bits := BitwiseShiftRightLogical(BroadcastToShape(ExpandAxes(words, -1), shape), Iota(words.Graph(), shape, 2))
	bits = BitwiseAnd(bits, OnesLike(bits))
	return SliceAxis(Reshape(NotEqual(bits, ZerosLike(bits)), r, n*32), 1, AxisRange(0, v))
}

// runPrefix computes the keys and values of a prefix: 2·L tensors [K, 1, P, D].
// Ids are padded to P; what is computed for the padding is never seen.
func (ps *programs) runPrefix(a salamandra.Adapter, ids []int32, p int) ([]*tensors.Tensor, error) {
	parts, err := ps.prefix(a, p)
	if err != nil {
		return nil, err
	}
	padded := make([]int32, p)
	copy(padded, ids)
	tokens, err := ps.model.Tokens(padded)
	if err != nil {
		return nil, err
	}
	if parts.blocks.Program == nil {
		return parts.head.CallWith(a, salamandra.Donate(tokens))
	}
	x, kv, err := ps.runBlocks(a, parts, tokens, func(int, int) []any { return nil })
	if err == nil {
		finalize([]*tensors.Tensor{x})
	}
	return kv, err
}

// prefix returns the programs of a prefix; where it is one program that is the last.
func (ps *programs) prefix(a salamandra.Adapter, p int) (parts stepPrograms, err error) {
	name := fmt.Sprintf("prefix P=%d", p)
	blocks := func(t salamandra.Transformer, x *Node) []*Node {
		layout := salamandra.SharedPrefix{B: 1, S: p}
		all := make([]*Node, 1)
		t.KeysValues = func(k, v *Node) {
			if ps.onHost(a) {
				k, v = ConvertDType(k, dtypes.Float32), ConvertDType(v, dtypes.Float32)
			}
			all = append(all, rowsOf(k, 1), rowsOf(v, 1))
		}
		all[0] = t.Blocks(x, layout.Positions(x.Graph()), layout)
		return all
	}
	group := ps.together(a)
	if group == 0 {
		parts.head.takes = []shapes.Shape{ps.model.TokensShape(p)}
		parts.head.Program, err = ps.get(ps.made.NewProgram, a, name, func(t salamandra.Transformer, args []*Node) []*Node {
			return blocks(t, t.Embed(args[0]))[1:]
		})
		return parts, err
	}
	if parts.embed, err = ps.embed(p); err != nil {
		return parts, err
	}
	parts.blocks.takes = []shapes.Shape{ps.states(p)}
	parts.blocks.Program, err = ps.get(giving(0, 1, ps.some(group)), a, "blocks "+name, func(t salamandra.Transformer, args []*Node) []*Node {
		return blocks(t, args[0])
	})
	return parts, err
}

// rowsOf makes tokens [W*T, K, D] rows, heads first: [K, W, T, D].
func rowsOf(x *Node, w int) *Node {
	n, heads, d := x.Shape().Dim(0), x.Shape().Dim(1), x.Shape().Dim(2)
	return TransposeAllAxes(Reshape(x, w, n/w, heads, d), 2, 0, 1, 3)
}
