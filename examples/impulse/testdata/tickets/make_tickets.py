#!/usr/bin/env python3
"""Makes support tickets with the JSON that they should become: schema.json, and held.jsonl
(prompt and completion, with a language and a channel beside them). Same bytes every time."""
import json, pathlib

here = pathlib.Path(__file__).parent
products = [("screen", "pantalla", "pantalla"), ("printer", "impressora", "impresora"), ("network", "xarxa", "red"), ("portal", "portal", "portal")]
asks = {
    "en": "The {} does not work, {}. It cost {} euros.",
    "ca": "No funciona: {}, {}. Va costar {} euros.",
    "es": "No funciona: {}, {}. Costó {} euros.",
}
urgent = {"en": ("it is urgent", "no hurry"), "ca": ("és urgent", "sense pressa"), "es": ("es urgente", "sin prisa")}

properties = {
    "product": {"type": "string"},
    "priority": {"enum": ["high", "low"]},
    "amount": {"type": ["number", "null"]},
    "tags": {"type": "array", "items": {"enum": ["hardware", "software", "money"]}, "maxItems": 3},
    "customer": {"type": "object", "properties": {"lang": {"enum": ["ca", "en", "es"]}}, "required": ["lang"], "additionalProperties": False},
}
schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
(here / "schema.json").write_text(json.dumps(schema, indent=2) + "\n")

lines = []
for n in range(12):
    lang = ["ca", "en", "es"][n % 3]
    product = products[n % 4]
    high, amount = n % 2 == 0, 10 * n + 0.5 if n % 5 else None
    answer = {
        "product": product[["en", "ca", "es"].index(lang)], "priority": "high" if high else "low", "amount": amount,
        "tags": ["software"] if product[0] == "portal" else ["hardware", "money"], "customer": {"lang": lang},
    }
    prompt = asks[lang].format(answer["product"], urgent[lang][0 if high else 1], amount or "?")
    lines.append({"id": f"T{n:02}", "prompt": prompt, "completion": json.dumps(answer, ensure_ascii=False), "lang": lang, "channel": ["mail", "phone"][n // 6]})
(here / "held.jsonl").write_text("".join(json.dumps(l, ensure_ascii=False) + "\n" for l in lines), encoding="utf-8")
