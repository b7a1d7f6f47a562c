package simd

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Parallel calls work for 0 to n-1, on as many processors as there are.
func Parallel(n int, work func(i int)) {
	helpers := min(n, runtime.GOMAXPROCS(0)) - 1
	if helpers <= 0 {
		for i := range n {
			work(i)
		}
		return
	}
	var next atomic.Int64
	loop := func() {
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			work(int(i))
		}
	}
	var done sync.WaitGroup
	for range helpers {
		done.Go(loop)
	}
	loop()
	done.Wait()
}

// Ranges cuts 0 to n into ranges of at least grain, which it deals to the processors.
// Where the cuts are depends on n and grain alone.
func Ranges(n, grain int, work func(from, to int)) {
	pieces := min(n/max(grain, 1), 64)
	if pieces <= 1 {
		if n > 0 {
			work(0, n)
		}
		return
	}
	Parallel(pieces, func(i int) { work(i*n/pieces, (i+1)*n/pieces) })
}
