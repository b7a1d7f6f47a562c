"""Writes tickets.jsonl: 40 support tickets in English, Spanish and Catalan."""
import json
import random

draw = random.Random(7)
kinds = {
    "hardware": ["The screen of the {thing} is black", "La pantalla del {thing} no se enciende", "El {thing} fa un soroll estrany"],
    "access": ["I cannot log in to the {thing}", "He olvidado la contraseña del {thing}", "No tinc accés al {thing}"],
    "network": ["The {thing} has no connection", "El {thing} pierde la conexión", "El {thing} no es connecta a la xarxa"],
    "billing": ["The invoice of the {thing} is wrong", "La factura del {thing} está duplicada", "M'han cobrat dues vegades el {thing}"],
}
things = ["printer", "portal", "laptop", "server", "router", "archive"]
urgent = [" and we are all waiting!", ", es urgente", ", és urgent"]
seen = set()
with open("tickets.jsonl", "w", encoding="utf-8") as out:
    while len(seen) < 40:
        kind = list(kinds)[len(seen) % 4]
        lang = draw.randrange(3)
        thing, hurry = draw.choice(things), draw.random() < 0.4
        text = kinds[kind][lang].format(thing=thing) + (urgent[lang] if hurry else ".")
        if text in seen:
            continue
        seen.add(text)
        answer = {"kind": kind, "thing": thing, "urgent": hurry}
        out.write(json.dumps({"prompt": text, "completion": json.dumps(answer)}, ensure_ascii=False) + "\n")
