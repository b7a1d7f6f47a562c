package quantize

import (
	"runtime"
	"sync"
)

// blocks is how many blocks of a size n things make.
func blocks(n, size int) int { return (n + size - 1) / size }

// block is block b of values.
func block[T any](values []T, b, size int) []T {
	return values[b*size : min(len(values), (b+1)*size)]
}

// inParallel calls f with 0 to n-1 on all cores.
func inParallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w * n / workers; i < (w+1)*n/workers; i++ {
				f(i)
			}
		})
	}
	all.Wait()
}
