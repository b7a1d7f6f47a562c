package quantize

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/impulse-salamandra/finetune/internal/products"
)

// nf4Weight is an NF4 in a graph.
type nf4Weight struct {
	out, in int
	packed  *Node // [⌈out/2⌉, in] uint8; see NF4.rows
	absmax  *Node // [blocks] float32
}

// Linear implements [products.Weight].
func (w nf4Weight) Linear(x *Node) *Node { return products.Linear(x, w.Matrix(x)) }

// Matrix implements [products.Weight]: values times scales in float32, rounded once.
func (w nf4Weight) Matrix(x *Node) *Node {
	packed := after(x, w.packed)
	if onGo(x) {
		return ConvertDType(w.byTable(packed), x.DType())
	}
	codes := Concatenate([]*Node{
		BitwiseShiftRightLogicalScalar(packed, uint8(4)),
		BitwiseAnd(packed, Scalar(x.Graph(), dtypes.Uint8, uint8(15))),
	}, 0) // [2·⌈out/2⌉, in]
	if w.out%2 != 0 {
		codes = SliceAxis(codes, 0, AxisRange(0, w.out))
	}
	return ConvertDType(Mul(nf4Lookup(codes), w.scales()), x.DType())
}

// onGo reports whether the Go backend computes.
func onGo(x *Node) bool { return OnGo(x.Graph().Backend()) }

// OnGo reports whether this is the Go backend, which fuses nothing, looks numbers up in
// tables and multiplies with 8-bit codes as they are.
func OnGo(b compute.Backend) bool {
	return b.Capabilities().DynamicShapes == compute.DynamicShapesNative
}

// onHost reports whether the device is the host's processor.
func onHost(x *Node) bool { return x.Graph().Backend().HasSharedBuffers() }

// byTable is the weight in float32, of a table of what each byte's halves stand for.
func (w nf4Weight) byTable(packed *Node) *Node {
	halves := make([]*Node, 2)
	for i := range halves {
		table := make([]float32, 256)
		for b := range table {
			table[b] = nf4Values[b>>(4*(1-i))&15]
		}
		halves[i] = Gather(Const(packed.Graph(), table), InsertAxes(packed, -1))
	}
	values := Concatenate(halves, 0)
	if w.out%2 != 0 {
		values = SliceAxis(values, 0, AxisRange(0, w.out))
	}
	if w.out*w.in%blockSize != 0 {
		return Mul(values, w.scales())
	}
	inBlocks := Reshape(values, w.absmax.Shape().Dim(0), blockSize)
	return Reshape(Mul(inBlocks, InsertAxes(w.absmax, -1)), w.out, w.in)
}

// scales are those of each weight, [out, in].
func (w nf4Weight) scales() *Node {
	n := w.absmax.Shape().Dim(0)
	each := Reshape(BroadcastToDims(InsertAxes(w.absmax, -1), n, blockSize), n*blockSize)
	if size := w.out * w.in; size < n*blockSize { // the last block is short
		each = Slice(each, AxisRange(0, size))
	}
	return Reshape(each, w.out, w.in)
}

// after returns codes, not before x is there. What is made of codes only would be made
// once, and be kept from the forward pass to the backward pass.
//
// gomlx's barrier adds zero times a number of x, which XLA takes out again where it is
// of whole numbers: so it is put before a zero in float32.
func after(x, codes *Node) *Node {
	zero := SchedulingBarrier(ScalarZero(x.Graph(), dtypes.Float32), x)
	return BitwiseOr(codes, ConvertDType(zero, codes.DType()))
}

// nf4Lookup returns the values of codes in float32, chosen by one bit after the other:
// XLA makes one loop of it, where a gather may end one.
func nf4Lookup(codes *Node) *Node {
	g := codes.Graph()
	var bits [4]*Node
	for i := range bits {
		bits[i] = NotEqual(BitwiseAnd(codes, Scalar(g, dtypes.Uint8, uint8(1<<i))), ScalarZero(g, dtypes.Uint8))
	}
	var among func(bit, first int) *Node
	among = func(bit, first int) *Node {
		if bit < 0 {
			return Scalar(g, dtypes.Float32, nf4Values[first])
		}
		return Where(bits[bit], among(bit-1, first|1<<bit), among(bit-1, first))
	}
	return among(3, 0)
}

// int8Weight is an Int8 in a graph.
type int8Weight struct {
	codes  *Node // int8, [out, in] or as [products.Panels] has them
	scales *Node // [out] float32
}

// Linear implements [products.Weight]. The scales multiply the product, which has
// fewer numbers than the weight, and is exact where the weight would be rounded. In
// float32 nothing is, and XLA on a CPU, which writes the weight for several rows anyway,
// does it with them in one pass.
func (w int8Weight) Linear(x *Node) *Node {
	if x.DType() == dtypes.Float32 && x.Shape().Dim(0) > 1 && onHost(x) && !onGo(x) {
		return products.Linear(x, w.Matrix(x))
	}
	y := products.Of(w.codesAs(x)).Linear(x)
	return ConvertDType(Mul(ConvertDType(y, dtypes.Float32), InsertAxes(w.scales, 0)), x.DType())
}

// Matrix implements [products.Weight].
func (w int8Weight) Matrix(x *Node) *Node {
	codes := products.Of(ConvertDType(after(x, w.codes), dtypes.Float32)).Matrix(x)
	return ConvertDType(Mul(codes, InsertAxes(w.scales, -1)), x.DType())
}

// codesAs are the codes in the dtype of x, which holds them exactly. A GPU with bfloat16
// converts them within products, so that nothing is made which could be kept; one
// without, in float16, may not.
func (w int8Weight) codesAs(x *Node) *Node {
	codes := w.codes
	if onHost(x) || x.DType() != dtypes.BFloat16 {
		codes = after(x, codes)
	}
	return ConvertDType(codes, x.DType())
}
