"""Records what Python's jsonschema says of random schemas and values.

wild_verdicts.py | gzip -9n > wild_verdicts.jsonl.gz

A line is {"name", "schema", "valid": [...], "invalid": [...]}. Keywords meet in the
schemas that have nothing to do with each other, over few names and values, so that
they often overlap; the drafts take turns.
"""
import json
import random

import jsonschema

DRAFTS = {
    "http://json-schema.org/draft-04/schema#": jsonschema.Draft4Validator,
    "http://json-schema.org/draft-06/schema#": jsonschema.Draft6Validator,
    "http://json-schema.org/draft-07/schema#": jsonschema.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": jsonschema.Draft202012Validator,
}
r = random.Random(20261128)
NAMES = ["a", "b", "c", "ab"]
PATTERNS = ["^a", "b$", "^ab?$", "z", "^(?!a)", "a(?=b)", "(?<!a)b"]


def value(depth):
    kind = r.randrange(6)
    if depth == 0 or kind < 3:
        return r.choice([None, True, False, 0, 1, 2, 1.5, -1, 4, 10, "", "a", "ab", "b", "ba", "ç"])
    if kind < 5:
        return {n: value(depth - 1) for n in r.sample(NAMES + ["zz"], r.randrange(4))}
    return [value(depth - 1) for _ in range(r.randrange(4))]


def schema(depth, draft):
    if depth <= 0 or r.randrange(8) == 0:
        return r.choice([{}, {"type": "object"}, {"type": "integer"}, {"type": ["string", "null"]}, {"minimum": 1}, {"maxLength": 1}] + ([True, False] if "04" not in draft else []))
    out = {}
    for _ in range(1 + r.randrange(3)):
        out.update(keyword(depth - 1, draft))
    return out


def some(depth, draft):
    return [schema(depth, draft) for _ in range(1 + r.randrange(3))]


def members(depth, draft, names):
    return {n: schema(depth, draft) for n in r.sample(names, 1 + r.randrange(3))}


def keyword(depth, draft):
    n = r.randrange(3)
    sub = lambda: schema(depth, draft)
    all = [
        lambda: {"type": r.choice(["object", "array", "string", "integer", "number", ["object", "null"], ["string", "integer"]])},
        lambda: {"type": "object", "properties": members(depth, draft, NAMES)},
        lambda: {"properties": members(depth, draft, NAMES), "required": r.sample(NAMES, 1)},
        lambda: {"required": r.sample(NAMES, 1 + r.randrange(2))},
        lambda: {"additionalProperties": sub()},
        lambda: {"properties": members(depth, draft, NAMES), "additionalProperties": False},
        lambda: {"patternProperties": members(depth, draft, PATTERNS)},
        lambda: {"type": "object", "patternProperties": members(depth, draft, PATTERNS), "additionalProperties": sub()},
        lambda: {r.choice(["minProperties", "maxProperties"]): n},
        lambda: {r.choice(["minItems", "maxItems"]): n},
        lambda: {r.choice(["minLength", "maxLength"]): n},
        lambda: {r.choice(["minimum", "maximum"]): r.choice([0, 1, 1.5, 3])},
        lambda: {"multipleOf": r.choice([2, 0.5, 1.5])},
        lambda: {"pattern": r.choice(PATTERNS + ["^(a|b)*$", "^.?$"])},
        lambda: {"enum": [value(1), value(0), value(1)]},
        lambda: {"items": sub()},
        lambda: {"allOf": some(depth, draft)},
        lambda: {"anyOf": some(depth, draft)},
        lambda: {"oneOf": some(depth, draft)},
        lambda: {"oneOf": some(depth, draft)},
        lambda: {"not": sub()},
        lambda: {"not": sub()},
    ]
    if "2019" in draft or "2020" in draft:
        all += [
            lambda: {"dependentRequired": {r.choice(NAMES): r.sample(NAMES, 1)}},
            lambda: {"dependentSchemas": members(depth, draft, NAMES)},
            lambda: {"contains": sub(), r.choice(["minContains", "maxContains"]): n},
            lambda: {"properties": members(depth, draft, NAMES), "unevaluatedProperties": False},
        ]
    else:
        all += [
            lambda: {"dependencies": {r.choice(NAMES): r.sample(NAMES, 1), "zz": sub()}},
            lambda: {"items": some(depth, draft), "additionalItems": sub()},
        ]
    if "04" in draft:
        all += [lambda: {"minimum": r.choice([0, 1, 2]), "exclusiveMinimum": r.choice([True, False])}]
    else:
        all += [
            lambda: {"const": value(1)},
            lambda: {"contains": sub()},
            lambda: {"propertyNames": r.choice([{"maxLength": 1}, {"pattern": "^a"}, {"enum": ["a", "b"]}, {"not": {"const": "a"}}])},
            lambda: {r.choice(["exclusiveMinimum", "exclusiveMaximum"]): r.choice([0, 1, 1.5])},
        ]
    if "04" not in draft and "06" not in draft:
        all += [lambda: {"if": sub(), "then": sub(), "else": sub()}]
    return r.choice(all)()


for i in range(1500):
    draft = list(DRAFTS)[i % len(DRAFTS)]
    top = schema(3, draft)
    s = {"$schema": draft, **(top if isinstance(top, dict) else {})}
    v = DRAFTS[draft](s)
    out = {"name": str(i), "schema": s, "valid": [], "invalid": []}
    for _ in range(10):
        x = value(2)
        out["valid" if v.is_valid(x) else "invalid"].append(x)
    print(json.dumps(out, ensure_ascii=False, separators=(",", ":")))
