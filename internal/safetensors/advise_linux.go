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

// startWriteback has the system begin to write a part of a file to disk, so
// that there is less left to wait for when the file is synced.
func startWriteback(file *os.File, begin, n int64) {
	const write = 2                                        // SYNC_FILE_RANGE_WRITE
	syscall.SyncFileRange(int(file.Fd()), begin, n, write) // only advice
}
