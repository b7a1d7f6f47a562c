//go:build linux && cgo && !noxla

package xlaplugin

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "pjrt.h"

PJRT_Error* xlapluginCompile(int number, void* args);

// PJRT's functions take no argument that could say which plugin is meant: each that is
// wrapped has a function of its own.
static PJRT_Error* compile0(void* args) { return xlapluginCompile(0, args); }
static PJRT_Error* compile1(void* args) { return xlapluginCompile(1, args); }
static PJRT_Error* compile2(void* args) { return xlapluginCompile(2, args); }
static PJRT_Error* compile3(void* args) { return xlapluginCompile(3, args); }

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

// wrapped returns a copy of the table that compiles by xlapluginCompile.
static PJRT_Api* wrapped(const PJRT_Api* api, int number) {
	static const PJRT_Function compile[] = {compile0, compile1, compile2, compile3};
	PJRT_Api* copy = malloc(api->struct_size);
	memcpy(copy, api, api->struct_size);
	copy->functions[PJRT_Client_Compile] = compile[number];
	return copy;
}

static PJRT_Error* call(const PJRT_Api* api, int function, void* args) { return api->functions[function](args); }

// compile compiles a text in place of that in args.
static PJRT_Error* compile(const PJRT_Api* api, PJRT_Client_Compile_Args* args, char* text, size_t size) {
	const PJRT_Program* given = args->program;
	PJRT_Program program = *given;
	program.struct_size = sizeof program;
	program.code = text;
	program.code_size = size;
	args->program = &program;
	PJRT_Error* error = call(api, PJRT_Client_Compile, args);
	args->program = given;
	return error;
}

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
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unsafe"

	"github.com/impulse-salamandra/finetune/internal/donation"
)

// wraps is what [Wrap] was told, and the plugins that are wrapped.
var wraps struct {
	sync.Mutex
	available func() map[string]string
	register  func(name string, api uintptr) error
	opts      Options
	plugins   []*plugin
}

// maxPlugins is how many there can be: see compile3.
const maxPlugins = 4

// plugin is one that is wrapped.
type plugin struct {
	name  string
	api   *C.PJRT_Api
	store *store // nil to keep no programs
	setup []byte // what programs depend on beside their text and options
}

// Wrap has every plugin that package device opens from here on wrapped. The first two
// arguments are pjrt.AvailablePlugins and pjrt.RegisterPreloadedPlugin of go-xla.
func Wrap(available func() map[string]string, register func(name string, api uintptr) error, opts Options) {
	wraps.Lock()
	defer wraps.Unlock()
	wraps.available, wraps.register, wraps.opts = available, register, opts
}

// Load wraps the plugin called name, such as "cpu" or "cuda", if [Wrap] was called, and
// reports whether it is wrapped. Package device calls it; a program that opens a
// backend by compute.NewWithConfig does so before. With an error a plugin that is wrapped
// keeps no programs, which is about the directory, and one that is not works without.
func Load(name string) (bool, error) {
	wraps.Lock()
	defer wraps.Unlock()
	if wraps.register == nil {
		return false, nil
	}
	for _, p := range wraps.plugins {
		if p.name == name {
			return true, nil
		}
	}
	path := wraps.available()[name]
	if !filepath.IsAbs(path) || len(wraps.plugins) == maxPlugins {
		return false, nil // linked into the program, or not there: go-xla says so
	}
	file := C.CString(path)
	defer C.free(unsafe.Pointer(file))
	p := &plugin{name: name, api: (*C.PJRT_Api)(unsafe.Pointer(C.open_plugin(file)))}
	if p.api == nil || C.has(p.api) == 0 {
		return false, nil // go-xla says what is wrong with it
	}
	if err := cudaData(name, path); err != nil {
		return false, fmt.Errorf("xlaplugin: %w", err)
	}
	var unkept error
	if name == "cpu" && !wraps.opts.Forget {
		p.store, p.setup, unkept = wraps.opts.open(path)
	}
	number := len(wraps.plugins)
	wraps.plugins = append(wraps.plugins, p)
	if err := wraps.register(name, uintptr(unsafe.Pointer(C.wrapped(p.api, C.int(number))))); err != nil {
		wraps.plugins = wraps.plugins[:number]
		return false, fmt.Errorf("xlaplugin: %s: %w", path, err)
	}
	return true, unkept
}

// cudaData says where CUDA's files are as go-xla does for a plugin that it loads itself.
func cudaData(name, path string) error {
	dir := filepath.Join(filepath.Dir(filepath.Dir(path)), "nvidia")
	flags := os.Getenv("XLA_FLAGS")
	if info, err := os.Stat(dir); !strings.Contains(name, "cuda") || err != nil || !info.IsDir() || strings.Contains(flags, "--xla_gpu_cuda_data_dir") {
		return nil
	}
	return os.Setenv("XLA_FLAGS", strings.TrimSpace(flags+" --xla_gpu_cuda_data_dir="+dir))
}

// xlapluginCompile takes the place of PJRT_Client_Compile.
//
//export xlapluginCompile
func xlapluginCompile(number C.int, args unsafe.Pointer) *C.PJRT_Error {
	wraps.Lock()
	p := wraps.plugins[number]
	wraps.Unlock()
	return p.compile((*C.PJRT_Client_Compile_Args)(args))
}

func (p *plugin) compile(args *C.PJRT_Client_Compile_Args) *C.PJRT_Error {
	of := func(p *C.char, n C.size_t) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(p)), int(n)) }
	text := of(args.program.code, args.program.code_size)
	if string(of(args.program.format, args.program.format_size)) == "mlir" {
		text = donation.Alias(text)
	}
	compile := func() *C.PJRT_Error {
		return C.compile(p.api, args, (*C.char)(unsafe.Pointer(unsafe.SliceData(text))), C.size_t(len(text)))
	}
	if p.store == nil {
		return compile()
	}
	key := key(p.setup, of(args.options, args.options_size), of(args.program.format, args.program.format_size), text)
	if program := p.store.read(key); program != nil {
		if args.executable = C.load(p.api, args.client, (*C.char)(unsafe.Pointer(&program[0])), C.size_t(len(program))); args.executable != nil {
			return nil
		}
	}
	if err := compile(); err != nil {
		return err
	}
	if s := C.serialize(p.api, args.executable); s.bytes != nil {
		defer C.release(s)
		_ = p.store.write(key, of(s.bytes, s.size)) // else it is compiled again
	}
	return nil
}
