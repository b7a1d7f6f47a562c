package simd

// wholeTile is tile where b is of whole numbers. It says false, and has done nothing,
// where there is no kernel for it.
func wholeTile(rows int, c []float32, ldc int, a []float32, lda int, b []int8, k int, add bool) bool {
	if !vectors {
		return false
	}
	_, _, _ = c[(rows-1)*ldc+tileColumns-1], a[(rows-1)*lda+k-1], b[k*tileColumns-1]
	switch rows {
	case 1:
		whole1(&c[0], ldc, &a[0], lda, &b[0], k, add)
	case 2:
		whole2(&c[0], ldc, &a[0], lda, &b[0], k, add)
	case 3:
		whole3(&c[0], ldc, &a[0], lda, &b[0], k, add)
	case 4:
		whole4(&c[0], ldc, &a[0], lda, &b[0], k, add)
	case 5:
		whole5(&c[0], ldc, &a[0], lda, &b[0], k, add)
	default:
		whole6(&c[0], ldc, &a[0], lda, &b[0], k, add)
	}
	return true
}

//go:noescape
func whole1(c *float32, ldc int, a *float32, lda int, b *int8, k int, add bool)

//go:noescape
func whole2(c *float32, ldc int, a *float32, lda int, b *int8, k int, add bool)

//go:noescape
func whole3(c *float32, ldc int, a *float32, lda int, b *int8, k int, add bool)

//go:noescape
func whole4(c *float32, ldc int, a *float32, lda int, b *int8, k int, add bool)

//go:noescape
func whole5(c *float32, ldc int, a *float32, lda int, b *int8, k int, add bool)

//go:noescape
func whole6(c *float32, ldc int, a *float32, lda int, b *int8, k int, add bool)
