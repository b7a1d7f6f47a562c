"""Asks PEFT which modules each configuration selects, and with which rank and alpha.

    python make_matching.py > matching.json

Needs peft, torch and transformers; the README says which versions made the file.
"""
import json, math
from peft import LoraConfig, inject_adapter_in_model
from peft.utils.other import get_pattern_key
from transformers import LlamaConfig, LlamaForCausalLM

# Keys of patterns are in sorted order: PEFT saves them so, whatever order it used before.
CASES = {
    "names": dict(target_modules=["q_proj", "v_proj"]),
    "two segments": dict(target_modules=["self_attn.q_proj", "mlp.up_proj"]),
    "whole name": dict(target_modules=["model.layers.1.mlp.down_proj", "lm_head"]),
    "part of a segment is no name": dict(target_modules=["proj", "k_proj"]),
    "pattern": dict(target_modules=r"model\.layers\.[01]\..*(q|down)_proj"),
    "pattern matches the whole name": dict(target_modules=r".*self_attn\.k_proj|q_proj"),
    "lookahead": dict(target_modules=r"^(model)(?!.*(lm_head|layers\.[02]\.)).*\.(q_proj|down_proj)$"),
    "lookbehind": dict(target_modules=r".*(?<=layers\.1)\.self_attn\.(?P<kind>[qk])_proj"),
    "backreference": dict(target_modules=r"model\.layers\.(\d)\1\..*|.*\.(1)\..*v_proj"),
    "rank pattern with lookahead": dict(target_modules=["q_proj"], r=8, rank_pattern={r"(?!.*layers\.0).*q_proj": 2}),
    "all linear": dict(target_modules="all-linear"),
    "all linear in capitals": dict(target_modules="All-Linear"),
    "exclude names": dict(target_modules=["q_proj", "k_proj"], exclude_modules=["layers.0.self_attn.q_proj", "layers.2.self_attn.k_proj"]),
    "exclude pattern": dict(target_modules=["q_proj", "k_proj"], exclude_modules=r".*layers\.[02].*"),
    "exclude from all linear": dict(target_modules="all-linear", exclude_modules=["down_proj"]),
    "layers": dict(target_modules=["q_proj", "up_proj"], layers_to_transform=[0, 2]),
    "one layer": dict(target_modules=["q_proj"], layers_to_transform=10),
    "layers do not limit whole names": dict(target_modules=["model.layers.1.self_attn.q_proj", "k_proj"], layers_to_transform=[0]),
    "no layer index": dict(target_modules=["lm_head", "q_proj"], layers_to_transform=[1]),
    "layers with pattern": dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern="layers"),
    "layers with other pattern": dict(target_modules=["q_proj", "model.layers.0.mlp.up_proj"], layers_to_transform=[1], layers_pattern=["h", "blocks"]),
    "layers with two patterns": dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern=["h", "layers"]),
    "rank pattern": dict(target_modules=["q_proj", "k_proj"], r=8, lora_alpha=16, rank_pattern={"k_proj": 2}),
    "rank pattern of one layer": dict(target_modules=["q_proj"], r=8, lora_alpha=16, rank_pattern={"layers.0.self_attn.q_proj": 4, "layers.1": 2}),
    "rank pattern is not a suffix of a segment": dict(target_modules=["q_proj"], r=8, rank_pattern={"proj": 2}),
    "rank pattern anchored": dict(target_modules=["q_proj"], r=8, rank_pattern={r"^model\.layers\.1\..*": 2}),
    "rank pattern, first of two": dict(target_modules=["q_proj"], r=8, rank_pattern={"layers.1.self_attn.q_proj": 3, "q_proj": 2}),
    "rank pattern, alternatives": dict(target_modules=["q_proj", "k_proj", "v_proj"], r=8, rank_pattern={"q_proj|v_proj": 2}),
    "alpha pattern": dict(target_modules=["q_proj", "k_proj"], r=8, lora_alpha=16, alpha_pattern={r".*\.2\..*": 5, "k_proj": 4}),
    "rank-stabilised": dict(target_modules=["q_proj", "k_proj"], r=8, lora_alpha=16, rank_pattern={"k_proj": 3}, use_rslora=True),
}


def model():
    return LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=11,
                                        num_attention_heads=2, tie_word_embeddings=False))


out = []
for name, settings in CASES.items():
    m = inject_adapter_in_model(LoraConfig(**settings), model())
    modules = {n: {"rank": l.r["default"], "alpha": l.lora_alpha["default"], "scale": l.scaling["default"]}
               for n, l in m.named_modules() if hasattr(l, "lora_A")}
    config = LoraConfig(task_type="CAUSAL_LM", **settings).to_dict()
    config = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    out.append({"name": name, "config": config, "modules": modules})
names = [n for n, l in model().named_modules() if l.__class__.__name__ == "Linear"]
print(json.dumps({"linear": names, "cases": out}, indent=1, sort_keys=True))
