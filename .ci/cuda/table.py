#!/usr/bin/env python3
"""The results of compile.py, a JSON object a line, as a table in Markdown.

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


def main():
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    with open(sys.argv[1]) as f:
        for line in f:
            print("| " + " | ".join(str(c) for c in row(json.loads(line))) + " |")


if __name__ == "__main__":
    main()
