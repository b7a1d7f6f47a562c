"""Compare this project's files and numbers with Transformers and PEFT.

    python interop.py WORK_DIR LOGITS_PROGRAM IMPULSE_PROGRAM MODEL_DIR DATA.jsonl

Trains an adapter on MODEL_DIR with our program, loads it in PEFT (no missing or
unexpected keys), and compares logits and greedy tokens; merges with both and
compares those models' tokens; reads an adapter that PEFT wrote; reads the
training's events with TensorBoard; compares the losses of 20 steps from one
adapter; and, where llama-cpp-python is installed, the tokens of exported GGUF
files.
"""
import json, os, shutil, subprocess, sys, warnings
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer

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


def base():
    return AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, attn_implementation="eager").eval()


tok = AutoTokenizer.from_pretrained(model_dir)
texts = ["What is the capital of France?", "Quina és la capital de Catalunya?", "projects on green hydrogen since 2018"]
prompts = [tok.apply_chat_template([{"role": "user", "content": t}], tokenize=True, add_generation_prompt=True, return_dict=False) for t in texts]
prompts_file = os.path.join(work, "prompts.jsonl")
with open(prompts_file, "w") as f:
    for p in prompts:
        f.write(json.dumps({"ids": p}) + "\n")


def compare(name, reference, *ours):
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
    assert worst <= 2e-4, name


compare("base", base(), "-model", model_dir)

adapter = fresh("adapter")
print(run(impulse, "train", "--model", model_dir, "--data", data, "--output-dir", adapter, "--max-steps", "8", "--batch-size", "4",
          "--learning-rate", "1e-3", "--lora-dropout", "0", "--gradient-checkpointing").splitlines()[-2])
with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)  # PEFT warns of missing and unexpected keys
    ours_in_peft = PeftModel.from_pretrained(base(), adapter)
compare("our adapter in PEFT", ours_in_peft.eval(), "-model", model_dir, "-adapter", adapter)

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


def compare_gguf(name, ours, *files):
    """Greedy tokens of llama.cpp, from float32 files, and ours."""
    try:
        from llama_cpp import Llama
    except ImportError:
        return print(f"{name}: not compared, llama-cpp-python is not installed")
    paths = []
    for i, arguments in enumerate(files):
        paths.append(os.path.join(work, f"{i}.gguf"))
        done = subprocess.run([impulse, "export", *arguments, "--output", paths[-1]], capture_output=True, text=True)
        if done.returncode:
            return print(f"{name}: {done.stderr}")
    llama = Llama(paths[0], lora_path=paths[1] if len(paths) > 1 else None, n_ctx=2048, logits_all=True, verbose=False)
    tokens = [json.loads(line) for line in run(logits_program, "-prompts", prompts_file, "-generate", str(new_tokens), *ours).splitlines()]
    for p, want in zip(prompts, tokens):
        llama.reset()
        llama.eval(p)
        for t in want:
            assert int(llama.scores[llama.n_tokens - 1].argmax()) == t, f"{name}: greedy tokens differ"
            llama.eval([t])
    print(f"{name}: {new_tokens} greedy tokens equal on {len(prompts)} prompts")


compare_gguf("our merge in llama.cpp", ["-model", merged], ["--model-path", merged])
compare_gguf("base and adapter in llama.cpp", ["-model", model_dir, "-adapter", adapter], ["--model-path", model_dir], ["--adapter-path", adapter])
