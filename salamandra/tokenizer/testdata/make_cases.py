"""Golden ids and texts by Hugging Face `tokenizers` for what the four Llama layouts do not show.

    python make_cases.py OUT_DIR

OUT_DIR holds tokenizer.json.gz and tokenizer_cases.jsonl.gz (made by make_tokenizer.py and make_text.py). Writes
  bytelevel.json.gz, bytelevel_cases.jsonl.gz   a ByteLevel + Digits tokenizer of 1,000 tokens, trained on the texts of
                                                the cases, and rows as those of make_text.py
  variants.json.gz    tokenizers that differ from one of the two in a section or two: how, and the rows
A row of a variant: text, ids, ids_with_bos, plain (encoded with encode_special_tokens), decoded, decoded_skip_special.
The seed is fixed and training is deterministic: the same versions write the same bytes.
"""
import copy, gzip, json, os, random, sys
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE

out = sys.argv[1]
rng = random.Random(42)


def write(name, text):
    with open(os.path.join(out, name), "wb") as f, gzip.GzipFile(filename="", fileobj=f, mode="wb", mtime=0) as z:
        z.write(text.encode())


def read(name):
    with gzip.open(os.path.join(out, name)) as f:
        return f.read().decode()


def row(t, s):
    ids = t.encode(s, add_special_tokens=False).ids
    with_bos = t.encode(s).ids
    t.encode_special_tokens = True
    plain = t.encode(s, add_special_tokens=False).ids
    t.encode_special_tokens = False
    return {"text": s, "ids": ids, "ids_with_bos": with_bos, "plain": plain, "decoded": t.decode(ids, skip_special_tokens=False),
            "decoded_skip_special": t.decode(ids, skip_special_tokens=True)}


texts = [json.loads(line)["text"] for line in read("tokenizer_cases.jsonl.gz").splitlines()]
tricky = [
    "", " ", "  ", "a", " a", "a ", "  a  b  ", "it's we're I've I'm we'll he'd 'tis 'S ''s '", "don't  'll've", "x\u00a0y\u3000z \u2028 \u0085w",
    "one\n\ntwo \n three\t\tfour\r\nfive   ", "   \n  x", "12 345 6,7.8%", "²③Ⅷ٣४", "a1b22c333", "¡Hola, señor! ¿Qué tal?", "l·l col·laboració",
    "cafe\u0301 ca\u0327 A\u030a \u212b ﬁ ① ½ ｆｕｌｌ ㍿", "İ ǅ ß ſ", "日本語 テスト", "العربية", "🎉🏽 👩‍👩‍👧 \ufe0f", "\u2581", "\u2581a\u2581\u2581b ", "a\u2581",
    "\x00\x01\x7f", "<s>", "</s> x", "<|im_start|>user\nhola<|im_end|>\n", "x<s>y</s>", "  <s>  a  </s>  ", "<s", "<unk>", "<0x41>", "{\"a\": [1, 2,  null]}",
    "foo", "foo foo", "afoo foob foo_ foo, (foo)", "  foo  \n foo\n", "bar baz", "x bar  baz bar baz", "qux", " qux  qux", "aqux quxé qux\u0301 qux", "été", "e\u0301te\u0301 x",
    "ab<s>c", "b<s>", "ab<s><s>", "foo\t\tfoo \r", "\t\n\r", "zzz\u0901ñ€zz", "€€ñ€", "a€b€€c"]


def noise(n):
    alphabet = list("abceéhilnorstu  \n\t0123456789.,'\"") + ["€", "日", "<s>", "</s>", "foo", "qux", "bar baz", "e\u0301", "\u2581", "🎉", "<|im_end|>"]
    return ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 30))) for _ in range(n)]


# A small ByteLevel tokenizer.
bl = Tokenizer(BPE())
bl.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
bl.decoder = decoders.ByteLevel()
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>"]
bl.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=1000, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
bl.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", pair="$A $B", special_tokens=[("<|endoftext|>", 0)])
write("bytelevel.json.gz", bl.to_str(pretty=True))
write("bytelevel_cases.jsonl.gz", "".join(json.dumps(row(bl, s)) + "\n" for s in texts + tricky))

base = {"tokenizer": json.loads(read("tokenizer.json.gz")), "bytelevel": json.loads(bl.to_str())}


def added(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


flagged = [added("foo", normalized=True), added("bar baz", normalized=True, lstrip=True, rstrip=True), added("qux", single_word=True, special=True),
           added("ab<s>", special=True), added("b<s"), added("été", normalized=True)]
strips = [added("foo", rstrip=True), added("qux", lstrip=True, special=True), added("</s>x", lstrip=True, rstrip=True, single_word=True)]
metaspace = lambda **o: {"type": "Metaspace", "replacement": "\u2581", **o}
bytelevel = lambda **o: {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, **o}
sequence = lambda key, *items: {"type": "Sequence", key: list(items)}
replace = lambda a, b: {"type": "Replace", "pattern": {"String": a}, "content": b}
prefix = sequence("normalizers", {"type": "Prepend", "prepend": "\u2581"}, replace(" ", "\u2581"))
template = {"type": "TemplateProcessing", "pair": [], "special_tokens": {"start": {"id": "start", "ids": [1, 4], "tokens": ["<s>", "<|im_start|>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}},
            "single": [{"SpecialToken": {"id": "start", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]}
no_bytes = [f"<0x{b:02X}>" for b in range(256)]
# name, base, changed sections, changed members of model, pieces removed, added tokens
variants = [
    ("metaspace always split", "tokenizer", {"normalizer": None, "pre_tokenizer": metaspace(prepend_scheme="always", split=True), "decoder": metaspace(prepend_scheme="always", split=True)}, {}, [], []),
    ("metaspace first split", "tokenizer", {"normalizer": None, "pre_tokenizer": metaspace(prepend_scheme="first"), "decoder": metaspace(prepend_scheme="first")}, {}, [], flagged),
    ("metaspace old spelling", "tokenizer", {"normalizer": None, "pre_tokenizer": metaspace(add_prefix_space=True, str_rep="\u2581"), "decoder": metaspace(add_prefix_space=False, prepend_scheme="never")}, {}, [], []),
    ("metaspace after digits", "tokenizer", {"normalizer": None, "pre_tokenizer": sequence("pretokenizers", {"type": "Digits", "individual_digits": False}, metaspace(prepend_scheme="first"))}, {}, [], []),
    ("nfkc", "tokenizer", {"normalizer": sequence("normalizers", {"type": "NFKC"}, replace(" ", "\u2581"))}, {}, [], flagged),
    ("nfd", "tokenizer", {"normalizer": sequence("normalizers", {"type": "NFD"}, replace(" ", "\u2581"))}, {}, [], flagged),
    ("nfkd and longer replacements", "tokenizer", {"normalizer": sequence("normalizers", {"type": "NFKD"}, sequence("normalizers", replace("foo", "a"), replace("a", "o  o")))}, {}, [], []),
    ("added tokens with flags, nfc", "tokenizer", {}, {}, [], flagged),
    ("added tokens with flags, prefix space", "tokenizer", {"normalizer": prefix}, {}, [], flagged),
    ("added tokens that strip", "tokenizer", {"normalizer": None, "pre_tokenizer": metaspace(prepend_scheme="first", split=False)}, {}, [], strips),
    ("unknown fused", "tokenizer", {"normalizer": None}, {"byte_fallback": False}, [], []),
    ("unknown one by one", "tokenizer", {"normalizer": None}, {"byte_fallback": False, "fuse_unk": False}, [], []),
    ("unknown dropped", "tokenizer", {"normalizer": None}, {"byte_fallback": False, "unk_token": None}, [], []),
    ("some bytes missing, fused", "tokenizer", {"normalizer": None}, {}, ["<0xE2>", "<0xE0>", "<0x7F>", "\u00f1", "z"], []),
    ("some bytes missing, one by one", "tokenizer", {"normalizer": None}, {"fuse_unk": False}, ["<0xE2>", "<0xE0>", "<0x7F>", "\u00f1", "z"], []),
    ("bytes removed, fallback asked", "tokenizer", {}, {}, no_bytes, []),
    ("ignore merges", "tokenizer", {"normalizer": None, "pre_tokenizer": metaspace(prepend_scheme="always")}, {"ignore_merges": True}, [], []),
    ("no decoder", "tokenizer", {"decoder": None}, {}, [], []),
    ("strip both ends", "tokenizer", {"decoder": sequence("decoders", replace("\u2581", " "), {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 0})}, {}, [], []),
    ("template around", "tokenizer", {"post_processor": sequence("processors", bytelevel(), template)}, {}, [], []),
    ("no post-processor", "tokenizer", {"post_processor": None}, {}, [], []),
    ("byte level with prefix space", "bytelevel", {"pre_tokenizer": bytelevel(add_prefix_space=True), "post_processor": bytelevel()}, {}, [], flagged),
    ("byte level without rules", "bytelevel", {"pre_tokenizer": bytelevel(use_regex=False)}, {}, [], []),
    ("byte level, runs of digits", "bytelevel", {"pre_tokenizer": sequence("pretokenizers", {"type": "Digits", "individual_digits": False}, bytelevel(use_regex=True))}, {}, [], strips),
    ("byte level then digits", "bytelevel", {"pre_tokenizer": sequence("pretokenizers", bytelevel(), {"type": "Digits", "individual_digits": True})}, {"ignore_merges": True}, [], []),
    ("byte level, nfc", "bytelevel", {"normalizer": {"type": "NFC"}}, {}, [], flagged),
]
lines = []
for name, of, sections, model, removed, tokens in variants:
    j = copy.deepcopy(base[of])
    j.update(sections)
    j["model"].update(model)
    gone = set(removed)
    for piece in removed:
        del j["model"]["vocab"][piece]
    j["model"]["merges"] = [m for m in j["model"]["merges"] if not gone & {m[0], m[1], m[0] + m[1]}]
    j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] not in gone] + [{"id": len(j["model"]["vocab"]) + i, **a} for i, a in enumerate(tokens)]
    t = Tokenizer.from_str(json.dumps(j))
    for a in j["added_tokens"]:
        assert t.token_to_id(a["content"]) == a["id"], (name, a)
    rows = [row(t, s) for s in tricky + noise(25)]
    size = max(list(j["model"]["vocab"].values()) + [a["id"] for a in j["added_tokens"]]) + 1
    decoded = []
    for _ in range(25):
        ids = [rng.randrange(size) if rng.random() < 0.5 else rng.randrange(min(size, 420)) for _ in range(rng.randint(1, 12))]
        decoded.append({"ids": ids, "decoded": t.decode(ids, skip_special_tokens=False), "decoded_skip_special": t.decode(ids, skip_special_tokens=True)})
    change = {k: j[k] for k in sections}
    lines.append({"name": name, "of": of, "sections": change, "model": model, "removed": removed, "added_tokens": j["added_tokens"], "rows": rows, "decodes": decoded})
write("variants.json.gz", json.dumps(lines))
print(len(lines), "variants")
