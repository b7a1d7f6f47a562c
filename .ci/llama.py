"""Whole answers per minute of llama.cpp's server, kept to a schema as its grammar. One JSON line on standard output.

    pip install xllamacpp gguf safetensors torch
    python .ci/llama.py MODEL TEST.json SCHEMA.json [--prompt FILE] [--limit 8] [--together 1] [--threads 2]

MODEL is a merged model with a tokenizer like GPT-2's, such as SmolLM2's, which is written as MODEL.gguf in Q8_0 if there is
no such file: `impulse export` writes those with a tokenizer like Salamandra's. TEST.json and SCHEMA.json are those of `impulse
validate`. Questions come one after the other, or --together at a time; all share a cached prompt. The first --together
answers are a warm-up that no time includes, nor is loading in it.
"""
import argparse, concurrent.futures, json, os, time, urllib.request
import xllamacpp


def convert(directory, path):
    """Writes a Llama as llama.cpp's own converter does, linear layers and embedding in Q8_0."""
    import gguf, torch
    from safetensors.torch import load_file
    with open(os.path.join(directory, "config.json")) as f:
        c = json.load(f)
    with open(os.path.join(directory, "tokenizer.json")) as f:
        tok = json.load(f)
    with open(os.path.join(directory, "tokenizer_config.json")) as f:
        template = json.load(f)["chat_template"]
    heads, kv, layers = c["num_attention_heads"], c["num_key_value_heads"], c["num_hidden_layers"]
    w = gguf.GGUFWriter(path, "llama")
    w.add_context_length(c["max_position_embeddings"]), w.add_embedding_length(c["hidden_size"]), w.add_block_count(layers)
    w.add_feed_forward_length(c["intermediate_size"]), w.add_head_count(heads), w.add_head_count_kv(kv)
    w.add_rope_freq_base(c["rope_theta"]), w.add_rope_dimension_count(c["hidden_size"] // heads), w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_vocab_size(c["vocab_size"]), w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    ids = {i: t for t, i in tok["model"]["vocab"].items()} | {t["id"]: t["content"] for t in tok["added_tokens"]}
    special = {t["id"] for t in tok["added_tokens"]}
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("smollm"), w.add_token_list([ids[i] for i in range(c["vocab_size"])])
    w.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in range(c["vocab_size"])])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]])
    w.add_bos_token_id(c["bos_token_id"]), w.add_eos_token_id(c["eos_token_id"]), w.add_add_bos_token(False), w.add_chat_template(template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    for file in sorted(f for f in os.listdir(directory) if f.endswith(".safetensors")):
        for name, t in load_file(os.path.join(directory, file)).items():
            if name == "lm_head.weight" and c.get("tie_word_embeddings"):
                continue
            for part, n in ("q_proj", heads), ("k_proj", kv):  # its rotation takes neighbours
                if part in name:
                    t = t.view(n, 2, -1, t.shape[1]).transpose(1, 2).reshape(t.shape)
            a = t.to(torch.float32).numpy()
            to = names.get_name(name, try_suffixes=(".weight",))
            if a.ndim == 1:
                w.add_tensor(to, a)
            else:
                w.add_tensor(to, gguf.quants.quantize(a, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in "model", "test", "schema":
    parser.add_argument(name)
parser.add_argument("--prompt", help="a file with the system prompt")
for name, value in [("limit", 8), ("together", 1), ("threads", 2), ("max-new-tokens", 512)]:
    parser.add_argument(f"--{name}", type=int, default=value)
o = parser.parse_args()

path = o.model
if os.path.isdir(path):
    path = path.rstrip("/") + ".gguf"
    if not os.path.exists(path):
        convert(o.model, path)
p = xllamacpp.CommonParams()
p.model.path, p.n_parallel, p.n_ctx, p.n_batch, p.port, p.verbosity = path, o.together, 2048 * o.together, 512, 0, 0
p.cpuparams.n_threads, p.fit_params = o.threads, False
server = xllamacpp.Server(p)
with open(o.schema) as f:
    schema = json.load(f)
with open(o.test) as f:
    questions = [r["meta"]["original_query"] for r in json.load(f)]
system = open(o.prompt).read().strip() if o.prompt else None


def ask(question):
    messages = ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": question}]
    body = {"messages": messages, "temperature": 0, "max_tokens": o.max_new_tokens, "cache_prompt": True,
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    request = urllib.request.Request(server.listening_address + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    reply = json.load(urllib.request.urlopen(request))
    return reply["choices"][0]["message"]["content"], reply["usage"]["completion_tokens"], reply["choices"][0]["finish_reason"]


with concurrent.futures.ThreadPoolExecutor(o.together) as pool:
    list(pool.map(ask, questions[-o.together:]))
    start = time.perf_counter()
    answers = list(pool.map(ask, questions[: o.limit]))
    seconds = time.perf_counter() - start
print(json.dumps({"answers_per_minute": 60 * len(answers) / seconds, "seconds": seconds, "tokens": [n for _, n, _ in answers],
                  "ended": sum(why == "stop" for _, _, why in answers), "answers": [a for a, _, _ in answers]}))
