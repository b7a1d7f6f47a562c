"""Writes small.gguf with the reference implementation (package gguf)."""

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFWriter, quants

w = GGUFWriter("small.gguf", "llama")
w.add_bool("a.bool", True)
w.add_int32("a.int32", -5)
w.add_uint32("a.uint32", 4000000000)
w.add_uint64("a.uint64", 1 << 40)
w.add_float32("a.float32", 0.1)
w.add_string("a.string", "▁olá")
w.add_array("a.ints", [1, -2, 3])
w.add_array("a.floats", [0.5, -1.5])
w.add_array("a.strings", ["", "x", "▁y"])

i = np.arange(3 * 64)
values = (((i * i * 37 + i * 11) % 1009 - 504) / 64).astype(np.float32)
values[:32] = 0  # a block without a scale
values[32:64] = np.arange(32) - 15.5  # with scale 1, halves to be rounded
values[32] = 127
values = values.reshape(3, 64)
w.add_tensor("vector", values[2])
w.add_tensor("f32", values)
w.add_tensor("odd", values.reshape(-1)[:33])
w.add_tensor("f16", values.astype(np.float16))
w.add_tensor("bf16", quants.quantize(values, T.BF16), raw_dtype=T.BF16)
w.add_tensor("q8_0", quants.quantize(values, T.Q8_0), raw_dtype=T.Q8_0)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
