"""Compares exported GGUF files with their model: python check_export.py MODEL_DIR EXPORT_DIR"""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader, quants
from safetensors.torch import load_file

model, exports = Path(sys.argv[1]), Path(sys.argv[2])
config = json.loads((model / "config.json").read_text())
weights = {}
for file in model.glob("*.safetensors"):
    weights.update(load_file(file))

names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
parts = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}
heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
tolerance = {"f32": 0, "f16": 2**-11, "bf16": 2**-8, "q8_0": 1 / 127}

for kind, allowed in tolerance.items():
    file = exports / f"{model.name}-{kind}.gguf"
    reader, worst = GGUFReader(file), 0.0
    for t in reader.tensors:
        name = t.name.removesuffix(".weight")
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            source = f"model.layers.{layer}.{parts[part]}"
        else:
            part, source = name, names[name]
        want = weights.pop(source + ".weight").float().numpy() if kind == "q8_0" else weights[source + ".weight"].float().numpy()
        got = quants.dequantize(t.data, t.tensor_type).reshape(want.shape)
        if part in heads:  # back to halves
            got = got.reshape(heads[part], -1, 2, got.shape[-1]).swapaxes(1, 2).reshape(want.shape)
        worst = max(worst, float(np.abs(got - want).max() / np.abs(want).max()))
    print(file.name, len(reader.tensors), "tensors, worst difference", worst)
    assert worst <= allowed, allowed
assert not weights, f"not exported: {sorted(weights)}"

try:
    from llama_cpp import Llama
except ImportError:
    sys.exit("no llama-cpp-python: tokens not compared")
golden = json.loads((model / "golden" / "generate.json").read_text())
for kind in ["f32", "f16", "bf16"]:
    llama = Llama(str(exports / f"{model.name}-{kind}.gguf"), n_ctx=256, logits_all=True, verbose=False)
    llama.eval(golden["prompt"])
    out = []
    for _ in golden["greedy"]:
        out.append(int(np.argmax(llama.scores[llama.n_tokens - 1])))
        llama.eval(out[-1:])
    print(kind, "greedy tokens")
    assert out == golden["greedy"], out
