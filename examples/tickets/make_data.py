#!/usr/bin/env python3
"""Makes the data of this demonstration, the same bytes every time.

train.jsonl and held.jsonl: reports to the help desk of a school, put together from
parts in Catalan, Spanish and English, with the ticket that each should become. No
report of held.jsonl is a near duplicate of one of train.jsonl.
typed.csv is written by hand, the way people type on a telephone: it is not made here.
"""
import json, pathlib, random

here = pathlib.Path(__file__).parent
draw = random.Random(7)

CATEGORIES = {
    "hardware": [("printer", "impressora", "impresora"), ("screen", "pantalla", "pantalla"), ("keyboard", "teclat", "teclado"), ("projector", "projector", "proyector")],
    "network": [("wifi", "wifi", "wifi"), ("network", "xarxa", "red"), ("connection", "connexió", "conexión")],
    "software": [("portal", "portal", "portal"), ("application", "aplicació", "aplicación"), ("calendar", "calendari", "calendario")],
}
LANGS = ["en", "ca", "es"]
REPORTS = {
    "en": ["The {device} does not work{room}", "There is a problem with the {device}{room}", "Please repair the {device}{room}", "The {device} fails{room}"],
    "ca": ["No funciona: {device}{room}", "Tenim un problema: {device}{room}", "Cal reparar això: {device}{room}", "Incidència, {device}{room}"],
    "es": ["No funciona: {device}{room}", "Tenemos un problema: {device}{room}", "Hay que reparar esto: {device}{room}", "Incidencia, {device}{room}"],
}
ROOM = {"en": " in room {}", "ca": " a la sala {}", "es": " en la sala {}"}
URGENT = {"en": ["it is urgent", "we need it today"], "ca": ["és urgent", "ho necessitem avui"], "es": ["es urgente", "lo necesitamos hoy"]}
CALM = {"en": ["there is no hurry", "it can wait"], "ca": ["no hi ha pressa", "pot esperar"], "es": ["no hay prisa", "puede esperar"]}
COST = {"en": ["It cost {} euros.", "Budget: {} euros."], "ca": ["Va costar {} euros.", "Pressupost: {} euros."], "es": ["Costó {} euros.", "Presupuesto: {} euros."]}


def ticket(number):
    lang = LANGS[number % 3]
    category = draw.choice(list(CATEGORIES))
    device = draw.choice(CATEGORIES[category])[LANGS.index(lang)]
    room = draw.choice(["A1", "A2", "A3", "B1", "B2", "B3", "C1", "C2"]) if draw.random() < 0.7 else None
    cost = draw.choice([20, 40, 50, 75, 100, 120, 200, 250]) if draw.random() < 0.5 else None
    urgency = draw.choice(["high", "low", None])
    text = draw.choice(REPORTS[lang]).format(device=device, room=ROOM[lang].format(room) if room else "")
    if urgency:
        text += ", " + draw.choice((URGENT if urgency == "high" else CALM)[lang])
    text += "."
    if cost:
        text += " " + draw.choice(COST[lang]).format(cost)
    answer = {"topic": device, "kind": category, "place": {"room": room}, "level": urgency or "normal", "cost": cost}
    return {"prompt": text, "completion": json.dumps(answer, ensure_ascii=False, indent=2), "lang": lang, "channel": draw.choice(["mail", "web"])}


def runs(text):
    return {text[i : i + 3] for i in range(len(text) - 2)}


def near(a, b):
    return len(runs(a) & runs(b)) >= 0.75 * len(runs(a) | runs(b))


def make(count, prefix, others):
    made = []
    while len(made) < count:
        t = ticket(len(made))
        if not any(near(t["prompt"], o["prompt"]) for o in others) and all(t["prompt"] != o["prompt"] for o in made):
            made.append({"id": f"{prefix}{len(made):03}", **t})
    return made


def write(name, tickets):
    (here / name).write_text("".join(json.dumps(t, ensure_ascii=False) + "\n" for t in tickets), encoding="utf-8")


train = make(240, "t", [])
write("train.jsonl", train)
write("held.jsonl", make(30, "h", train))
