"""Writes every_dtype.safetensors with the reference implementation.

    python make_testdata.py

Needs torch and safetensors; the README says which versions made the file.
"""
import torch
from safetensors.torch import save_file

special = torch.tensor([0.0, -0.0, 1.0, -2.5, 6e-8, float("inf"), float("-inf"), float("nan")])
dtypes = {
    "f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16,
    "f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2,
}
tensors = {name: special.to(dtype).reshape(2, 4) for name, dtype in dtypes.items()}
for name, dtype in {
    "i64": torch.int64, "i32": torch.int32, "i16": torch.int16, "i8": torch.int8,
    "u64": torch.uint64, "u32": torch.uint32, "u16": torch.uint16, "u8": torch.uint8,
}.items():
    tensors[name] = torch.tensor([0, 1, 127], dtype=dtype)
tensors["bool"] = torch.tensor([True, False, True])
tensors["scalar"] = torch.tensor(3.0)
tensors["empty"] = torch.zeros(2, 0)
tensors["name \"quoted\" <ü>"] = torch.ones(1, dtype=torch.bfloat16)
save_file(tensors, "every_dtype.safetensors", metadata={"format": "pt"})
