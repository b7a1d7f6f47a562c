"""What other engines do with JSON Schemas: verdicts, and times as BenchmarkSchemas of
salamandra/constrain takes them.

schemas.py ENGINE SCHEMAS TOKENS [STEP]

ENGINE is llguidance or xgrammar, the package of that name. SCHEMAS has lines
{"name", "schema", "tests": [{"valid", "data"}]}; TOKENS is the file that the benchmark
writes to SALAMANDRA_TOKENS. With STEP only every so many-th schema is looked at.

Values are written as json.dumps writes them. A schema counts once: refused; crashed, or
given up after 20 seconds; an invalid value written; a valid one not written; or passing.
Times are of the processor: compiling, and masks along the first valid value.
"""
import importlib.metadata
import json
import multiprocessing
import resource
import sys
import time

PATIENCE = 20  # seconds


class Tokens:
    def __init__(self, path):
        self.tokens = [bytes.fromhex(line.strip()) for line in open(path)]
        self.eos_token_id = next(i for i, t in enumerate(self.tokens) if not t)
        self.tokens[self.eos_token_id] = b"<|end|>"
        self.bos_token_id = None
        self.special_token_ids = [self.eos_token_id]
        self.longest = max(map(len, self.tokens))
        self.ids = {t: i for i, t in reversed(list(enumerate(self.tokens))) if i != self.eos_token_id}

    def __call__(self, text):
        text = text.encode() if isinstance(text, str) else text
        out, at = [], 0
        while at < len(text):
            for n in range(min(self.longest, len(text) - at), 0, -1):
                if text[at:at + n] in self.ids:
                    break
            out.append(self.ids[text[at:at + n]])
            at += n
        return out


class Llguidance:
    def __init__(self, tokens):
        import llguidance
        self.matcher = llguidance.LLMatcher
        self.tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(tokens))
        self.eos = tokens.eos_token_id

    def compile(self, schema):
        layout = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        grammar = self.matcher.grammar_from_json_schema(schema, layout)
        m = self.matcher(self.tokenizer, grammar, log_level=0)
        return None if m.is_error() else grammar

    def start(self, grammar):
        self.m = self.matcher(self.tokenizer, grammar, log_level=0)

    def mask(self):
        self.m.compute_bitmask()

    def accept(self, token):
        return self.m.consume_token(token)

    def ends(self):
        return self.m.is_accepting()


class Xgrammar:
    def __init__(self, tokens):
        import xgrammar
        self.x = xgrammar
        self.eos = tokens.eos_token_id
        info = xgrammar.TokenizerInfo(tokens.tokens, xgrammar.VocabType.RAW, vocab_size=len(tokens.tokens), stop_token_ids=[self.eos])
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self.bits = xgrammar.allocate_token_bitmask(1, len(tokens.tokens))

    def compile(self, schema):
        try:
            return self.compiler.compile_json_schema(schema, any_whitespace=False, separators=(", ", ": "), strict_mode=False)
        except RuntimeError:
            return None

    def start(self, grammar):
        self.m = self.x.GrammarMatcher(grammar)

    def mask(self):
        self.m.fill_next_token_bitmask(self.bits)

    def accept(self, token):
        return self.m.accept_token(token)

    def ends(self):
        return self.m.accept_token(self.eos)


def look(engine, tokens, row):
    """Returns what became of a schema, the time to compile it, and of masks."""
    begin = time.process_time()
    grammar = engine.compile(json.dumps(row["schema"]))
    compile = time.process_time() - begin
    if grammar is None:
        return "refused", compile, []
    verdict = "passing"
    for t in row["tests"]:
        engine.start(grammar)
        written = all(engine.accept(i) for i in tokens(json.dumps(t["data"], ensure_ascii=False))) and engine.ends()
        if written != t["valid"]:
            verdict = "not written" if t["valid"] else "invalid"
            if verdict == "invalid":
                break
    masks = []
    valid = next((t["data"] for t in row["tests"] if t["valid"]), None)
    if valid is not None:
        engine.start(grammar)
        for token in tokens(json.dumps(valid, ensure_ascii=False)):
            begin = time.process_time()
            engine.mask()
            masks.append(time.process_time() - begin)
            if not engine.accept(token):
                break
    return verdict, compile, masks


def work(name, path, pipe):
    tokens = Tokens(path)
    engine = {"llguidance": Llguidance, "xgrammar": Xgrammar}[name](tokens)
    pipe.send("ready")
    while (row := pipe.recv()) is not None:
        try:
            pipe.send(look(engine, tokens, row))
        except Exception as e:
            pipe.send(("crashed", None, []))
            print(f"{row['name']}: {e}"[:200], file=sys.stderr)


def each(name, path, rows):
    """Looks at rows in a process of its own, which is begun anew where it ends."""
    process = None
    for row in rows:
        if process is None:
            pipe, other = multiprocessing.Pipe()
            process = multiprocessing.Process(target=work, args=(name, path, other), daemon=True)
            process.start()
            other.close()
            pipe.recv()
        pipe.send(row)
        try:
            if not pipe.poll(PATIENCE):
                raise EOFError
            yield pipe.recv()
        except EOFError:
            print(f"{row['name']}: no answer", file=sys.stderr)
            process.kill()
            process.join()
            process = None
            yield "crashed", None, []
    if process is not None:
        pipe.send(None)
        process.join()


def quantiles(name, list):
    list.sort()
    p50, p99 = list[len(list) // 2], list[len(list) * 99 // 100]
    print(f"{name:12s} p50 {1e6 * p50:10.1f} µs   p99 {1e6 * p99:10.1f} µs   most {1e6 * list[-1]:10.1f} µs   ({len(list)})")


def main(name, schemas, tokens, step=1):
    rows = [json.loads(line) for i, line in enumerate(open(schemas)) if i % int(step) == 0]
    count, compile, masks = dict.fromkeys(["passing", "refused", "invalid", "not written", "crashed"], 0), [], []
    for verdict, took, more in each(name, tokens, rows):
        count[verdict] += 1
        compile += [took] if took is not None else []
        masks += more
    print(name, importlib.metadata.version(name))
    for verdict, n in count.items():
        print(f"{verdict:12s} {n:6d}  {100 * n / len(rows):5.1f} %")
    quantiles("compile", compile)
    quantiles("masks", masks)
    print(f"most memory  {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
