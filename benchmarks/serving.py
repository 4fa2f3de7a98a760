"""The table of docs/SERVE.md on the server: requests and characters per second, beside `charrnn sample`.

    python benchmarks/serving.py RUN [SECONDS]

RUN is a folder of `charrnn train`. 1, 4 and 16 clients ask for texts of 300 characters one after the other, over
connections that they keep, plain and as streams; server and clients share this machine. Beside them `charrnn sample`
draws as many texts of as many characters with --num-samples, as one batch.
"""

import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import charrnn  # noqa: E402
from charrnn.sampling.sampler import Sampler, Settings  # noqa: E402

CLIENTS = 1, 4, 16
LENGTH = 300
SETTINGS = {"temperature": 0.8}


def main():
    run, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    model = charrnn.load(run)
    drawn = {number: draw(model, number, seconds / 2) for number in CLIENTS}
    process = subprocess.Popen(
        [sys.executable, "-m", "charrnn", "serve", run, "--port", "0", "--quiet"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    host, port = re.search(r"http://(\S+):(\d+)", process.stdout.readline()).groups()
    ask(host, int(port), 2, 1.0, False)
    print(
        "| clients | requests/s | characters/s | median time to an answer, ms | streamed: characters/s | "
        "streamed: time to the first characters, ms | `charrnn sample --num-samples`, characters/s |\n"
        "|--:|--:|--:|--:|--:|--:|--:|"
    )
    for number in CLIENTS:
        whole, streamed = (ask(host, int(port), number, seconds, stream) for stream in (False, True))
        print(
            f"| {number} | {whole['rate']:,.0f} | {whole['rate'] * LENGTH:,.0f} | {whole['last_ms']:,.0f} | "
            f"{streamed['rate'] * LENGTH:,.0f} | {streamed['first_ms']:,.0f} | {drawn[number]:,.0f} |",
            flush=True,
        )
    process.send_signal(signal.SIGTERM)
    process.wait()


def draw(model, number, seconds):
    """Return how many characters a second `charrnn sample --num-samples` draws once it has begun."""
    sampler = Sampler(model, Settings(**SETTINGS), seed=1, num_samples=number)
    sampler.prime(model.vocabulary.encode("\n"))
    begun, count = None, 0
    for block in sampler.generate(10**9):
        if begun is None:  # the first block is compiled or read from the disk
            begun = time.perf_counter()
            continue
        count += int(block.drawn.sum())
        if time.perf_counter() - begun > seconds:
            return count / (time.perf_counter() - begun)


def ask(host, port, clients, seconds, stream):
    """Return {"rate": requests per second, "first_ms": until the first characters, "last_ms": until the last}."""
    firsts, lasts, ends = [], [], time.perf_counter() + seconds

    def client(number):
        connection, seed = http.client.HTTPConnection(host, port), number
        while time.perf_counter() < ends:
            body = json.dumps({"max_tokens": LENGTH, "seed": seed, "stream": stream, **SETTINGS})
            begun = time.perf_counter()
            connection.request("POST", "/v1/completions", body)
            answer = connection.getresponse()
            answer.readline()
            firsts.append(1000 * (time.perf_counter() - begun))
            answer.read()
            lasts.append(1000 * (time.perf_counter() - begun))
            seed += clients

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(lasts) / (time.perf_counter() - begun)
    return {"rate": rate, "first_ms": statistics.median(firsts), "last_ms": statistics.median(lasts)}


if __name__ == "__main__":
    main()
