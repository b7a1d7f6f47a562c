"""One line of results of a part that .ci/gpu ran: how it ended, and the figures in its log and its run."""
import argparse, json, os, re

END = {0: "ok", 124: "out of time", 137: "out of time"}


def training(run, log):
    """The figures of metrics.jsonl. The first step, which compiles, is in no speed."""
    with open(os.path.join(run, "metrics.jsonl")) as file:
        steps = [line for line in map(json.loads, file) if "loss" in line]
    if not steps:
        return {}
    figures = {"losses": [round(s["loss"], 4) for s in steps], "peak_memory_bytes": max(s["peak_memory_bytes"] or 0 for s in steps)}
    if plan := re.search(r"^memory: .*", log, re.M):
        figures["plan"] = plan[0]
    batch = re.search(r"batches of (\d+) x", log)
    if batch and len(steps) > 1:
        rate = (len(steps) - 1) / (steps[-1]["time"] - steps[0]["time"])
        figures |= {"examples_per_second": round(int(batch[1]) * rate, 3), "steps_per_second": round(rate, 4)}
        figures["first_step_seconds"] = round(steps[0]["tokens"] / steps[0]["tokens_per_second"], 2)
    return figures


def answering(few, many):
    """What the second run's further answers took."""
    (n, _, s, _), (m, tokens, t, steps) = few, many
    further = (float(t) - float(s)) / (int(m) - int(n))
    # Where they took less than compiling varies by, that is all there is to say.
    per_query = {"seconds_per_query": round(further, 4)} if further > 0 else {"too_few_queries": int(m) - int(n)}
    return per_query | {"new_tokens": int(tokens) // int(m), "steps": int(steps)}


def figures(log, run):
    found = {}
    if os.path.exists(os.path.join(run, "metrics.jsonl")):
        found |= training(run, log)
    runs = re.findall(r"(\d+) answers, (\d+) tokens in ([\d.]+) s: .* of (\d+) steps each", log)
    if len(runs) == 2 and runs[0][0] != runs[1][0]:
        found |= answering(*runs)
    for end in ("PASS", "FAIL", "SKIP"):
        if n := len(re.findall(rf"^ *--- {end}: .*/xla", log, re.M)):
            found["tests_" + end.lower()] = n
    if (lines := log.rstrip().splitlines()) and lines[-1].startswith("{"): # .ci/peer.py's
        found |= json.loads(lines[-1])
        for name in ("answers", "seconds"):
            found.pop(name, None)
    return found


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("part")
parser.add_argument("--status", type=int)
parser.add_argument("--seconds", type=int)
parser.add_argument("--log")
parser.add_argument("--run")
o = parser.parse_args()
with open(o.log, errors="replace") as file:
    text = file.read()
print(json.dumps({"part": o.part, "result": END.get(o.status, f"failed: status {o.status}"), "seconds": o.seconds} | figures(text, o.run)))
