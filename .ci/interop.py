"""Compare this project's files and numbers with Transformers and PEFT.

    python interop.py WORK_DIR LOGITS_PROGRAM IMPULSE_PROGRAM MODEL_DIR DATA.jsonl

Trains an adapter on MODEL_DIR with our program, loads it in PEFT (no missing or
unexpected keys), and compares logits and greedy tokens; does the same on what
bitsandbytes stored in NF4; merges with both and compares those models' tokens; reads an adapter that PEFT wrote; reads the
training's events with TensorBoard; compares the losses of 20 steps from one
adapter and the tokens of exported GGUF files in llama.cpp; and asks a model that
knows two answers in Transformers, PEFT and llama.cpp's chat, with their defaults.
"""
import json, os, shutil, subprocess, sys, urllib.request, warnings
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

work, logits_program, impulse, model_dir, data = sys.argv[1:6]
os.makedirs(work, exist_ok=True)
new_tokens = 24


def fresh(name):
    path = os.path.join(work, name)
    shutil.rmtree(path, ignore_errors=True)
    return path


def run(*args):
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(args)}: {done.stderr}")
    return done.stdout


def base(path=model_dir, **more):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager", **more).eval()


tok = AutoTokenizer.from_pretrained(model_dir)
texts = ["What is the capital of France?", "Quina és la capital de Catalunya?", "projects on green hydrogen since 2018"]
prompts = [tok.apply_chat_template([{"role": "user", "content": t}], tokenize=True, add_generation_prompt=True, return_dict=False) for t in texts]
prompts_file = os.path.join(work, "prompts.jsonl")
with open(prompts_file, "w") as f:
    for p in prompts:
        f.write(json.dumps({"ids": p}) + "\n")


def compare(name, reference, *ours, limit=2e-4):
    worst = 0.0
    rows = [json.loads(line) for line in run(logits_program, "-prompts", prompts_file, *ours).splitlines()]
    tokens = [json.loads(line) for line in run(logits_program, "-prompts", prompts_file, "-generate", str(new_tokens), *ours).splitlines()]
    for p, row, got in zip(prompts, rows, tokens):
        ids = torch.tensor([p])
        with torch.no_grad():
            want = reference(input_ids=ids).logits[0, -1].float()
            greedy = reference.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens, eos_token_id=None, pad_token_id=0)
        worst = max(worst, (want - torch.tensor(row)).abs().max().item())
        assert greedy[0, len(p):].tolist() == got, f"{name}: greedy tokens differ"
        if name == "base":
            print(repr(tok.decode(got)))
    print(f"{name}: logits differ by at most {worst:.2e}, {new_tokens} greedy tokens equal on {len(prompts)} prompts")
    # Sums of hundreds of products in another order: a few units in the last place of the largest logits.
    assert worst <= limit, name


compare("base", base(), "-model", model_dir)

adapter = fresh("adapter")


def train_ours(model, to, *more):
    print(run(impulse, "train", "--model", model, "--data", data, "--output-dir", to, "--max-steps", "8", "--batch-size", "4",
              "--learning-rate", "1e-3", "--lora-dropout", "0", "--gradient-checkpointing", *more).splitlines()[-2])


def in_peft(model, adapter):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # PEFT warns of missing and unexpected keys
        return PeftModel.from_pretrained(model, adapter).eval()


train_ours(model_dir, adapter)
compare("our adapter in PEFT", in_peft(base(), adapter), "-model", model_dir, "-adapter", adapter)

# On a base that bitsandbytes quantised and stored, and on the 16-bit one quantised by each:
# there bitsandbytes' code for CPUs gives one scale of a thousand a neighbouring code.
nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)
stored, on_stored, on_quantized = fresh("nf4"), fresh("adapter-on-nf4"), fresh("adapter-quantized")
base(quantization_config=nf4).save_pretrained(stored)
for name in os.listdir(model_dir):
    if not os.path.exists(os.path.join(stored, name)) and name.endswith(".json") and "index" not in name:
        shutil.copy(os.path.join(model_dir, name), stored)
train_ours(stored, on_stored)
compare("our adapter on bitsandbytes' NF4 in PEFT", in_peft(base(stored), on_stored), "-model", stored, "-adapter", on_stored)
train_ours(model_dir, on_quantized, "--quantize", "4bit")
compare("our adapter of --quantize 4bit on bitsandbytes' base in PEFT", in_peft(base(quantization_config=nf4), on_quantized),
        "-model", model_dir, "-quantize", "4bit", "-adapter", on_quantized, limit=2e-2)

events = EventAccumulator(os.path.join(adapter, "runs")).Reload()
rows = [json.loads(line) for line in open(os.path.join(adapter, "metrics.jsonl"))]
for tag, key in [("train/loss", "loss"), ("train/grad_norm", "grad_norm"), ("train/learning_rate", "learning_rate"),
                 ("speed/tokens_per_second", "tokens_per_second"), ("eval/loss", "eval_loss")]:
    want = [(r["step"], round(r["time"], 3), np.float32(r[key])) for r in rows if key in r]
    got = [(e.step, round(e.wall_time, 3), np.float32(e.value)) for e in events.Scalars(tag)]
    assert want and got == want, f"{tag}: {got}, want {want}"
print(f"TensorBoard reads the {len(rows)} lines of metrics.jsonl")

curve, steps = fresh("curve"), 20
run(impulse, "train", "--model", model_dir, "--data", data, "--init-adapter", adapter, "--output-dir", curve, "--max-steps", str(steps), "--batch-size", "2",
    "--shuffle=false", "--lr-scheduler", "constant", "--learning-rate", "2e-4", "--lora-dropout", "0", "--eval-split", "0", "--save-steps", "0", "--dtype", "float32")
got = [json.loads(line)["loss"] for line in open(os.path.join(curve, "metrics.jsonl"))]
peer = os.path.join(os.path.dirname(__file__), "peer.py")
want = json.loads(run(sys.executable, peer, "train", model_dir, data, "--adapter", adapter, "--batch", "2", "--steps", str(steps - 1)))["losses"]
assert len(got) == len(want) == steps
worst = max(abs(g - w) / w for g, w in zip(got, want))
print(f"losses of {steps} training steps from one adapter, {want[0]:.4f} to {want[-1]:.4f}: off PEFT's by at most {worst:.1e} of each")
assert worst <= 1e-3

merged = fresh("merged")
print(run(impulse, "merge", "--adapter-path", adapter, "--output-path", merged, "--verify", "4").splitlines()[-2])
run(impulse, "verify", merged)
ours_merged = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32, attn_implementation="eager").eval()
assert AutoTokenizer.from_pretrained(merged).apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
compare("our merge in Transformers", ours_merged, "-model", merged)
theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16), adapter).merge_and_unload()
for name, w in theirs.state_dict().items():
    if name in dict(ours_merged.named_parameters()):
        assert torch.equal(w.float(), dict(ours_merged.named_parameters())[name].data), f"merged {name} differs from PEFT's"
print("merged weights equal PEFT's bit for bit")

torch.manual_seed(1)
theirs = get_peft_model(base(), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False))
peft_dir = fresh("peft-adapter")
theirs.save_pretrained(peft_dir)
compare("PEFT's adapter here", theirs.eval(), "-model", model_dir, "-adapter", peft_dir)


# A model trained until it knows two answers, in other programs with their own defaults.
# They have a system message: llama.cpp writes today's date into Salamandra's default one.
known = {"capital of Spain?": "Madrid", "capital of France?": "Paris"}


def chat(question):
    return [{"role": "system", "content": "Name the city."}, {"role": "user", "content": question}]


known_data = os.path.join(work, "known.jsonl")
with open(known_data, "w") as f:
    for question, answer in known.items():
        f.write(json.dumps({"messages": chat(question) + [{"role": "assistant", "content": answer}]}) + "\n")
known_adapter, deployed = fresh("known-adapter"), fresh("deployed")
run(impulse, "train", "--model", model_dir, "--data", known_data, "--output-dir", known_adapter, "--eval-split", "0", "--epochs", "60",
    "--learning-rate", "3e-3", "--report-samples", "0", "--save-steps", "0", "--dtype", "float32")
run(impulse, "merge", "--adapter-path", known_adapter, "--output-path", deployed, "--dtype", "float32")
deployed_tok = AutoTokenizer.from_pretrained(deployed)
end = deployed_tok.convert_tokens_to_ids("<|im_end|>")


def check_generate(name, model, tokenizer):
    for question, answer in known.items():
        inputs = tokenizer.apply_chat_template(chat(question), add_generation_prompt=True, return_tensors="pt", return_dict=True)
        out = model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)[0][inputs["input_ids"].shape[1]:].tolist()
        assert out[-1] == end and tokenizer.decode(out[:-1]) == answer, f"{name}: {question} gives {tokenizer.decode(out)!r}, want {answer!r} and the end"
    print(f"{name}: generate answers and ends as trained")


merged_model = AutoModelForCausalLM.from_pretrained(deployed, dtype=torch.float32)
check_generate("our merge in Transformers", merged_model, deployed_tok)
with_adapter = PeftModel.from_pretrained(base(), known_adapter).eval()
with_adapter.generation_config = merged_model.generation_config  # PEFT knows the base's alone
check_generate("our adapter in PEFT", with_adapter, tok)


class LlamaServer:
    """llama.cpp's server on a GGUF file, with an adapter beside it or not."""

    def __init__(self, model, lora=None):
        import xllamacpp
        p = xllamacpp.CommonParams()
        p.model.path = model
        p.n_ctx, p.n_parallel, p.n_batch, p.port, p.warmup, p.verbosity, p.cpuparams.n_threads = 2048, 1, 512, 0, False, 0, 2
        p.fit_params = False
        if lora:
            a = xllamacpp.CommonAdapterLoraInfo()
            a.path, a.scale = lora, 1.0
            p.lora_adapters = [a]
        self.server = xllamacpp.Server(p)

    def post(self, path, **body):
        request = urllib.request.Request(self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request))


def export(name, *arguments):
    path = os.path.join(work, name + ".gguf")
    if os.path.exists(path):
        os.remove(path)
    run(impulse, "export", *arguments, "--output", path)
    return path


def compare_gguf(name, ours, server):
    """Greedy tokens of llama.cpp, from float32 files, and ours."""
    tokens = [json.loads(line) for line in run(logits_program, "-prompts", prompts_file, "-generate", str(new_tokens), *ours).splitlines()]
    for p, want in zip(prompts, tokens):
        got = server.post("/completion", prompt=p, n_predict=new_tokens, temperature=0, return_tokens=True, cache_prompt=False)["tokens"]
        ends = [i for i, t in enumerate(want) if t in tok.convert_tokens_to_ids(["</s>", "<|im_end|>"])]
        want = want[:ends[0]] if ends else want  # llama.cpp stops there
        assert got[:len(want)] == want and len(got) <= len(want) + 1, f"{name}: greedy tokens differ: {got}, want {want}"
    print(f"{name}: up to {new_tokens} greedy tokens equal on {len(prompts)} prompts")


compare_gguf("our merge in llama.cpp", ["-model", merged], LlamaServer(export("merged", "--model-path", merged)))
compare_gguf("base and adapter in llama.cpp", ["-model", model_dir, "-adapter", adapter],
             LlamaServer(export("base", "--model-path", model_dir), export("adapter", "--adapter-path", adapter)))

server = LlamaServer(export("deployed", "--model-path", deployed))
for question, answer in known.items():
    want = deployed_tok.apply_chat_template(chat(question), add_generation_prompt=True, return_dict=False)
    prompt = server.post("/apply-template", messages=chat(question))["prompt"]
    got = server.post("/tokenize", content=prompt, add_special=True, parse_special=True)["tokens"]
    assert got == want, f"llama.cpp's chat has ids {got}, want {want}"
    reply = server.post("/v1/chat/completions", messages=chat(question), max_tokens=new_tokens, temperature=0)
    assert reply["usage"]["prompt_tokens"] == len(want)
    choice = reply["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["message"]["content"] == answer, f"llama.cpp's chat: {choice}"
print(f"llama.cpp's chat: the ids of training, the trained answers, and their end")
