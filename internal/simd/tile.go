//go:build amd64 || arm64

package simd

// tile is c [rows, 16] = or += a [rows, k] · b [k, 16] for one to six rows.
func tile(rows int, c []float32, ldc int, a []float32, lda int, b []float32, k int, add bool) {
	if !vectors {
		tileGo(rows, c, ldc, a, lda, b, k, add)
		return
	}
	_, _, _ = c[(rows-1)*ldc+tileColumns-1], a[(rows-1)*lda+k-1], b[k*tileColumns-1]
	switch rows {
	case 1:
		tile1(&c[0], ldc, &a[0], lda, &b[0], k, add)
	case 2:
		tile2(&c[0], ldc, &a[0], lda, &b[0], k, add)
	case 3:
		tile3(&c[0], ldc, &a[0], lda, &b[0], k, add)
	case 4:
		tile4(&c[0], ldc, &a[0], lda, &b[0], k, add)
	case 5:
		tile5(&c[0], ldc, &a[0], lda, &b[0], k, add)
	default:
		tile6(&c[0], ldc, &a[0], lda, &b[0], k, add)
	}
}

//go:noescape
func tile1(c *float32, ldc int, a *float32, lda int, b *float32, k int, add bool)

//go:noescape
func tile2(c *float32, ldc int, a *float32, lda int, b *float32, k int, add bool)

//go:noescape
func tile3(c *float32, ldc int, a *float32, lda int, b *float32, k int, add bool)

//go:noescape
func tile4(c *float32, ldc int, a *float32, lda int, b *float32, k int, add bool)

//go:noescape
func tile5(c *float32, ldc int, a *float32, lda int, b *float32, k int, add bool)

//go:noescape
func tile6(c *float32, ldc int, a *float32, lda int, b *float32, k int, add bool)
