#!/usr/bin/env python3
"""The results of compile.py, a JSON object a line, as a table in Markdown; then what
the steps of training take that are programs of one block (lora/train/passes.go).

usage: table.py RESULTS.jsonl
"""

import json
import re
import sys

COLUMNS = ["run", "program", "card", "arguments", "temporaries", "total", "aliased", "moved", "fmha", "casts", "copies", "over 64 MB", "CPU s"]


def row(r):
    """The cells of a result: GB of 1e9 bytes, counts."""
    def gb(key):
        return f"{r[key] / 1e9:.2f}"

    program = re.sub(r"^\d+-|_\d+\.mlir$", "", r["program"]).replace("_", " ")
    return [
        r["run"], program, r["card"], gb("arguments"), gb("temporaries"), gb("total"), "yes" if r["aliased"] else "no", gb("moved"),
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
    work = x + max(p["temporaries"] + p["results"] for p in (backward, last))
    moved = start["moved"] + (blocks - 1) * (forward["moved"] + backward["moved"]) + last["moved"] + join["moved"]
    return weights + vector + kept + work, moved, sum(p.get("cpu_s", 0) for p in programs.values())


def steps(results):
    """A row for each run and card that has all programs of a step."""
    found = {}
    for r in results:
        if m := re.match(r"\d+-gradients_([a-z]+)_", r["program"]):
            found.setdefault((r["run"], r["card"]), {})[m[1]] = r
    print("\n| step | card | total | moved | CPU s |\n|---|---|---|---|---|")
    for (run, card), programs in found.items():
        if len(programs) == 5:
            total, moved, cpu = step(programs)
            print(f"| {run} | {card} | {total / 1e9:.2f} | {moved / 1e9:.1f} | {cpu:.1f} |")


def main():
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    with open(sys.argv[1]) as f:
        results = [json.loads(line) for line in f]
    for r in results:
        print("| " + " | ".join(str(c) for c in row(r)) + " |")
    steps(results)


if __name__ == "__main__":
    main()
