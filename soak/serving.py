"""A server under clients of all kinds for ten minutes: none lost, every text right, memory flat."""

import json
import random
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import memory
from scene import Broken
from watch import Watch

TITLE = "A server that many use"
PROMISES = [
    (
        "If 16 clients send 200 requests at the same time, all are answered, and each gets the same text as if it "
        "were the "
        "only one",
        "tests/test_server.py::test_200_requests_of_16_clients_are_all_answered_as_alone",
    ),
    (
        "If clients read nothing, disconnect or send half a request, other clients do not have to wait, and nothing "
        "stays in memory",
        "tests/test_server.py::test_clients_that_read_nothing_or_vanish_hold_nobody",
    ),
    (
        "If a client does not read its text, the server stops writing this text until the client continues",
        "tests/test_server.py::test_a_text_whose_client_does_not_take_it_is_paused",
    ),
    (
        "If a server is told to stop, it first answers the requests that it has begun",
        "tests/test_cli_serve.py::test_a_server_that_is_told_to_end_answers_what_it_has_begun",
    ),
]

MINUTES, QUICK_SECONDS = 10, 10
CLIENTS, BAD_CLIENTS = 16, 4
SEEDS = 20


def run(scene):
    minutes = QUICK_SECONDS / 60 if scene.quick else MINUTES
    small = ["--hidden-size", 64, "--num-layers", 1, "--steps", 30, "--no-sample", "--quiet"]
    done = scene.charrnn("train", scene.text(), *small, "-o", "run")
    if done.returncode:
        raise Broken(f"training ended with {done.returncode}: {done.stderr[-500:]}")
    process = scene.start("serve", "run", "--port", 0, "--quiet", stderr=open(scene.folder / "log", "w"))
    url = re.search(r"http://\S+", process.stdout.readline())[0]
    watch = Watch(process, minutes / 10, details=True)
    clients = _Clients(url, time.monotonic() + 60 * minutes)
    clients.run()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    watch.join()
    said = (scene.folder / "log").read_text()
    if clients.faults or process.returncode or "Traceback" in said:
        raise Broken(f"exit code {process.returncode}, {clients.faults[:5]}; {said[-500:]}")
    figures = {"minutes": minutes, **clients.counts}
    for sample in watch.samples:  # a share of what is mapped moves as other processes come and go
        sample["pss_mb"] = sample["anonymous_mb"]
    return memory.judge(watch.samples, [0], figures)


class _Clients:
    """CLIENTS that ask and check their answers, and BAD_CLIENTS that do not behave, until a time.

    faults    what was wrong, sentences
    """

    def __init__(self, url, ends):
        self.url, self.ends = url, ends
        self.host, self.port = url.removeprefix("http://").split(":")
        self.faults, self.counts = [], {"answered": 0, "streamed": 0, "refused": 0, "vanished": 0, "characters": 0}
        self._lock, self._texts = threading.Lock(), {}

    def run(self):
        threads = [threading.Thread(target=self._guarded, args=(self._ask, i)) for i in range(CLIENTS)]
        threads += [threading.Thread(target=self._guarded, args=(self._misbehave, i)) for i in range(BAD_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _guarded(self, act, number):
        rng = random.Random(number)
        while time.monotonic() < self.ends and len(self.faults) < 20:
            try:
                act(rng)
            except Exception as error:
                self.faults.append(f"{act.__name__}: {error!r}")

    def _count(self, **more):
        with self._lock:
            for name, number in more.items():
                self.counts[name] += number

    def _ask(self, rng):
        """Ask for a text, whole or streamed; the same request has the same answer whenever it comes."""
        seed, stream = rng.randrange(SEEDS), rng.random() < 0.5
        asked = {"prompt": "the cat", "seed": seed, "max_tokens": 20 + 10 * seed, "n": 1 + seed % 3, "stream": stream}
        asked |= {"temperature": 0.5 + seed % 4 / 4, "stop": ["mat"] if seed % 5 == 0 else None}
        asked |= {"logprobs": 2, "echo": True} if seed % 7 == 0 else {}
        texts = [""] * asked["n"]
        with self._post(asked) as answer:
            for line in answer:
                data = line.strip().removeprefix(b"data: ")
                if data and data != b"[DONE]":
                    for choice in json.loads(data)["choices"]:
                        texts[choice["index"]] += choice["text"]
        with self._lock:
            if self._texts.setdefault(seed, texts) != texts:
                self.faults.append(f"seed {seed} had {self._texts[seed]!r}, and now {texts!r}")
        self._count(answered=1, streamed=stream, characters=sum(map(len, texts)))

    def _misbehave(self, rng):
        """Ask for what is refused; or leave in the midst of a request, or of an answer that is never read."""
        if rng.random() < 0.5:
            try:
                self._post(rng.choice([{"prompt": "\u2603"}, {"n": 10**6}, {"max_tokens": -1}, {"x": 1}, [1]])).close()
            except urllib.error.HTTPError as error:
                if error.code != 400 or not json.loads(error.read())["error"]["message"]:
                    self.faults.append(f"refused with {error.code}")
            else:
                self.faults.append("what should be refused was answered")
            self._count(refused=1)
            return
        body = json.dumps({"max_tokens": 20_000, "n": 8, "stream": True}).encode()
        request = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        with socket.create_connection((self.host, int(self.port)), timeout=30) as client:
            if rng.random() < 0.3:
                request = request[: rng.randrange(len(request))]
            client.sendall(request)
            time.sleep(rng.choice([0, 0.05, 0.5]))
        self._count(vanished=1)

    def _post(self, asked):
        request = urllib.request.Request(f"{self.url}/v1/completions", json.dumps(asked).encode())
        return urllib.request.urlopen(request, timeout=60)


def tell(figures):
    rss = figures["rss_mb"]
    spans = ", ".join(
        f"{shown} {low} to {high}" if low != high else f"{shown} {low}"
        for shown, (low, high) in (("open files", figures["descriptors"]), ("threads", figures["threads"]))
    )
    return (
        f"For {figures['minutes']:g} minutes, {CLIENTS} clients sent requests and {BAD_CLIENTS} misbehaved. "
        f"{figures['answered']:,} requests were answered, {figures['streamed']:,} of them as streams, with "
        f"{figures['characters']:,} characters in total. The same request always got the same text, and no request was "
        f"lost. {figures['refused']:,} bad requests were refused. {figures['vanished']:,} times a client disconnected "
        "during its request or during the answer.\n\nResident memory was "
        f"{rss['first']:.1f} MB after a warm-up of {figures['warm_up_s']:,} s and {rss['last']:.1f} MB at the end; its "
        f"highest value was {rss['highest']:.1f} MB. The growth was {rss['growth']:+.2f} MB. (It is computed as in the "
        f'section "{memory.TITLE}", and the test fails above {memory.MOST_GROWTH_MB:g} MB.) Throughout the test, the '
        f"server had: {spans}.\n\nRSS in MB: `{memory.sparkline(rss['series'])}`\n"
    )
