// What this package needs of PJRT's C interface (openxla/xla, xla/pjrt/c/pjrt_c_api.h),
// version 0: a table of functions to which versions only append, and structures of
// arguments that begin with their size.

#include <stddef.h>

typedef struct PJRT_Error PJRT_Error;
typedef PJRT_Error* (*PJRT_Function)(void* args);

// Places in the table, counted after the version.
enum {
	PJRT_Error_Destroy = 0,
	PJRT_Error_Message = 1,
	PJRT_Client_Compile = 20,
	PJRT_Executable_Destroy = 40,
	PJRT_Executable_Serialize = 49,
	PJRT_LoadedExecutable_GetExecutable = 51,
	PJRT_Executable_DeserializeAndLoad = 56,
};

typedef struct {
	size_t struct_size;
	void* extension;
	struct { size_t struct_size; void* extension; int major, minor; } version;
	PJRT_Function functions[];
} PJRT_Api;

typedef struct {
	size_t struct_size;
	void* extension;
	char* code;
	size_t code_size;
	const char* format;
	size_t format_size;
} PJRT_Program;

typedef struct {
	size_t struct_size;
	void* extension;
	void* client;
	const PJRT_Program* program;
	const char* options;
	size_t options_size;
	void* executable; // out
} PJRT_Client_Compile_Args;

typedef struct {
	size_t struct_size;
	void* extension;
	void* loaded;
	void* executable; // out
} PJRT_LoadedExecutable_GetExecutable_Args;

typedef struct {
	size_t struct_size;
	void* extension;
	void* executable;
} PJRT_Executable_Destroy_Args;

typedef struct {
	size_t struct_size;
	void* extension;
	const void* executable;
	const char* bytes; // out, owned by holder
	size_t size;       // out
	void* holder;      // out
	void (*release)(void* holder); // out
} PJRT_Executable_Serialize_Args;

typedef struct {
	size_t struct_size;
	void* extension;
	void* client;
	const char* bytes;
	size_t size;
	void* loaded; // out
	const char* options; // in place of those of the executable
	size_t options_size;
} PJRT_Executable_DeserializeAndLoad_Args;

typedef struct {
	size_t struct_size;
	void* extension;
	PJRT_Error* error;
} PJRT_Error_Destroy_Args;

typedef struct {
	size_t struct_size;
	void* extension;
	PJRT_Error* error;
	const char* message; // out
	size_t size;         // out
} PJRT_Error_Message_Args;
