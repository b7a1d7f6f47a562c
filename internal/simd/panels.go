package simd

import "encoding/binary"

// PanelColumns are the columns of a panel; see [Matrix].
const PanelColumns = tileColumns

// ToPanels lays a matrix Wᵀ out in panels: of W [out, in] by rows, elements of size
// bytes, 1, 2 or 4. out is a multiple of [PanelColumns]. The result is
// [out/16, in, 16].
func ToPanels(weight []byte, in, size int) []byte {
	panels, n := make([]byte, len(weight)), PanelColumns*in*size
	Parallel(len(weight)/n, func(i int) {
		to, from := panels[i*n:(i+1)*n], weight[i*n:(i+1)*n]
		for c := range PanelColumns {
			row := from[c*in*size:][:in*size]
			for j := range in {
				switch at := to[(j*PanelColumns+c)*size:]; size {
				case 1:
					at[0] = row[j]
				case 2:
					binary.NativeEndian.PutUint16(at, binary.NativeEndian.Uint16(row[2*j:]))
				default:
					binary.NativeEndian.PutUint32(at, binary.NativeEndian.Uint32(row[4*j:]))
				}
			}
		}
	})
	return panels
}
