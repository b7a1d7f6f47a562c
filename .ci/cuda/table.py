#!/usr/bin/env python3
"""The results of compile.py, a JSON object a line, as a table in Markdown; then what
the steps of training take that are programs of one block (lora/train/passes.go), batches
of an evaluation, and what a generator computes by programs of several blocks
(salamandra/generate/program.go).

usage: table.py RESULTS.jsonl [BLOCKS]

BLOCKS are those of the models, if they were recorded with fewer than they have.
"""

import json
import re
import sys

COLUMNS = ["run", "program", "card", "arguments", "temporaries", "total", "aliased", "moved", "fmha", "casts", "copies", "over 64 MB", "CPU s"]


def row(r):
    """The cells of a result: GB of 1e9 bytes, counts."""
    def gb(key):
        return f"{r[key] / 1e9:.2f}"

    program = re.sub(r"^\d+-|(_gives_\d+_(to_\d+|on))?_\d+\.mlir$", "", r["program"]).replace("_", " ")
    return [
        r["run"], program, r["card"], gb("arguments"), gb("temporaries"), gb("total"), gb("aliased"), gb("moved"),
        r["fmha"], r["casts"], f"{r['joined']}, {gb('joined_bytes')} GB" if r["joined"] else "0",
        sum(r["large"].values()), r.get("cpu_s", ""),
    ]


def step(programs):
    """Bytes of the device, and bytes moved, of a step from its five programs."""
    start, forward, backward, last, join = (programs[k] for k in ("start", "forward", "backward", "last", "join"))
    x, vector = start["results"], join["results"]
    blocks = round(vector / (last["results"] - x))
    block = forward["arguments"] - vector - x
    weights = last["arguments"] - vector - x + (blocks - 1) * block
    kept = (blocks - 1) * forward["results"]  # each x is the result of the block before
    work = x + max(p["temporaries"] + p["results"] - p["aliased"] for p in (backward, last))
    moved = start["moved"] + (blocks - 1) * (forward["moved"] + backward["moved"]) + last["moved"] + join["moved"]
    return weights + vector + kept + work, moved, sum(p.get("cpu_s", 0) for p in programs.values())


def batch(evaluation, training):
    """The same of a batch of an evaluation."""
    forward, last = evaluation["forward"], evaluation["last"]
    x, vector = training["start"]["results"], training["join"]["results"]
    blocks = round(vector / (training["last"]["results"] - x))
    weights = last["arguments"] - vector - x + (blocks - 1) * (forward["arguments"] - vector - x)
    work = x + max(p["temporaries"] + p["results"] - p["aliased"] for p in (forward, last))
    moved = training["start"]["moved"] + (blocks - 1) * forward["moved"] + last["moved"]
    return weights + vector + work, moved, sum(p.get("cpu_s", 0) for p in (forward, last))


BLOCKS = {"2b": 24, "7b": 32}


def together(blocks):
    """How many blocks a program of generation has; 0 for all (gpuGroup in Go)."""
    return next((n for n in (8, 7, 6, 5, 4) if n < blocks and blocks % n == 0), 0)


def generated(run, results, blocks):
    """Rows of the prefix, and of steps with their head."""
    blocks = blocks or BLOCKS.get(run.split("-")[0], 0)
    if not together(blocks):  # one program
        return
    groups = blocks // together(blocks)
    heads = {n: r for r in results if (n := re.match(r"\d+-head_(N_\d+)_", r["program"]))}
    heads = {n[1]: r for n, r in heads.items()}
    for r in results:
        m = re.match(r"\d+-(blocks_|)(prefix|step|write)_(.*?)(_gives_\d+_(?:to_\d+|on))?_\d+\.mlir$", r["program"])
        if not m or m[1] == "" and m[2] != "write":
            continue
        head = heads.get(re.search(r"N_\d+", m[3])[0]) if m[2] == "step" else None
        parts = [r] + [head] * (head is not None)
        own = groups * (r["arguments"] - r["adapter"]) + r["adapter"] + (head["arguments"] if head else 0)
        if m[2] == "write":
            own = groups * r["results"]  # the cache
        total = own + max(p["temporaries"] + p["results"] - p["aliased"] for p in parts)
        moved = groups * r["moved"] + (head["moved"] if head else 0)
        yield f"{run}, {m[2]} {m[3]}".replace("_", " "), total, moved, sum(p.get("cpu_s", 0) for p in parts)


def steps(results, blocks):
    """A row for each run and card that has all programs of something."""
    found = {}
    for r in results:
        of = found.setdefault((r["run"], r["card"]), {})
        if m := re.match(r"\d+-(gradients|loss)_([a-z]+)_", r["program"]):
            of.setdefault(m[1], {})[m[2]] = r
    print("\n| step | card | total | moved | CPU s |\n|---|---|---|---|---|")
    for (run, card), of in found.items():
        training, evaluation = of.get("gradients", {}), of.get("loss", {})
        rows = []
        if len(training) == 5:
            rows.append((run, *step(training)))
        if len(evaluation) == 2 and len(training) == 5:
            rows.append((run + ", evaluation", *batch(evaluation, training)))
        rows += generated(run, [r for r in results if (r["run"], r["card"]) == (run, card)], blocks)
        for name, total, moved, cpu in rows:
            print(f"| {name} | {card} | {total / 1e9:.2f} | {moved / 1e9:.1f} | {cpu:.1f} |")


def main():
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    blocks = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with open(sys.argv[1]) as f:
        results = [json.loads(line) for line in f]
    for r in results:
        print("| " + " | ".join(str(c) for c in row(r)) + " |")
    steps(results, blocks)


if __name__ == "__main__":
    main()
