"""Choose the demonstration's records from a full set of annotated queries.

    python make_data.py BATCHES_DIR TEST_SET.json

Writes data/batches/batch1.json, records spread evenly over the training
batches, and data/test_set.json, 20 test queries spread evenly, none of which
is among the training queries.
"""
import glob, json, os, sys

here = os.path.dirname(os.path.abspath(__file__))
TRAIN, TEST = 48, 20


def read(path):
    data = json.load(open(path, encoding="utf-8-sig"))
    return data if isinstance(data, list) else data["queries"]


def spread(records, n):
    return [records[i * len(records) // n] for i in range(n)]


def write(path, records):
    path = os.path.join(here, "data", path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(records, f, ensure_ascii=False, indent=1)
        f.write("\n")


training = [r for p in sorted(glob.glob(os.path.join(sys.argv[1], "batch*.json"))) for r in read(p)]
test = spread(read(sys.argv[2]), TEST)
chosen = spread(training, TRAIN)
queries = {r["meta"]["original_query"] for r in training}
assert not any(r["meta"]["original_query"] in queries for r in test)
write("batches/batch1.json", chosen)
write("test_set.json", test)
