"""Answers per minute of impulse beside llama.cpp, both kept to a schema, in turns. Lines of Markdown on standard output.

    pip install xllamacpp gguf safetensors torch
    python .ci/llama.py MODEL TEST.json SCHEMA.json IMPULSE [--prompt FILE] [--backends go,xla:cpu] [--limit 8] [--together 1 8] [--rounds 3]

MODEL is a merged model with its prompt.json and a tokenizer like GPT-2's, such as SmolLM2's, which is written as MODEL.gguf in
Q8_0 if there is no such file: `impulse export` writes those with a tokenizer like Salamandra's. IMPULSE is the program, which
serves MODEL in 8 bits; TEST.json and SCHEMA.json are those of `impulse validate`, and --prompt is the system prompt of
prompt.json. Each server is sent the same requests of OpenAI's kind, with the schema, one after the other or --together at a
time; all share a prompt that is kept. impulse is asked by POST /parse too, which fixes what an answer repeats of the question.

Other answers than those that are counted warm each server up first. Then rounds of --limit answers go in turns. Answers per
minute are of the median round; processor seconds are those that the server's process took for an answer.
"""
import argparse, concurrent.futures, json, os, socket, statistics, subprocess, time, urllib.request
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


def post(address, body):
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def chat(address, question):
    """An answer by OpenAI's protocol: its text, and its tokens."""
    messages = ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": question}]
    body = {"messages": messages, "temperature": 0, "max_tokens": o.max_new_tokens,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
    reply = post(address + "/v1/chat/completions", body)
    return reply["choices"][0]["message"]["content"], reply["usage"]["completion_tokens"]


def parse(address, question):
    return json.dumps(post(address + "/parse", {"query": question})), 0


class Llama:
    def __init__(self, together):
        p = xllamacpp.CommonParams()
        p.model.path, p.n_parallel, p.n_ctx, p.n_batch, p.port, p.verbosity = path, together, 2048 * together, 512, 0, 0
        p.cpuparams.n_threads, p.fit_params = o.threads, False
        self.server = xllamacpp.Server(p)
        self.address = self.server.listening_address

    def processor(self):
        return sum(os.times()[:2])

    def close(self):
        self.server = None


class Impulse:
    def __init__(self, together, backend):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{s.getsockname()[1]}"
        self.process = subprocess.Popen(
            [o.impulse, "serve", "--model-path", o.model, "--quantize", "8bit", "--backend", backend, "--addr", address, "--max-batch", str(together),
             "--max-new-tokens", str(o.max_new_tokens), "--log-format", "none"], stdout=subprocess.DEVNULL)
        self.address = "http://" + address
        while True:
            if self.process.poll() is not None:
                raise SystemExit("impulse serve ended")
            try:
                urllib.request.urlopen(f"http://{address}/readyz")
                return
            except OSError:
                time.sleep(0.05)

    def processor(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.terminate()
        self.process.wait()


class Side:
    """A server and how it is asked."""

    def __init__(self, name, server, ask):
        self.name, self.server, self.ask, self.rounds, self.processor, self.answers = name, server, ask, [], 0, []

    def round(self, pool, some):
        before, start = self.server.processor(), time.perf_counter()
        self.answers = list(pool.map(lambda q: self.ask(self.server.address, q), some))
        self.rounds.append(time.perf_counter() - start)
        self.processor += self.server.processor() - before

    def row(self, together, reference):
        n = len(self.answers)
        minute = lambda side: 60 * n / statistics.median(side.rounds)
        whole = sum(complete(text) for text, _ in self.answers)
        return (f"| {self.name} | {together} | {minute(self):.0f} | {minute(self) / minute(reference):.2f} | {self.processor / n / len(self.rounds):.2f} "
                f"| {reference.processor / self.processor:.2f} | {sum(t for _, t in self.answers) / n:.0f} | {whole} of {n} |")


def complete(text):
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def compare(together):
    llama = Llama(together)
    sides = [Side("llama.cpp, Q8_0", llama, chat)]
    for backend in o.backends.split(","):
        server = Impulse(together, backend)
        sides += [Side(f"impulse, {backend}", server, chat), Side(f"impulse, {backend}, /parse", server, parse)]
    with concurrent.futures.ThreadPoolExecutor(together) as pool:
        for s in sides:
            list(pool.map(lambda q: s.ask(s.server.address, q), questions[-max(together, 4):]))
        for _ in range(o.rounds):
            for s in sides:
                s.round(pool, questions[: o.limit])
    for s in sides:
        print(s.row(together, sides[0]), flush=True)
    if o.answers:
        with open(o.answers, "a") as f:
            f.writelines(json.dumps({"side": s.name, "together": together, "answers": s.answers, "seconds": s.rounds}) + "\n" for s in sides)
    for s in sides:
        s.server.close()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
for name in "model", "test", "schema", "impulse":
    parser.add_argument(name)
parser.add_argument("--prompt", help="a file with the system prompt")
parser.add_argument("--backends", default="go")
parser.add_argument("--answers", help="a file to append the answers to")
parser.add_argument("--together", type=int, nargs="+", default=[1, 8])
for name, value in [("limit", 8), ("threads", 2), ("rounds", 3), ("max-new-tokens", 512)]:
    parser.add_argument(f"--{name}", type=int, default=value)
o = parser.parse_args()

path = o.model
if os.path.isdir(path):
    path = path.rstrip("/") + ".gguf"
    if not os.path.exists(path):
        convert(o.model, path)
with open(o.schema) as f:
    schema = json.load(f)
with open(o.test) as f:
    questions = [r["meta"]["original_query"] for r in json.load(f)]
system = open(o.prompt).read().strip() if o.prompt else None
print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
print("| | together | answers a minute | of llama.cpp's | processor seconds an answer | llama.cpp's of these | tokens | whole |\n|---|---|---|---|---|---|---|---|", flush=True)
for together in o.together:
    compare(together)
