//go:build mpi && cgo

package mpi

// #cgo pkg-config: mpi
// #include <mpi.h>
// #include <stdlib.h>
//
// // MPI's constants may be macros that cgo cannot read.
// static MPI_Comm world(void) { return MPI_COMM_WORLD; }
// static int start(void) { int has; return MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &has); }
// static int errorsReturn(void) { return MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); }
// static int isend(void *data, int n, int to, int tag, MPI_Request *r) { return MPI_Isend(data, n, MPI_BYTE, to, tag, MPI_COMM_WORLD, r); }
// static int irecv(void *data, int n, int from, int tag, MPI_Request *r) { return MPI_Irecv(data, n, MPI_BYTE, from, tag, MPI_COMM_WORLD, r); }
// static int test(MPI_Request *r, int *done) { return MPI_Test(r, done, MPI_STATUS_IGNORE); }
// // probe gives the source and the size of a message that has come.
// static int probe(int from, int tag, int *found, int *source, int *n) {
//   MPI_Status s;
//   int err = MPI_Iprobe(from < 0 ? MPI_ANY_SOURCE : from, tag, MPI_COMM_WORLD, found, &s);
//   if (err == MPI_SUCCESS && *found) { *source = s.MPI_SOURCE; err = MPI_Get_count(&s, MPI_BYTE, n); }
//   return err;
// }
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

// tags of messages.
const (
	tagData = iota
	tagBeat
	tagEnd
	tagHost
)

// transfer is a message on its way. The memory stays where it is until it is done.
type transfer struct {
	request *C.MPI_Request
	data    []byte
	pinned  runtime.Pinner
}

// check is the error of a call's return code.
func check(call string, code C.int) error {
	if code == C.MPI_SUCCESS {
		return nil
	}
	text := make([]C.char, C.MPI_MAX_ERROR_STRING)
	var n C.int
	C.MPI_Error_string(code, &text[0], &n)
	return fmt.Errorf("%s: %s", call, C.GoStringN(&text[0], n))
}

func initialise() (rank, size int, err error) {
	if err := check("MPI_Init_thread", C.start()); err != nil {
		return 0, 0, err
	}
	var r, n C.int
	for _, code := range []C.int{C.errorsReturn(), C.MPI_Comm_rank(C.world(), &r), C.MPI_Comm_size(C.world(), &n)} {
		if err := check("MPI_Comm", code); err != nil {
			return 0, 0, err
		}
	}
	return int(r), int(n), nil
}

func finalise() error { return check("MPI_Finalize", C.MPI_Finalize()) }

// abort ends all processes, this one too.
func abort() { C.MPI_Abort(C.world(), 1) }

// begin begins a transfer by one of MPI's calls.
func begin(data []byte, call func(p unsafe.Pointer, n C.int, r *C.MPI_Request) C.int) (*transfer, error) {
	t := &transfer{request: (*C.MPI_Request)(C.malloc(C.sizeof_MPI_Request)), data: data}
	var p unsafe.Pointer
	if len(data) > 0 {
		t.pinned.Pin(&data[0])
		p = unsafe.Pointer(&data[0])
	}
	if err := check("MPI_Isend or MPI_Irecv", call(p, C.int(len(data)), t.request)); err != nil {
		t.free()
		return nil, err
	}
	return t, nil
}

func isend(data []byte, to, tag int) (*transfer, error) {
	return begin(data, func(p unsafe.Pointer, n C.int, r *C.MPI_Request) C.int {
		return C.isend(p, n, C.int(to), C.int(tag), r)
	})
}

func irecv(data []byte, from, tag int) (*transfer, error) {
	return begin(data, func(p unsafe.Pointer, n C.int, r *C.MPI_Request) C.int {
		return C.irecv(p, n, C.int(from), C.int(tag), r)
	})
}

// done reports whether a transfer is complete; it is freed then.
func (t *transfer) done() (bool, error) {
	var done C.int
	err := check("MPI_Test", C.test(t.request, &done))
	if done != 0 || err != nil {
		t.free()
	}
	return done != 0, err
}

func (t *transfer) free() {
	t.pinned.Unpin()
	C.free(unsafe.Pointer(t.request))
}

// probe reports whether there is a message of a process, or of any for -1, and its
// source and length.
func probe(from, tag int) (found bool, source, n int, err error) {
	var cFound, cSource, cN C.int
	err = check("MPI_Iprobe", C.probe(C.int(from), C.int(tag), &cFound, &cSource, &cN))
	return cFound != 0, int(cSource), int(cN), err
}
