// A PJRT plugin of a CUDA device that does not exist. It writes every program it
// is asked to compile to the directory $RECORD_DIR and executes nothing: results
// have the shapes that the program states, and read as ones where they are
// float32, as zeros otherwise. So a real Trainer or Generator runs over shapes,
// and its programs can be given to XLA's compiler, which needs no device.
// RECORD_DEVICES of them, 1 by default, can share a program.

#include "pjrt_c_api.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { max_rank = 8 };

typedef struct {
  PJRT_Buffer_Type type;
  size_t rank;
  int64_t dims[max_rank];
} Shape;

struct PJRT_Error { char text[512]; };
struct PJRT_Client { int unused; };
struct PJRT_DeviceDescription { int id; };
struct PJRT_Device { PJRT_DeviceDescription description; };
struct PJRT_Event { int unused; };
struct PJRT_Buffer { Shape shape; PJRT_Device *device; };
struct PJRT_Executable {
  char *path;  // of the program, without its extension
  size_t n_outputs;
  Shape *outputs;
};
struct PJRT_LoadedExecutable { PJRT_Executable *executable; };

static PJRT_Client the_client;
enum { max_devices = 16 };
static PJRT_Device all_devices[max_devices];
static PJRT_Device *devices[max_devices];
static size_t n_devices;
static int programs;

static PJRT_Error *failed(const char *what, const char *about) {
  PJRT_Error *e = calloc(1, sizeof *e);
  snprintf(e->text, sizeof e->text, "%s: %.300s", what, about);
  return e;
}

// Element types as StableHLO writes them.
static const struct { const char *name; PJRT_Buffer_Type type; size_t bytes; } types[] = {
    {"i1", PJRT_Buffer_Type_PRED, 1},   {"i8", PJRT_Buffer_Type_S8, 1},     {"i16", PJRT_Buffer_Type_S16, 2},
    {"i32", PJRT_Buffer_Type_S32, 4},   {"i64", PJRT_Buffer_Type_S64, 8},   {"ui8", PJRT_Buffer_Type_U8, 1},
    {"ui16", PJRT_Buffer_Type_U16, 2},  {"ui32", PJRT_Buffer_Type_U32, 4},  {"ui64", PJRT_Buffer_Type_U64, 8},
    {"f16", PJRT_Buffer_Type_F16, 2},   {"f32", PJRT_Buffer_Type_F32, 4},   {"f64", PJRT_Buffer_Type_F64, 8},
    {"bf16", PJRT_Buffer_Type_BF16, 2}, {"i4", PJRT_Buffer_Type_S4, 1},     {"ui4", PJRT_Buffer_Type_U4, 1},
};
enum { n_types = sizeof types / sizeof types[0] };

static size_t bytes_of(const Shape *s) {
  size_t n = 0;
  for (int i = 0; i < n_types; i++)
    if (types[i].type == s->type) n = types[i].bytes;
  for (size_t i = 0; i < s->rank; i++) n *= s->dims[i];
  return n;
}

// parse_tensor reads "2x3xbf16>" and returns what follows it, NULL if it is
// something else.
static const char *parse_tensor(const char *p, Shape *s) {
  s->rank = 0;
  while (isdigit((unsigned char)*p)) {
    char *end;
    int64_t n = strtoll(p, &end, 10);
    if (*end != 'x' || s->rank == max_rank) return NULL;
    s->dims[s->rank++] = n;
    p = end + 1;
  }
  size_t n = strcspn(p, ",>");
  for (int i = 0; i < n_types; i++)
    if (strlen(types[i].name) == n && !strncmp(types[i].name, p, n)) {
      s->type = types[i].type;
      return strchr(p, '>');
    }
  return NULL;
}

// parse_outputs reads the results of the function main of a program's text.
static int parse_outputs(const char *text, PJRT_Executable *e) {
  const char *p = strstr(text, "@main(");
  if (!p || !(p = strstr(p, ") ->"))) return 0;
  const char *end = strstr(p, " {\n");
  if (!end) return 0;
  while ((p = strstr(p, "tensor<")) && p < end) {
    e->outputs = realloc(e->outputs, (e->n_outputs + 1) * sizeof(Shape));
    if (!(p = parse_tensor(p + 7, &e->outputs[e->n_outputs++]))) return 0;
  }
  return e->n_outputs > 0;
}

// name_of copies the name of a program's module into name.
static void name_of(const char *text, char *name, size_t room) {
  const char *p = strstr(text, "module @");
  size_t n = 0;
  if (p)
    for (p += 8; n + 1 < room && (isalnum((unsigned char)*p) || strchr("_=-.", *p)); p++) name[n++] = *p;
  name[n] = 0;
}

static PJRT_Error *compile(PJRT_Client_Compile_Args *a) {
  const char *dir = getenv("RECORD_DIR");
  if (!dir) return failed("no directory for programs", "set RECORD_DIR");
  char *text = malloc(a->program->code_size + 1);
  memcpy(text, a->program->code, a->program->code_size);
  text[a->program->code_size] = 0;

  PJRT_Executable *e = calloc(1, sizeof *e);
  char name[200];
  name_of(text, name, sizeof name);
  size_t room = strlen(dir) + sizeof name + 32;
  e->path = malloc(room);
  snprintf(e->path, room, "%s/%03d-%s", dir, __sync_add_and_fetch(&programs, 1), name);
  if (!parse_outputs(text, e)) return failed("results of a program that cannot be read", text);

  char *path = malloc(room + 8);
  snprintf(path, room + 8, "%s.mlir", e->path);
  FILE *f = fopen(path, "w");
  if (!f || fwrite(text, 1, a->program->code_size, f) != a->program->code_size || fclose(f)) return failed("cannot be written", path);
  free(path);
  free(text);
  a->executable = calloc(1, sizeof *a->executable);
  a->executable->executable = e;
  return NULL;
}

static PJRT_Buffer *new_buffer(const Shape *s, PJRT_Device *device) {
  PJRT_Buffer *b = calloc(1, sizeof *b);
  b->shape = *s;
  b->device = device;
  return b;
}

static PJRT_Event *new_event(void) { return calloc(1, sizeof(PJRT_Event)); }

static PJRT_Error *execute(PJRT_LoadedExecutable_Execute_Args *a) {
  PJRT_Executable *e = a->executable->executable;
  for (size_t d = 0; d < a->num_devices; d++) {
    for (size_t i = 0; i < e->n_outputs; i++) a->output_lists[d][i] = new_buffer(&e->outputs[i], a->execute_device ? a->execute_device : devices[d]);
    if (a->device_complete_events) a->device_complete_events[d] = new_event();
  }
  return NULL;
}

static PJRT_Error *from_host(PJRT_Client_BufferFromHostBuffer_Args *a) {
  Shape s = {.type = a->type, .rank = a->num_dims};
  if (s.rank > max_rank) return failed("a tensor of too many axes", "from the host");
  for (size_t i = 0; i < s.rank; i++) s.dims[i] = a->dims[i];
  a->buffer = new_buffer(&s, a->device);
  a->done_with_host_buffer = new_event();
  return NULL;
}

static PJRT_Error *to_host(PJRT_Buffer_ToHostBuffer_Args *a) {
  size_t n = bytes_of(&a->src->shape);
  if (!a->dst) {
    a->dst_size = n;
    return NULL;
  }
  if (a->dst_size < n) return failed("too little room", "to the host");
  memset(a->dst, 0, n);
  if (a->src->shape.type == PJRT_Buffer_Type_F32)
    for (size_t i = 0; i < n / 4; i++) ((float *)a->dst)[i] = 1;
  a->event = new_event();
  return NULL;
}

static void error_destroy(PJRT_Error_Destroy_Args *a) { free(a->error); }
static void error_message(PJRT_Error_Message_Args *a) {
  a->message = a->error->text;
  a->message_size = strlen(a->error->text);
}
static PJRT_Error *error_code(PJRT_Error_GetCode_Args *a) { a->code = PJRT_Error_Code_INTERNAL; return NULL; }
static PJRT_Error *plugin_initialize(PJRT_Plugin_Initialize_Args *a) { return NULL; }
static PJRT_Error *plugin_attributes(PJRT_Plugin_Attributes_Args *a) { a->num_attributes = 0; return NULL; }
static PJRT_Error *event_destroy(PJRT_Event_Destroy_Args *a) { free(a->event); return NULL; }
static PJRT_Error *event_await(PJRT_Event_Await_Args *a) { return NULL; }
static PJRT_Error *client_create(PJRT_Client_Create_Args *a) {
  const char *n = getenv("RECORD_DEVICES");
  n_devices = n ? (size_t)atoi(n) : 1;
  if (n_devices < 1 || n_devices > max_devices) return failed("RECORD_DEVICES is not from 1 to 16", n);
  for (size_t i = 0; i < n_devices; i++) {
    all_devices[i].description.id = (int)i;
    devices[i] = &all_devices[i];
  }
  a->client = &the_client;
  return NULL;
}
static PJRT_Error *client_destroy(PJRT_Client_Destroy_Args *a) { return NULL; }
static PJRT_Error *client_platform(PJRT_Client_PlatformName_Args *a) {
  a->platform_name = "cuda";
  a->platform_name_size = 4;
  return NULL;
}
static PJRT_Error *client_version(PJRT_Client_PlatformVersion_Args *a) {
  a->platform_version = "recorder";
  a->platform_version_size = 8;
  return NULL;
}
static PJRT_Error *client_process(PJRT_Client_ProcessIndex_Args *a) { a->process_index = 0; return NULL; }
static PJRT_Error *client_devices(PJRT_Client_Devices_Args *a) {
  a->devices = devices;
  a->num_devices = n_devices;
  return NULL;
}
static PJRT_Error *client_addressable(PJRT_Client_AddressableDevices_Args *a) {
  a->addressable_devices = devices;
  a->num_addressable_devices = n_devices;
  return NULL;
}
static PJRT_Error *client_assignment(PJRT_Client_DefaultDeviceAssignment_Args *a) {
  for (size_t i = 0; i < a->default_assignment_size; i++) a->default_assignment[i] = (int)i;
  return NULL;
}
static PJRT_Error *device_id(PJRT_Device_LocalHardwareId_Args *a) { a->local_hardware_id = a->device->description.id; return NULL; }
static PJRT_Error *description_id(PJRT_DeviceDescription_Id_Args *a) { a->id = a->device_description->id; return NULL; }
static PJRT_Error *device_addressable(PJRT_Device_IsAddressable_Args *a) { a->is_addressable = 1; return NULL; }
static PJRT_Error *device_description(PJRT_Device_GetDescription_Args *a) { a->device_description = &a->device->description; return NULL; }
static PJRT_Error *description_process(PJRT_DeviceDescription_ProcessIndex_Args *a) { a->process_index = 0; return NULL; }
static PJRT_Error *description_text(PJRT_DeviceDescription_DebugString_Args *a) {
  a->debug_string = "recorder";
  a->debug_string_size = 8;
  return NULL;
}
static PJRT_Error *loaded_executable(PJRT_LoadedExecutable_GetExecutable_Args *a) { a->executable = a->loaded_executable->executable; return NULL; }
static PJRT_Error *loaded_destroy(PJRT_LoadedExecutable_Destroy_Args *a) { free(a->executable); return NULL; }
static PJRT_Error *executable_destroy(PJRT_Executable_Destroy_Args *a) {
  free(a->executable->path);
  free(a->executable->outputs);
  free(a->executable);
  return NULL;
}
static PJRT_Error *executable_name(PJRT_Executable_Name_Args *a) {
  a->executable_name = a->executable->path;
  a->executable_name_size = strlen(a->executable->path);
  return NULL;
}
static PJRT_Error *executable_outputs(PJRT_Executable_NumOutputs_Args *a) { a->num_outputs = a->executable->n_outputs; return NULL; }
static PJRT_Error *executable_memory(PJRT_Executable_GetCompiledMemoryStats_Args *a) { return NULL; }
static PJRT_Error *buffer_destroy(PJRT_Buffer_Destroy_Args *a) { free(a->buffer); return NULL; }
static PJRT_Error *buffer_dims(PJRT_Buffer_Dimensions_Args *a) {
  a->dims = a->buffer->shape.dims;
  a->num_dims = a->buffer->shape.rank;
  return NULL;
}
static PJRT_Error *buffer_type(PJRT_Buffer_ElementType_Args *a) { a->type = a->buffer->shape.type; return NULL; }
static PJRT_Error *buffer_device(PJRT_Buffer_Device_Args *a) { a->device = a->buffer->device; return NULL; }

static PJRT_Error *buffer_copy(PJRT_Buffer_CopyToDevice_Args *a) {
  a->dst_buffer = new_buffer(&a->buffer->shape, a->dst_device);
  return NULL;
}

static PJRT_Api api = {
    .struct_size = PJRT_Api_STRUCT_SIZE,
    .pjrt_api_version = {.struct_size = PJRT_Api_Version_STRUCT_SIZE, .major_version = PJRT_API_MAJOR, .minor_version = PJRT_API_MINOR},
    .PJRT_Error_Destroy = error_destroy,
    .PJRT_Error_Message = error_message,
    .PJRT_Error_GetCode = error_code,
    .PJRT_Plugin_Initialize = plugin_initialize,
    .PJRT_Plugin_Attributes = plugin_attributes,
    .PJRT_Event_Destroy = event_destroy,
    .PJRT_Event_Await = event_await,
    .PJRT_Client_Create = client_create,
    .PJRT_Client_Destroy = client_destroy,
    .PJRT_Client_PlatformName = client_platform,
    .PJRT_Client_PlatformVersion = client_version,
    .PJRT_Client_ProcessIndex = client_process,
    .PJRT_Client_Devices = client_devices,
    .PJRT_Client_AddressableDevices = client_addressable,
    .PJRT_Client_DefaultDeviceAssignment = client_assignment,
    .PJRT_Client_Compile = compile,
    .PJRT_Client_BufferFromHostBuffer = from_host,
    .PJRT_Device_LocalHardwareId = device_id,
    .PJRT_Device_IsAddressable = device_addressable,
    .PJRT_Device_GetDescription = device_description,
    .PJRT_DeviceDescription_Id = description_id,
    .PJRT_DeviceDescription_ProcessIndex = description_process,
    .PJRT_DeviceDescription_DebugString = description_text,
    .PJRT_LoadedExecutable_GetExecutable = loaded_executable,
    .PJRT_LoadedExecutable_Destroy = loaded_destroy,
    .PJRT_LoadedExecutable_Execute = execute,
    .PJRT_Executable_Destroy = executable_destroy,
    .PJRT_Executable_Name = executable_name,
    .PJRT_Executable_NumOutputs = executable_outputs,
    .PJRT_Executable_GetCompiledMemoryStats = executable_memory,
    .PJRT_Buffer_Destroy = buffer_destroy,
    .PJRT_Buffer_Dimensions = buffer_dims,
    .PJRT_Buffer_ElementType = buffer_type,
    .PJRT_Buffer_Device = buffer_device,
    .PJRT_Buffer_CopyToDevice = buffer_copy,
    .PJRT_Buffer_ToHostBuffer = to_host,
};

const PJRT_Api *GetPjrtApi(void) { return &api; }
