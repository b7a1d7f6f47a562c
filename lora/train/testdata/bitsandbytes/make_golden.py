"""A reference model in bitsandbytes' NF4, and ten steps of PEFT on it.

    pip install torch transformers accelerate peft bitsandbytes
    python make_golden.py ../../../../salamandra/testdata/reference/models/tiny-gqa

Transformers 5.24.0, PEFT 0.21.2, bitsandbytes 0.50.2, PyTorch 2.15.0, on a CPU in float32. Written here:
config.json and linears.safetensors, what save_pretrained writes less the tensors that are not quantised;
logits.safetensors, after the first row, of the model without an adapter; train.json and end/, the steps of train-start of the
reference as make_reference.py takes them, and the adapter after them.
"""
import json, os, shutil, sys
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig, LlamaForCausalLM, get_scheduler

reference = sys.argv[1]
torch.set_num_threads(1)
config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)


def base():
    return LlamaForCausalLM.from_pretrained(reference, dtype=torch.float32, attn_implementation="eager", quantization_config=config, device_map="cpu")


golden = load_file(os.path.join(reference, "golden", "forward.safetensors"))
ids, mask, labels = golden["input_ids"], golden["attention_mask"], golden["labels"]
model = base().eval()
with torch.no_grad():
    save_file({"logits": model(input_ids=ids[:1], attention_mask=mask[:1]).logits[0, -1].contiguous()}, "logits.safetensors")
model.save_pretrained("saved")
shutil.copy("saved/config.json", "config.json")
tensors = load_file("saved/model.safetensors")
save_file({k: v for k, v in tensors.items() if "_proj." in k}, "linears.safetensors", metadata={"format": "pt"})
shutil.rmtree("saved")

pm = PeftModel.from_pretrained(base(), os.path.join(reference, "golden", "train-start"), is_trainable=True)
params = [p for p in pm.parameters() if p.requires_grad]
opt = torch.optim.AdamW(params, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
sched = get_scheduler("cosine", opt, num_warmup_steps=3, num_training_steps=10)
n, log = (labels[:, 1:] != -100).sum(), []
for step in range(10):
    total = 0.0
    for rows in (slice(0, 1), slice(1, 3)):
        logits = pm(input_ids=ids[rows], attention_mask=mask[rows]).logits
        part = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[rows, 1:].flatten(), ignore_index=-100, reduction="sum") / n
        part.backward()
        total += part.item()
    norm = torch.nn.utils.clip_grad_norm_(params, 1.0)
    log.append({"step": step + 1, "loss": total, "grad_norm": norm.item(), "lr": opt.param_groups[0]["lr"]})
    opt.step(); sched.step(); opt.zero_grad()
json.dump(log, open("train.json", "w"), indent=1)
pm.save_pretrained("end", save_embedding_layers=False)
os.remove("end/README.md")
