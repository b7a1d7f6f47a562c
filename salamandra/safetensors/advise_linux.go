package safetensors

import (
	"os"
	"syscall"
)

// release drops the pages that lie wholly within [begin, end) of a shared
// mapping of a file; the file keeps their content.
func release(mapped []byte, begin, end int) {
	page := os.Getpagesize()
	begin, end = (begin+page-1)/page*page, end/page*page
	if begin < end {
		syscall.Madvise(mapped[begin:end], syscall.MADV_DONTNEED) // only advice
	}
}
