"""The jobs of docs/measurements.md done with PyTorch, Transformers and PEFT. One JSON line on standard output.

    pip install torch transformers peft
    python .ci/peer.py train MODEL DATA.jsonl [--steps 4 --batch 4 --accumulate 1 --checkpointing --adapter DIR --quantize 4bit]
    python .ci/peer.py generate MODEL DATA.jsonl --adapter DIR [--queries 5 --batch 1 --max-new-tokens 300]
    python .ci/peer.py merge MODEL ADAPTER --out DIR [--dtype bfloat16]

DATA.jsonl is what `impulse prepare` writes. Training is AdamW at a constant rate in the file's order, with no dropout,
no weight decay and a gradient of length 1 at most; the loss is over answers alone. Its first step is a warm-up that no
time includes. Loading the model and importing the libraries is in no time either.
"""
import argparse, json, resource, time
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def now():
    """Seconds, once the device has done what it was given."""
    if o.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def read_examples(tokenizer, path, count):
    """The first examples, each as the ids of its prompt and those of its answer."""
    pairs = []
    with open(path, encoding="utf-8") as lines:
        for line, _ in zip(lines, range(count)):
            *before, answer = json.loads(line)["messages"]
            prompt = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
            ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
            pairs.append((ids(prompt), ids(answer["content"] + "<|im_end|>")))
    if len(pairs) < count:
        raise SystemExit(f"{path} has {len(pairs)} examples, {count} are needed")
    return pairs


def pad(rows, value):
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows], device=o.device)


def train(o, model, tokenizer):
    if o.adapter:
        model = PeftModel.from_pretrained(model, o.adapter, is_trainable=True)
    else:
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, task_type="CAUSAL_LM"))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if o.checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=o.rate, weight_decay=0.0)
    effective = o.batch * o.accumulate
    examples = read_examples(tokenizer, o.input, (o.steps + 1) * effective)
    losses, tokens, start, processor = [], 0, 0.0, 0.0
    for step in range(o.steps + 1):
        if step == 1:
            start, processor, tokens = now(), time.process_time(), 0
        chunk = examples[step * effective : (step + 1) * effective]
        total = sum(len(answer) for _, answer in chunk)
        loss_sum = 0.0
        for at in range(0, effective, o.batch):
            part = chunk[at : at + o.batch]
            ids = pad([p + a for p, a in part], 0)
            mask = pad([[1] * len(p + a) for p, a in part], 0)
            labels = pad([[-100] * len(p) + a for p, a in part], -100)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum") / total
            loss.backward()
            loss_sum += loss.item()
            tokens += sum(len(p) + len(a) for p, a in part)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss_sum)
    seconds = now() - start
    return {"losses": losses, "seconds": seconds, "processor_seconds": time.process_time() - processor, "tokens_per_second": tokens / seconds, "examples_per_second": o.steps * effective / seconds}


def generate(o, model, tokenizer):
    if o.adapter:
        model = PeftModel.from_pretrained(model, o.adapter)
    model.eval()
    tokenizer.padding_side = "left"
    end = [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id]
    prompts = [tokenizer.decode(p) for p, _ in read_examples(tokenizer, o.input, o.queries)]
    answers, start = [], now()
    for at in range(0, len(prompts), o.batch):
        batch = tokenizer(prompts[at : at + o.batch], add_special_tokens=False, return_tensors="pt", padding=True).to(o.device)
        with torch.no_grad():
            out = model.generate(**batch, do_sample=False, max_new_tokens=o.max_new_tokens, eos_token_id=end, pad_token_id=tokenizer.pad_token_id or 0)
        for row in out[:, batch["input_ids"].shape[1] :].tolist():
            stop = next((i for i, t in enumerate(row) if t in end), len(row))
            answers.append(row[:stop])
    seconds = now() - start
    return {"seconds_per_query": seconds / len(prompts), "new_tokens": [len(a) for a in answers], "answers": [tokenizer.decode(a) for a in answers]}


def merge(o, model, _):
    start = time.perf_counter()
    merged = PeftModel.from_pretrained(model, o.input).merge_and_unload(safe_merge=True)
    merged.save_pretrained(o.out)
    return {"seconds": time.perf_counter() - start}


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("job", choices=["train", "generate", "merge"])
parser.add_argument("model")
parser.add_argument("input", help="examples, or for merge the adapter")
parser.add_argument("--adapter", help="train: start from it; generate: answer with it")
parser.add_argument("--out", help="merge: the directory to write")
parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
parser.add_argument("--device", default="cpu", help="cpu or cuda")
parser.add_argument("--rate", type=float, default=2e-4)
parser.add_argument("--checkpointing", action="store_true")
parser.add_argument("--quantize", choices=["4bit", "8bit"], help="the base by bitsandbytes: NF4 with double quantisation, or LLM.int8()")
for name, value in [("steps", 4), ("batch", 4), ("accumulate", 1), ("queries", 5), ("max-new-tokens", 300)]:
    parser.add_argument(f"--{name}", type=int, default=value)
o = parser.parse_args()

begin = time.perf_counter()
dtype, how = getattr(torch, o.dtype), {}
if o.quantize:
    how = {"device_map": {"": o.device}, "quantization_config": BitsAndBytesConfig(
        load_in_4bit=o.quantize == "4bit", load_in_8bit=o.quantize == "8bit", bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)}
model = AutoModelForCausalLM.from_pretrained(o.model, dtype=dtype, **how)
model = model if o.quantize else model.to(o.device)
loading = time.perf_counter() - begin
tokenizer = None if o.job == "merge" else AutoTokenizer.from_pretrained(o.model)
result = {"train": train, "generate": generate, "merge": merge}[o.job](o, model, tokenizer)
if o.job == "merge":
    result["seconds"] += loading  # part of a merge
result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
if o.device == "cuda":
    result["peak_device_bytes"] = torch.cuda.max_memory_allocated()
print(json.dumps(result))
