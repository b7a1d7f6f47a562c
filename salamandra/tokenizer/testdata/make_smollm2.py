"""Golden ids and texts by Hugging Face `tokenizers` for the tokenizer of SmolLM2-135M-Instruct.

    python make_smollm2.py OUT_DIR SMOLLM2_DIR

OUT_DIR holds tokenizer_cases.jsonl.gz, whose texts are used. Writes smollm2.json.gz, the tokenizer as published, and
smollm2_cases.jsonl.gz, rows as those of make_cases.py.
"""
import gzip, json, os, sys
from tokenizers import Tokenizer

out, model = sys.argv[1:3]
source = open(os.path.join(model, "tokenizer.json"), encoding="utf-8").read()
tok = Tokenizer.from_str(source)


def write(name, text):
    with open(os.path.join(out, name), "wb") as f, gzip.GzipFile(filename="", fileobj=f, mode="wb", mtime=0) as z:
        z.write(text.encode())


def row(s):
    ids = tok.encode(s, add_special_tokens=False).ids
    with_bos = tok.encode(s).ids
    tok.encode_special_tokens = True
    plain = tok.encode(s, add_special_tokens=False).ids
    tok.encode_special_tokens = False
    return {"text": s, "ids": ids, "ids_with_bos": with_bos, "plain": plain, "decoded": tok.decode(ids, skip_special_tokens=False),
            "decoded_skip_special": tok.decode(ids, skip_special_tokens=True)}


with gzip.open(os.path.join(out, "tokenizer_cases.jsonl.gz"), "rt", encoding="utf-8") as f:
    texts = [json.loads(line)["text"] for line in f]
write("smollm2.json.gz", source)
write("smollm2_cases.jsonl.gz", "".join(json.dumps(row(s)) + "\n" for s in texts))
print(len(texts), "texts")
