package generate

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/impulse-salamandra/finetune/salamandra"
)

// Compile compiles ahead of time the programs that most requests ask for: steps of
// one request and of Slots, of every size, for up to 512 tokens of a request behind
// its prefix, on a CPU for any number. It runs them once too, for up to ten seconds,
// since executors make some of what they need only then. After it no such request waits
// for the compiler, unless a longer prefix is warmed or [Generator.Swap] brings an
// adapter of another structure. [Generator.CompileRest] does the same for longer ones.
// Requests may run meanwhile.
//
// Warm the prefixes first: from here on all prefixes have the length of the
// longest one, and what is found by itself that prompts share is kept up to that
// length only. On the Go backend, where programs cost next to nothing, Compile
// does nothing.
//
// Progress, if not nil, is called after each step of those there are, 17 on a CPU with 8
// slots and 11 elsewhere, fewer with one slot, never twice at the same time.
func (g *Generator) Compile(ctx context.Context, progress func(phase string, done, total int64)) error {
	if exact(g.model) {
		return ctx.Err()
	}
	if err := g.do(ctx, g.fixPrefixes); err != nil {
		return err
	}
	adapter, ps, steps, _ := g.ahead()
	defer ps.close()
	var mu sync.Mutex
	var rehearsed time.Duration
	done := 0
	return inParallel(ctx, steps, func(s stepShape) error {
		err := g.open()
		if err == nil {
			err = ps.compile(adapter, s)
		}
		mu.Lock()
		rehearse := err == nil && rehearsed < rehearsals
		mu.Unlock()
		begun := time.Now()
		if rehearse {
			err = ps.rehearse(adapter, s)
		}
		mu.Lock()
		defer mu.Unlock()
		if rehearse {
			rehearsed += time.Since(begun)
		}
		done++
		if err == nil && progress != nil {
			progress("compiling", int64(done), int64(len(steps)))
		}
		return err
	})
}

// CompileRest compiles, after [Generator.Compile], what requests of more tokens ask
// for, up to MaxLength: one program after the other, and only while there is no
// request, which it would slow down. On a CPU there are none: programs do not depend on
// a request's length. It returns ctx's error if that ends first, and an error once the
// generator is closed.
func (g *Generator) CompileRest(ctx context.Context) error {
	if exact(g.model) {
		return ctx.Err()
	}
	adapter, ps, _, steps := g.ahead()
	defer ps.close()
	defer context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.idle.Broadcast()
	})()
	for _, s := range steps {
		if err := g.whenIdle(ctx, func() error { return ps.compile(adapter, s) }); err != nil {
			return err
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return g.open()
}

// ahead returns what there is to compile: steps of the smallest room, and those of
// the larger ones.
func (g *Generator) ahead() (adapter salamandra.Adapter, ps *programs, steps, rest []stepShape) {
	g.mu.Lock()
	defer g.mu.Unlock()
	widths := []int{1}
	if g.Slots > 1 {
		widths = append(widths, g.Slots)
	}
	all := g.buckets(g.variant).shapes(widths...)
	n := slices.IndexFunc(all, func(s stepShape) bool { return s.m > all[0].m })
	if n < 0 {
		n = len(all)
	}
	return g.variant.adapter, g.programs.share(g.model), all[:n], all[n:]
}

// whenIdle calls f once there is no request, and for one at a time of the generators
// that share programs.
func (g *Generator) whenIdle(ctx context.Context, f func() error) error {
	g.mu.Lock()
	for g.running && ctx.Err() == nil {
		g.idle.Wait()
	}
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return errClosed
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	g.programs.rest.Lock()
	defer g.programs.rest.Unlock()
	return f()
}

// rehearsals is how long programs are run before they are needed, in all.
const rehearsals = 10 * time.Second

// open returns errClosed once the generator is closed.
func (g *Generator) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errClosed
	}
	return nil
}

// inParallel calls f for each step, a few at the same time, until one fails.
func inParallel(ctx context.Context, steps []stepShape, f func(stepShape) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan stepShape)
	var group sync.WaitGroup
	for range min(8, runtime.GOMAXPROCS(0)) { // most of a compilation has one thread
		group.Go(func() {
			for s := range queue {
				if err := f(s); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, s := range steps {
		if ctx.Err() != nil {
			break
		}
		queue <- s
	}
	close(queue)
	group.Wait()
	return context.Cause(ctx)
}

// compile compiles the programs of a step.
func (ps *programs) compile(a salamandra.Adapter, s stepShape) error {
	if ps.onHost(a) {
		p, err := ps.parts(a, s)
		if err != nil {
			return err
		}
		return compileAll(p.before, p.after, p.head, p.embed)
	}
	p, err := ps.step(a, s)
	if err != nil {
		return err
	}
	if err := compileAll(p.blocks, p.head, p.embed); err != nil || hostWrites(ps.model) {
		return err
	}
	write, err := ps.writeProgram(s.w, s.m, s.n)
	if err != nil {
		return err
	}
	config := ps.model.Config
	layers := cmp.Or(ps.together(a), config.NumHiddenLayers)
	kv := shapes.Make(ps.model.DType(), 2*layers, s.n, config.NumKeyValueHeads, config.HeadDim)
	return write.Compile(append([]shapes.Shape{shapes.Make(dtypes.Int32, s.w*s.m), kv}, ps.layers(s.w, s.m, layers)...)...)
}

// compileAll compiles the programs that are not compiled yet.
func compileAll(parts ...call) error {
	for _, c := range parts {
		if c.Program == nil {
			continue
		}
		if err := c.Compile(c.takes...); err != nil {
			return err
		}
	}
	return nil
}

// rehearse runs a step of zeros.
func (ps *programs) rehearse(a salamandra.Adapter, s stepShape) (err error) {
	l := newLayout(s, nil, 0, ps.model.Config.VocabSize)
	if ps.onHost(a) {
		out, err := ps.runParts(a, l)
		if err == nil {
			out.free()
		}
		return err
	}
	caches := make([]*tensors.Tensor, 0)
	defer func() { finalize(caches) }()
	for _, shape := range ps.caches(s, ps.model.Config.NumHiddenLayers) {
		t, err := tensors.FromShapeForBackend(ps.model.Backend(), compute.DeviceNum(ps.model.Device()), shape)
		if err != nil {
			return fmt.Errorf("generate: %w", err)
		}
		caches = append(caches, t)
	}
	own := 2 * ps.model.Config.NumHiddenLayers
	out, err := ps.runStep(a, l, &kvCache{tensors: caches[:own]}, caches[own:])
	if err == nil {
		out.free()
	}
	return err
}

// caches are the shapes of the cache of a step, and after it of its prefix, of so
// many layers.
func (ps *programs) caches(s stepShape, layers int) []shapes.Shape {
	list := ps.layers(s.w, s.m, layers)
	if s.p > 0 {
		list = append(list, ps.layers(1, s.p, layers)...)
	}
	return list
}

// layers are the shapes of keys and values of each of so many layers in turn, of w
// rows.
func (ps *programs) layers(w, places, layers int) []shapes.Shape {
	config := ps.model.Config
	shape := shapes.Make(ps.model.DType(), config.NumKeyValueHeads, w, places, config.HeadDim)
	return slices.Repeat([]shapes.Shape{shape}, 2*layers)
}

// writeProgram is the program that puts the keys and values of n tokens, of some
// layers, into their cache of w rows of m places. Its arguments are the token that goes
// to each place, [W*M] int32, -1 for none; keys and values [2·L, N, K, D]; and the cache.
func (ps *programs) writeProgram(w, m, n int) (*salamandra.Program, error) {
	make := ps.ends // it has no use for weights
	if ps.model.Shards() > 1 {
		make = ps.made.NewProgram
	}
	return ps.get(giving(2, 0, make), nil, fmt.Sprintf("write W=%d M=%d N=%d", w, m, n), func(_ salamandra.Transformer, args []*Node) []*Node {
		source, kv, old := args[0], args[1], args[2:]
		from := ExpandAxes(MaxScalar(source, 0), -1)
		isNew := Reshape(GreaterOrEqual(source, ZerosLike(source)), 1, w, m, 1)
		for i, x := range old {
			y := rowsOf(Gather(Squeeze(SliceAxis(kv, 0, AxisElem(i)), 0), from), w) // [K, W, M, D]
			old[i] = Where(BroadcastToShape(isNew, shapes.Make(dtypes.Bool, x.Shape().Dimensions...)), y, x)
		}
		return old
	})
}
