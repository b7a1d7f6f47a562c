//go:build linux && cgo && !noxla

package xlacache

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "pjrt.h"

PJRT_Error* xlacacheCompile(void* args);

// open returns the table of a plugin, or NULL.
static const PJRT_Api* open_plugin(const char* path) {
	void* handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!handle) return NULL;
	const PJRT_Api* (*get)(void) = (const PJRT_Api* (*)(void))dlsym(handle, "GetPjrtApi");
	return get ? get() : NULL;
}

// has reports whether the table reaches as far as this package needs.
static int has(const PJRT_Api* api) {
	return api->version.major == 0 && api->struct_size >= offsetof(PJRT_Api, functions) + (PJRT_Executable_DeserializeAndLoad + 1) * sizeof(PJRT_Function);
}

// keeping returns a copy of the table that compiles by xlacacheCompile.
static PJRT_Api* keeping(const PJRT_Api* api) {
	PJRT_Api* copy = malloc(api->struct_size);
	memcpy(copy, api, api->struct_size);
	copy->functions[PJRT_Client_Compile] = xlacacheCompile;
	return copy;
}

static PJRT_Error* call(const PJRT_Api* api, int function, void* args) { return api->functions[function](args); }

// drop frees an error and reports whether there was one.
static int drop(const PJRT_Api* api, PJRT_Error* error) {
	if (!error) return 0;
	PJRT_Error_Destroy_Args args = {sizeof args, NULL, error};
	api->functions[PJRT_Error_Destroy](&args);
	return 1;
}

static void* load(const PJRT_Api* api, void* client, const char* bytes, size_t size) {
	PJRT_Executable_DeserializeAndLoad_Args args = {sizeof args, NULL, client, bytes, size};
	return drop(api, call(api, PJRT_Executable_DeserializeAndLoad, &args)) ? NULL : args.loaded;
}

// serialize makes bytes of a compiled program, which release frees; NULL if the
// plugin cannot.
static PJRT_Executable_Serialize_Args serialize(const PJRT_Api* api, void* loaded) {
	PJRT_Executable_Serialize_Args none = {0};
	PJRT_LoadedExecutable_GetExecutable_Args of = {sizeof of, NULL, loaded};
	if (drop(api, call(api, PJRT_LoadedExecutable_GetExecutable, &of))) return none;
	PJRT_Executable_Serialize_Args args = {sizeof args, NULL, of.executable};
	int failed = drop(api, call(api, PJRT_Executable_Serialize, &args));
	PJRT_Executable_Destroy_Args done = {sizeof done, NULL, of.executable};
	drop(api, call(api, PJRT_Executable_Destroy, &done));
	return failed ? none : args;
}

static void release(PJRT_Executable_Serialize_Args args) { args.release(args.holder); }
*/
import "C"

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"unsafe"
)

// kept is the plugin whose programs are kept: PJRT's functions take no argument
// that could say it.
var kept struct {
	sync.Mutex
	api   *C.PJRT_Api
	store store
	setup []byte // what programs depend on beside their text and options
}

// Keep has the plugin called name, which is the file at path, keep the programs
// that it compiles, and finds those that were kept before. It is to be called once,
// before the first backend is opened; register is pjrt.RegisterPreloadedPlugin of
// go-xla. It reports whether it keeps anything: not for a plugin that cannot hand
// out its programs, nor where the package does nothing. On an error nothing is
// changed.
func Keep(name, path string, opts Options, register func(name string, api uintptr) error) (bool, error) {
	if err := opts.settle(); err != nil {
		return false, err
	}
	setup, err := setupOf(path)
	if err != nil {
		return false, err
	}
	kept.Lock()
	defer kept.Unlock()
	if kept.api != nil {
		return false, fmt.Errorf("xlacache: the programs of one plugin are kept already")
	}
	file := C.CString(path)
	defer C.free(unsafe.Pointer(file))
	api := C.open_plugin(file)
	if api == nil || C.has(api) == 0 {
		return false, nil // go-xla says what is wrong with it
	}
	kept.api, kept.store, kept.setup = (*C.PJRT_Api)(unsafe.Pointer(api)), store{opts.Dir, opts.Bytes}, setup
	return true, register(name, uintptr(unsafe.Pointer(C.keeping(api))))
}

// setupOf is what programs depend on beside their text and the compiler's options.
func setupOf(plugin string) ([]byte, error) {
	info, err := os.Stat(plugin)
	if err != nil {
		return nil, fmt.Errorf("xlacache: %w", err)
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return nil, fmt.Errorf("xlacache: %w", err)
	}
	var setup bytes.Buffer
	fmt.Fprintf(&setup, "1 %s %d %d %d %s\n", plugin, info.Size(), info.ModTime().UnixNano(), runtime.NumCPU(), os.Getenv("XLA_FLAGS"))
	for line := range bytes.Lines(cpu) {
		of, _, _ := bytes.Cut(line, []byte{'\t'})
		if slices.Contains([]string{"vendor_id", "cpu family", "model", "model name", "stepping", "flags", "CPU part", "Features"}, string(of)) {
			setup.Write(line)
		}
		if len(bytes.TrimSpace(line)) == 0 { // the other processors are alike
			break
		}
	}
	return setup.Bytes(), nil
}

// xlacacheCompile takes the place of PJRT_Client_Compile.
//
//export xlacacheCompile
func xlacacheCompile(p unsafe.Pointer) *C.PJRT_Error {
	args := (*C.PJRT_Client_Compile_Args)(p)
	of := func(p *C.char, n C.size_t) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n)) }
	key := key(kept.setup, of(args.options, args.options_size), of(args.program.format, args.program.format_size), of(args.program.code, args.program.code_size))
	if program := kept.store.read(key); program != nil {
		if args.executable = C.load(kept.api, args.client, (*C.char)(unsafe.Pointer(&program[0])), C.size_t(len(program))); args.executable != nil {
			return nil
		}
	}
	if err := C.call(kept.api, C.PJRT_Client_Compile, p); err != nil {
		return err
	}
	if s := C.serialize(kept.api, args.executable); s.bytes != nil {
		defer C.release(s)
		_ = kept.store.write(key, of(s.bytes, s.size)) // else it is compiled again
	}
	return nil
}
