"""Weights as bitsandbytes quantises them: golden.safetensors.

    pip install torch bitsandbytes safetensors
    python make_golden.py

bitsandbytes 0.50.2 with PyTorch 2.15.0, on a CPU. Codes of scales are by the rule that its CUDA kernel
and its device-independent code have, nearest by midpoint; cpu_codes are what its CPU code gives, which
looks them up in a table of 65536 entries.
"""
import torch, bitsandbytes.functional as F
from bitsandbytes.functional import create_dynamic_map
from safetensors.torch import save_file

out = {"map": create_dynamic_map(), "code": F.get_4bit_type("nf4", device="cpu")}


def nearest(x, code):
    """quantize_blockwise in blocks of 256, nearest by midpoint."""
    absmax = torch.stack([b.abs().max() for b in x.split(256)])
    scaled = torch.cat([b * (1.0 / a) for b, a in zip(x.split(256), absmax)])
    return torch.bucketize(scaled, (code[:-1] + code[1:]) / 2).to(torch.uint8), absmax


# rows that blocks of 64 fit in; rows that they do not fit in; an odd number of rows; a short last block
for name, rows, cols in (("even", 32, 128), ("across", 24, 172), ("odd", 33, 64), ("short", 9, 50)):
    w = (torch.randn(rows, cols, generator=torch.Generator().manual_seed(rows)) * 0.02).to(torch.bfloat16).float()
    plain, state = F.quantize_4bit(w, blocksize=64, quant_type="nf4")
    offset = state.absmax.mean()
    codes, nested = nearest(state.absmax - offset, out["map"])
    double, state2 = F.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=True)
    assert torch.equal(plain, double) and torch.equal(state2.offset, offset) and torch.equal(state2.state2.absmax, nested)
    out |= {f"{name}.weight": w.to(torch.bfloat16), f"{name}.packed": plain.flatten(), f"{name}.absmax": state.absmax, f"{name}.offset": offset,
            f"{name}.nested_absmax": nested, f"{name}.codes": codes}
    state2.absmax = codes
    out[f"{name}.dequantised"] = F.dequantize_4bit(double, state2)
    q, absmax, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(w)
    out |= {f"{name}.int8": q, f"{name}.int8.absmax": absmax, f"{name}.int8.dequantised": torch.ops.bitsandbytes.int8_vectorwise_dequant(q, absmax)}
# scales of a larger weight, about 1 of 128 of which the CPU code gives another code
scales = (torch.randn(2100, 64, generator=torch.Generator().manual_seed(1)) * 0.02).abs().amax(1)
offset = scales.mean()
out |= {"scales": scales, "scales.offset": offset}
out["scales.codes"], out["scales.nested_absmax"] = nearest(scales - offset, out["map"])
out["scales.cpu_codes"], state = F.quantize_blockwise(scales - offset, blocksize=256)
assert torch.equal(state.absmax, out["scales.nested_absmax"])
print("the CPU code has another code for", int((out["scales.codes"] != out["scales.cpu_codes"]).sum()), "of", len(scales), "scales")
save_file({k: v.contiguous().clone() for k, v in out.items()}, "golden.safetensors")
