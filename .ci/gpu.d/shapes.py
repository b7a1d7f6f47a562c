"""Write Llama models of random weights, of Salamandra's shapes, with the tokenizer of another model.

    python shapes.py OUT TOKENIZER_DIR 7b [2b ...] [--tiny]

OUT/7b is a directory that Transformers reads too. Its weights are parts of one block of
random numbers, each at a place of its own, so that the disk sets the speed. It appears
when it is complete. --tiny keeps the names and makes two blocks of width 64.
"""
import argparse, json, math, os, random, shutil

# hidden size, intermediate size, layers, heads, heads of keys and values, vocabulary
SHAPES = {"2b": (2048, 5440, 24, 16, 16, 256000), "7b": (4096, 11008, 32, 32, 8, 256000)}
TINY = (64, 128, 2, 4, 2, 2048)
BLOCK = 1 << 26  # bytes


def tensors(hidden, intermediate, layers, heads, kv_heads, vocabulary):
    """The name and shape of each tensor, in the order of the file."""
    keys = hidden // heads * kv_heads
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for i in range(layers):
        at = f"model.layers.{i}."
        for name, rows in [("q", hidden), ("k", keys), ("v", keys), ("o", hidden)]:
            yield f"{at}self_attn.{name}_proj.weight", (rows, hidden)
        yield at + "mlp.gate_proj.weight", (intermediate, hidden)
        yield at + "mlp.up_proj.weight", (intermediate, hidden)
        yield at + "mlp.down_proj.weight", (hidden, intermediate)
        yield at + "input_layernorm.weight", (hidden,)
        yield at + "post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (vocabulary, hidden)


def write_weights(path, shape, block):
    """A safetensors file in bfloat16."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dimensions in tensors(*shape):
        size = 2 * math.prod(dimensions)
        header[name] = {"dtype": "BF16", "shape": dimensions, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for i, (name, dimensions) in enumerate(tensors(*shape)):
            left = 2 * math.prod(dimensions)
            if "norm" in name:
                file.write(b"\x80\x3f" * dimensions[0])  # ones
                continue
            start = i * 2000006 % (BLOCK // 2)
            while left:
                part = block[start : start + left]
                file.write(part)
                left -= len(part)
                start = 0


def write_model(out, shape, tokenizer, block):
    hidden, intermediate, layers, heads, kv_heads, vocabulary = shape
    os.makedirs(out + ".part")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(os.path.join(tokenizer, name), out + ".part")
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "torch_dtype": "bfloat16",
        "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": vocabulary, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
    }
    with open(os.path.join(out + ".part", "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    write_weights(os.path.join(out + ".part", "model.safetensors"), shape, block)
    os.rename(out + ".part", out)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out")
parser.add_argument("tokenizer")
parser.add_argument("names", nargs="+", choices=SHAPES)
parser.add_argument("--tiny", action="store_true")
o = parser.parse_args()
# The upper byte gives both signs and, with the lower one, 0.008 to 0.03.
draw, block = random.Random(1), bytearray(BLOCK)
block[::2] = draw.randbytes(BLOCK // 2)
block[1::2] = draw.randbytes(BLOCK // 2).translate(bytes([0x3C, 0xBC] * 128))
block = memoryview(block)
for name in o.names:
    write_model(os.path.join(o.out, name), TINY if o.tiny else SHAPES[name], o.tokenizer, block)
