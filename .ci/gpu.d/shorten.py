"""The conversations of standard input, each with the system prompt in a file.

    python shorten.py PROMPT < DATA > SHORTER
"""
import json, sys

with open(sys.argv[1]) as file:
    prompt = file.read()
for line in sys.stdin:
    record = json.loads(line)
    record["messages"][0] = {"role": "system", "content": prompt}
    print(json.dumps(record, ensure_ascii=False))
