"""Asks a server questions from several threads until a file is there, and fails if
one is not answered, or not as the first time.

    python3 cluster_load.py URL STOP_FILE
"""
import collections
import json
import os
import sys
import threading
import urllib.request

url, stop = sys.argv[1:]
words = ["sol", "vent", "aigua", "foc", "hidrogen verd", "Barcelona"]
lock, first, counts, faults = threading.Lock(), {}, collections.Counter(), []


def ask(word):
    body = json.dumps({"messages": [{"role": "user", "content": word}], "max_tokens": 12}).encode()
    request = urllib.request.Request(url + "/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=90) as response:
        return json.load(response)["choices"][0]["message"]["content"]


def work(i):
    while not os.path.exists(stop):
        word = words[i % len(words)]
        i += 1
        try:
            answer = ask(word)
        except Exception as e:
            with lock:
                faults.append(f"{word}: {e}")
            continue
        with lock:
            counts[word] += 1
            if answer != first.setdefault(word, answer):
                faults.append(f"{word}: {answer!r}, at first {first[word]!r}")


threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(f"{sum(counts.values())} requests answered, {len(faults)} failed or answered otherwise")
print("\n".join(faults[:10]))
sys.exit(bool(faults) or sum(counts.values()) < 50)
