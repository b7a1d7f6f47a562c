"""Records what Python's jsonschema says of random schemas and values.

python_verdicts.py < SCHEMAS > python_verdicts.jsonl

SCHEMAS has a line {"name", "schema", "values"} for each schema. Values that the
schema allows become "valid", the others "invalid".
"""
import json
import sys

from jsonschema import Draft202012Validator

for line in sys.stdin:
    row = json.loads(line)
    v = Draft202012Validator(row["schema"], format_checker=Draft202012Validator.FORMAT_CHECKER)
    out = {"name": row["name"], "schema": row["schema"], "valid": [], "invalid": []}
    for x in row["values"]:
        out["valid" if v.is_valid(x) else "invalid"].append(x)
    print(json.dumps(out, ensure_ascii=False, separators=(",", ":")))
