"""charrnn serve as its clients meet it: a server in a thread of this process, on a free port."""

import asyncio
import contextlib
import gc
import json
import socket
import threading
import time

import httpx
import numpy as np
import openai
import pytest

import charrnn
from charrnn.cli import main
from charrnn.model.parameters import Model
from charrnn.sampling.sampler import Sampler, Settings, StopMatcher
from charrnn.server.answers import Answer, Served
from charrnn.server.batching import Batch, Drawing, Prompt
from charrnn.server.engine import MAX_BACKLOG, Engine, Job
from charrnn.server.guard import check_source
from charrnn.server.protocol import Limits, Refused, read_request
from charrnn.server.serving import Server
from charrnn.spec import ModelConfig
from charrnn.text.vocabulary import Vocabulary

LETTERS = "\n abcdefghijklmno"
LIMITS = Limits(prompt=400, tokens=5_000, texts=20, characters=20_000, body=10_000, requests=40)


def make_model(vocabulary=None, hidden_size=19, rule=None):
    vocabulary = vocabulary or Vocabulary("chars", tuple(LETTERS))
    model = Model.initialise(ModelConfig("lstm", vocabulary.size, hidden_size, 2), 1, rule=rule)
    model.set_parameters({name: value * 3 for name, value in model.get_parameters().items()})
    model.vocabulary = vocabulary
    return model


@contextlib.contextmanager
def serving(model, origins=(), limits=LIMITS, log=lambda _line: None, encoding=None):
    server = Server(Served(model, "letters", 1, limits, encoding), "127.0.0.1", 0, origins, log)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def lines():
    return []


@pytest.fixture(scope="module")
def server(model, lines):
    with serving(model, ("https://allowed.example",), log=lines.append) as server:
        yield server


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=20) as http:
        yield http


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def complete(http, **fields):
    answer = http.post("/v1/completions", json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ---- the batch -------------------------------------------------------------------------------------------------------


def test_a_text_is_that_of_the_sampler_whatever_is_drawn_beside_it(model):
    """Prompts of all lengths about a chunk's, other settings, stops and log probabilities, joining one after another
    a batch that has fewer places than there are texts."""
    rng, batch, asked = np.random.default_rng(0), Batch(model, slots=5), []
    every = [Settings(0.8), Settings(0), Settings(1.3, top_k=3), Settings(0.7, top_p=0.8), Settings(min_p=0.05)]
    for i in range(23):
        ids = rng.integers(0, 17, [0, 1, 2, 7, 130, 129, 128, 400][i % 8]).astype(np.int32)
        stop, top = [[3, 4], [5]] if i % 3 == 0 else [], 3 if i % 4 == 0 else None
        prompt = Prompt(ids, top)
        for number in range(2):
            matcher = StopMatcher(stop) if stop else None
            asked.append((stop, Drawing(prompt, every[i % 5], i, number, 50 + i, matcher, top)))
    texts, ends, waiting = {}, {}, [one for _, one in asked]
    while waiting or batch.has_work():
        for one in waiting[:3]:
            batch.add(one)
        waiting = waiting[3:]
        for drawn in batch.step():
            texts.setdefault(id(drawn.drawing), []).extend(drawn.ids)
            ends[id(drawn.drawing)] = drawn.finished
            assert (drawn.scores is None) == (drawn.drawing.top is None)
            assert drawn.scores is None or len(drawn.scores.chosen) == len(drawn.ids)
    for stop, one in asked:
        sampler = Sampler(model, one.settings, seed=one.seed, num_samples=one.number + 1)
        sampler.prime(one.prompt.ids)
        expected, end = [], None
        for block in sampler.generate(one.limit, stop):
            expected += block.ids[one.number].tolist()
            end = end or block.finished[one.number]
        assert (texts[id(one)], ends[id(one)]) == (expected, end)


def test_a_text_without_finite_logits_ends_alone():
    model = make_model()
    arrays = model.get_parameters()
    arrays["rnn.weight_ih_l0"][:, 5] = np.nan  # of the letter d alone
    model.set_parameters(arrays)
    batch = Batch(model)
    for letter in (5, 6):
        # Greedy, so that the other one does not meet a d.
        batch.add(Drawing(Prompt(np.array([letter], np.int32)), Settings(0), 1, 0, 1))
    assert [(drawn.drawing.prompt.ids[0], drawn.finished) for drawn in batch.step()] == [(5, "error"), (6, "length")]


# ---- OpenAI's client -------------------------------------------------------------------------------------------------


def test_openais_client_gets_the_texts_of_charrnn_sample(client, model):
    settings = {"temperature": 0.7, "seed": 5}
    expected = charrnn.sample(model, 90, prime="abc", num_samples=2, **settings)
    answer = client.completions.create(model="letters", prompt="abc", max_tokens=90, n=2, **settings)
    assert [choice.text for choice in answer.choices] == expected
    assert [choice.finish_reason for choice in answer.choices] == ["length"] * 2
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 180, 183)
    streamed = ["", ""]
    for chunk in client.completions.create(
        model="letters",
        prompt="abc",
        max_tokens=90,
        n=2,
        stream=True,
        stream_options={"include_usage": True},
        **settings,
    ):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
        usage = chunk.usage
    assert streamed == expected and usage.completion_tokens == 180
    assert [one.id for one in client.models.list()] == ["letters"]
    assert client.models.retrieve("letters").owned_by == "charrnn"
    with pytest.raises(openai.NotFoundError, match="'gpt': this server has 'letters'"):
        client.completions.create(model="gpt", prompt="abc")


def test_every_setting_and_prompt_of_a_list_is_as_alone(client, model):
    more = {"top_k": 5, "min_p": 0.01}
    answer = client.completions.create(
        model="letters", prompt=["abc", "", "no man"], max_tokens=60, temperature=1.2, top_p=0.9, seed=2,
        stop=["ab", "n"], n=2, user="me", presence_penalty=0, best_of=2, extra_body=more,
    )  # fmt: skip
    expected = [
        text
        for prime in ("abc", "", "no man")
        for text in charrnn.sample(
            model, 60, prime=prime, temperature=1.2, top_p=0.9, seed=2, stop=["ab", "n"], num_samples=2, **more
        )
    ]
    assert [choice.text for choice in answer.choices] == expected
    assert "stop" in {choice.finish_reason for choice in answer.choices}


def test_log_probabilities_tell_of_every_character_of_prompt_and_text(client, model):
    asked = {"model": "letters", "prompt": "abc", "max_tokens": 12, "seed": 3, "logprobs": 4, "echo": True}
    one = client.completions.create(**asked).choices[0]
    told = one.logprobs
    assert "".join(told.tokens) == one.text and one.text.startswith("abc")
    assert told.text_offset == list(range(15)) and told.token_logprobs[0] is None and told.top_logprobs[0] is None
    from charrnn.sampling.reading import read_prompts

    for place in range(1, 15):
        log_p = read_prompts(model, [model.vocabulary.encode(one.text[:place])])[0][0]
        assert told.token_logprobs[place] == pytest.approx(log_p[LETTERS.index(one.text[place])], abs=1e-4)
        likeliest = sorted(zip(log_p, LETTERS), reverse=True)[:4]
        assert list(told.top_logprobs[place]) == [letter for _, letter in likeliest]
    parts = [chunk.choices[0].logprobs for chunk in client.completions.create(**asked, stream=True)]
    assert [token for part in parts for token in part.tokens] == told.tokens
    assert [offset for part in parts for offset in part.text_offset] == told.text_offset
    only = client.completions.create(**{**asked, "max_tokens": 0}).choices[0]  # a text that is only judged
    assert only.text == "abc" and only.logprobs.token_logprobs == told.token_logprobs[:3]


# ---- other models ----------------------------------------------------------------------------------------------------


def test_a_model_of_items_writes_one_and_a_label_steers_it(tmp_path, capsys):
    rows = ["text,label", *(f"{'abcdefgh'[i % 8] * (i % 5 + 2)},{'xy'[i % 2]}" for i in range(200))]
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    tiny = ["--hidden-size", "8", "--num-layers", "1", "--threads", "1", "--no-sample", "-q", "--steps", "20"]
    told = ["--text-field", "text", "--label-field", "label"]
    run = str(tmp_path / "steer")
    assert not main(["train", str(tmp_path / "l.csv"), *tiny, *told, "-o", run])
    capsys.readouterr()
    expected, reasons = [], []
    for length in ("6", "40"):
        options = ["--given", "x", "--length", length, "--seed", "4", "--num-samples", "8", "--json", "--prime", "a"]
        assert not main(["sample", run, *options])
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        expected += [record["text"] for record in records]
        reasons += [record["stop_reason"] for record in records]
    assert set(reasons) == {"length", "stop"}
    with serving(charrnn.load(run)) as server, httpx.Client(base_url=server.url) as http:
        asked = {"prompt": "a", "seed": 4, "n": 8, "given": "x"}
        choices = [one for most in (6, 40) for one in complete(http, **asked, max_tokens=most)["choices"]]
        assert [one["text"] for one in choices] == expected
        assert [one["finish_reason"] for one in choices] == reasons
        scored = complete(http, **{**asked, "n": 1}, logprobs=2, max_tokens=3, echo=True)["choices"][0]["logprobs"]
        assert None not in scored["token_logprobs"]  # an item's first character follows its START
        for given, said in ((None, "give it in the field given, one of x, y"), ("z", "has no label 'z'")):
            refused = http.post("/v1/completions", json={"given": given})
            assert refused.status_code == 400 and said in refused.json()["error"]["message"]
            assert refused.json()["error"]["param"] == "given"
    assert main(["serve", str(tmp_path / "nothing")]) == 2


def test_a_model_of_bytes_writes_text_and_completes_a_character():
    symbols = tuple(sorted(set("aé日\n".encode())))
    model = make_model(Vocabulary("bytes", symbols))
    with serving(model) as server, httpx.Client(base_url=server.url) as http:
        asked = {"prompt": "日\udce6", "max_tokens": 80, "seed": 2}  # and the first byte of another
        body = json.dumps({**asked, "logprobs": 0}).encode()
        answer = http.post("/v1/completions", content=body).json()
        one = answer["choices"][0]
        sampler = Sampler(model, Settings(), seed=2)
        ids = [symbols.index(byte) for byte in "日".encode() + b"\xe6"]
        sampler.prime(ids)
        drawn = np.concatenate([block.ids[0] for block in sampler.generate(80)])
        whole = bytes(symbols[i] for i in [*ids, *drawn]).decode("utf-8", "replace")
        assert one["text"] == whole[1:] and answer["usage"]["completion_tokens"] == 80
    with serving(model, encoding="latin-1") as server, httpx.Client(base_url=server.url) as http:
        asked = {"prompt": "\u00e6", "max_tokens": 20, "seed": 2}  # a byte of its own
        assert complete(http, **asked)["choices"][0]["text"].encode("latin-1")
        assert [t for t in one["logprobs"]["tokens"] if t == "a" or t == "bytes:\\xe6"]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"prompt": "abc!"}, "prompt", "character '!' at offset 3 is not among the 17 characters"),
        ({"prompt": ["a", "Z"]}, "prompt", "prompt 2: character 'Z'"),
        ({"prompt": "a" * 401}, "prompt", "a prompt has at most 400 characters, got 401"),
        ({"prompt": [1, 2]}, "prompt", "reads characters, not token ids"),
        ({"prompt": []}, "prompt", "empty list"),
        ({"max_tokens": 5_001}, "max_tokens", "between 0 and 5,000, got 5001"),
        ({"max_tokens": 1.5}, "max_tokens", "must be a whole number, got 1.5"),
        ({"max_tokens": True}, "max_tokens", "must be a whole number, got true"),
        ({"n": 21}, "n", "between 1 and 20"),
        ({"n": 11, "prompt": ["a", "b"]}, "n", "ask for 22 texts; a request has at most 20"),
        ({"n": 5, "max_tokens": 4_001}, "max_tokens", "more than the 20,000 characters of a request"),
        ({"logprobs": 1, "max_tokens": 2_001}, "max_tokens", "2,000 characters of a request with logprobs"),
        ({"echo": True, "prompt": "a" * 400, "n": 20, "max_tokens": 601}, "max_tokens", "and their prompts are more"),
        ({"echo": True, "prompt": "a" * 400, "n": 5, "max_tokens": 1, "logprobs": 1}, "max_tokens", "leave echo out"),
        ({"logprobs": 21}, "logprobs", "between 0 and 20"),
        ({"logprobs": True}, "logprobs", "must be a whole number"),
        ({"temperature": -1}, "temperature", "temperature must be 0 (greedy) or a positive number, got -1"),
        ({"temperature": 10**400}, "temperature", "positive number"),
        ({"top_p": 0}, "top_p", "top_p must be above 0"),
        ({"min_p": 2}, "min_p", "min_p must be between 0 and 1"),
        ({"top_p": "x"}, "top_p", "must be a number"),
        ({"seed": -1}, "seed", "between 0"),
        ({"stop": ""}, "stop", "at least one character"),
        ({"stop": ["a"] * 17}, "stop", "at most 16 strings"),
        ({"stop": 3}, "stop", "a string or a list"),
        ({"suffix": "x"}, "suffix", "suffix is not supported: leave it out"),
        ({"best_of": 3}, "best_of", "best_of 3 is not supported"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "not supported"),
        ({"presence_penalty": 0.5}, "presence_penalty", "not supported"),
        ({"temprature": 1}, "temprature", "did you mean 'temperature'?"),
        ({"prime_file": "/etc/passwd"}, "prime_file", "unknown field 'prime_file'"),
        ({"given": "x"}, "given", 'this model has no labels: leave the field given out'),
        ({"echo": 1}, "echo", "must be true or false, got 1"),
        ({"model": 3}, "model", "must be a string"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_openais_form(http, fields, param, said):
    answer = http.post("/v1/completions", json=fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert said in error["message"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"n": NaN}', b"[" * 5_000, b'"a"', b"a" * 10_001])
def test_a_body_that_is_no_request_is_refused(http, body):
    answer = http.post("/v1/completions", content=body)
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_what_changes_nothing_is_ignored():
    body = {"user": "x", "metadata": {"a": "b"}, "suffix": "", "logit_bias": {}, "frequency_penalty": 0.0, "best_of": 1,
            "stop": None, "anything": None, "top_k": -1, "n": None}  # fmt: skip
    assert read_request(json.dumps(body).encode(), "m", Limits()) == read_request(b"{}", "m", Limits())


def test_only_this_machine_and_pages_that_are_allowed_may_ask(server, http):
    port = server.url.rpartition(":")[2]
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "localhost"):
        assert http.get("/healthz", headers={"host": host}).status_code == 200
    for host in ("evil.example", f"127.0.0.1.evil.example:{port}", ""):
        assert http.get("/healthz", headers={"host": host}).status_code == 403
    for origin, status in (("https://evil.example", 403), ("null", 403), (server.url, 200)):
        answer = http.get("/healthz", headers={"origin": origin})
        assert answer.status_code == status and "access-control-allow-origin" not in answer.headers
    allowed = {"origin": "https://allowed.example"}
    for method, status in (("GET", 200), ("OPTIONS", 204)):
        answer = http.request(method, "/healthz", headers=allowed)
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://allowed.example"
    check_source({"host": "a.example"}, "0.0.0.0", ())
    check_source({"host": "localhost", "origin": "https://b.example"}, "127.0.0.1", ("*",))
    with pytest.raises(Refused, match="--allow-origin https://b.example"):
        check_source({"host": "a.example", "origin": "https://b.example"}, "0.0.0.0", ())


def test_the_other_paths(http):
    assert http.get("/healthz").json() == {"status": "ok", "model": "letters", "requests": 0}
    usage = http.get("/api")
    assert usage.headers["content-type"].startswith("text/html") and "curl http://127.0.0.1" in usage.text
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html") and "<title>letters" in page.text
    assert page.text == http.get("/").text
    for path in ("/v1/models/x", "/v1/chat/completions", "/../etc/passwd", "/v1/models//etc/passwd"):
        answer = http.get(path)
        assert answer.status_code == 404 and answer.json()["error"]["message"]
    assert http.get("/v1/completions").status_code == 405


# ---- many clients, and bad ones --------------------------------------------------------------------------------------


def test_200_requests_of_16_clients_are_all_answered_as_alone(server, model):
    expected = {seed: charrnn.sample(model, 40 + seed, prime="a", seed=seed) for seed in range(10)}
    answers = []

    def ask(first):
        with httpx.Client(base_url=server.url, timeout=60) as http:
            for i in range(first, 200, 16):
                seed = i % 10
                answers.append((seed, complete(http, prompt="a", seed=seed, max_tokens=40 + seed)))

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 200
    assert all(answer["choices"][0]["text"] == expected[seed] for seed, answer in answers)


def wait_for(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come about")


def jobs(http):
    return http.get("/healthz").json()["requests"]


def test_clients_that_read_nothing_or_vanish_hold_nobody(server, model, http):
    """Their texts are no longer drawn; others get theirs meanwhile."""
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"prompt": "a", "max_tokens": 2_000, "stream": True, "n": 10}).encode()
    request = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(12):
            clients.append(stack.enter_context(socket.create_connection((host, int(port)))))
            clients[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            clients[-1].sendall(request + body)
        assert clients[0].recv(10) == b"HTTP/1.1 2"
        assert complete(http, prompt="abc", max_tokens=50, seed=1)["choices"][0]["text"] == charrnn.sample(
            model, 50, prime="abc", seed=1
        )
        half = stack.enter_context(socket.create_connection((host, int(port))))
        half.sendall(request[:40])
        cut = stack.enter_context(socket.create_connection((host, int(port))))
        cut.sendall(request + body[:20])
    wait_for(lambda: jobs(http) == 0)
    http.get("/healthz")

    def left():
        gc.collect()
        return [one for one in gc.get_objects() if type(one) in (Job, Drawing, Answer)]

    wait_for(lambda: not left())


def test_too_many_requests_are_told_to_come_again():
    with serving(
        make_model(hidden_size=64), limits=LIMITS._replace(requests=1, tokens=10**6, characters=10**6)
    ) as server:
        with httpx.Client(base_url=server.url, timeout=20) as http:
            with http.stream("POST", "/v1/completions", json={"max_tokens": 10**6, "stream": True}) as held:
                pieces = held.iter_raw()
                next(pieces)
                answer = http.post("/v1/completions", json={"max_tokens": 1})
                assert answer.status_code == 503, answer.text
                assert answer.headers["retry-after"] == "1"
                assert "try again" in answer.json()["error"]["message"]
            wait_for(lambda: jobs(http) == 0)
            complete(http, max_tokens=1)


def test_a_text_whose_client_does_not_take_it_is_paused(model):
    async def scene():
        engine = Engine(model, 5)
        engine.start()
        job = Job([Drawing(Prompt(np.array([1], np.int32)), Settings(), 1, 0, 4 * MAX_BACKLOG)])
        engine.submit(job)
        while not job.drawings[0].paused:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        behind = job.drawings[0].position
        await asyncio.sleep(0.1)
        assert job.drawings[0].position == behind < 2 * MAX_BACKLOG
        count, drawn = 0, []
        while not any(one.finished for one in drawn):
            drawn = await job.next()
            count += sum(len(one.ids) for one in drawn)
            engine.consumed(job)
        assert count == 4 * MAX_BACKLOG
        engine.close()

    asyncio.run(scene())


def test_a_line_of_log_is_written_for_each_request(http, lines):
    complete(http, max_tokens=3, n=2)
    http.get("/no%1b[31mthing")
    wait_for(lambda: len([line for line in lines if "GET /no" in line]))
    line = next(line for line in reversed(lines) if "POST" in line)
    assert line.startswith("127.0.0.1 POST /v1/completions 200 ") and "2 x 3 asked, 6 characters" in line
    assert not any("\x1b" in line for line in lines)
