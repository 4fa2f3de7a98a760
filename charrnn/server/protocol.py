"""What a request for a completion may say, as OpenAI's API has it, and how answers and refusals are written.

Knows JSON; knows no model, no socket and no thread. A field that would change the text and is not supported is
refused; one that changes nothing is ignored.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from charrnn.errors import ConfigError, nearest
from charrnn.sampling.sampler import Settings

DEFAULT_TOKENS = 1000  # as `charrnn sample` has it
MAX_LOGPROBS = 20
MAX_STOPS, MAX_STOP = 16, 1_000  # strings, characters of one


class Limits(NamedTuple):
    """What one request may ask for.

    prompt       characters of a prompt
    tokens       characters of a text
    texts        prompts times n
    characters   of all texts together, echoed prompts included; of those with log probabilities a tenth
    body         bytes
    requests     at once, of all clients
    """

    prompt: int = 50_000
    tokens: int = 50_000
    texts: int = 128
    characters: int = 500_000
    body: int = 4 << 20
    requests: int = 256


class Refused(Exception):
    """A request that is not answered: its HTTP status, a sentence, and which field is to blame."""

    def __init__(self, message, param=None, status=400, code=None):
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code

    def to_dict(self):
        """Return the refusal as OpenAI's API writes it."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Asked:
    """What a request asks for, checked.

    length     characters of a text
    logprobs   how many of the likeliest characters are told at each place; None: no log probabilities at all
    seed       None: one is to be drawn
    given      the label of the texts, or None
    """

    prompts: tuple[str, ...]
    length: int
    settings: Settings
    n: int
    stop: tuple[str, ...]
    seed: int | None
    logprobs: int | None
    echo: bool
    stream: bool
    with_usage: bool
    given: str | None


# Fields that say nothing about the text.
_HARMLESS = {
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
}
# Fields that would change it, and the values with which they do not.
_NEUTRAL: dict[str, tuple] = {
    "suffix": ("",),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
}
_KNOWN = ("model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "min_p", "n", "best_of", "stop", "stream",
          "stream_options", "seed", "logprobs", "echo", "given")  # fmt: skip


def read_request(body: bytes, name: str, limits: Limits) -> Asked:
    """Return what the body of a request asks for.

    name    of the model that answers

    Raises Refused.
    """
    return read_fields(_parse(body), name, limits)


def read_fields(fields: dict, name: str, limits: Limits) -> Asked:
    """Return what the fields of a request ask for, as `read_request` does; those that are None count as left out."""
    fields = {key: value for key, value in fields.items() if value is not None}
    _check_names(fields)
    asked_model = _typed(fields, "model", str, "a string", name)
    if asked_model != name:
        raise Refused(
            f"unknown model {asked_model[:200]!r}: this server has {name!r}",
            "model", status=404, code="model_not_found",
        )  # fmt: skip
    prompts = _prompts(fields, limits)
    n = _whole(fields, "n", 1, 1, limits.texts)
    if len(prompts) * n > limits.texts:
        raise Refused(
            f"{len(prompts):,} prompts with n {n:,} ask for {len(prompts) * n:,} texts; a request has at most "
            f"{limits.texts:,}",
            "n" if n > 1 else "prompt",
        )
    best_of = _whole(fields, "best_of", n, 1, None)
    if best_of != n:
        raise Refused(f"best_of {best_of:,} is not supported: leave it out, and ask for n texts", "best_of")
    length = _whole(fields, "max_tokens", min(DEFAULT_TOKENS, limits.tokens), 0, limits.tokens)
    logprobs = _logprobs(fields)
    echo = _typed(fields, "echo", bool, "true or false", False)
    most = limits.characters if logprobs is None else limits.characters // 10
    told = n * (len(prompts) * length + (sum(map(len, prompts)) if echo else 0))
    if told > most:
        raise Refused(
            f"{len(prompts) * n:,} texts of {length:,} characters{' and their prompts' if echo else ''} are more than "
            f"the {most:,} characters of a request{'' if logprobs is None else ' with logprobs'}: lower max_tokens or "
            f"n, {'leave echo out, ' if echo else ''}or send several requests",
            "max_tokens",
        )
    options = _typed(fields, "stream_options", dict, "an object", {})
    return Asked(
        prompts=prompts,
        length=length,
        settings=_settings(fields),
        n=n,
        stop=_stops(fields),
        seed=_whole(fields, "seed", None, 0, 2**64 - 1),
        logprobs=logprobs,
        echo=echo,
        stream=_typed(fields, "stream", bool, "true or false", False),
        with_usage=options.get("include_usage") is True,
        given=_typed(fields, "given", str, "a string", None),
    )


def _parse(body):
    def refuse_constant(word):
        raise ValueError(f"{word} is not a JSON number")

    try:
        fields = json.loads(body.decode("utf-8"), parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body of the request is not JSON in UTF-8: {str(error)[:200]}") from None
    if not isinstance(fields, dict):
        raise Refused('the body of the request must be a JSON object, such as {"prompt": "ROMEO:"}')
    return fields


def _check_names(fields):
    for name, value in fields.items():
        if name in _HARMLESS or name in _KNOWN:
            continue
        if name in _NEUTRAL:
            if not any(value == neutral for neutral in _NEUTRAL[name]):
                raise Refused(f"the field {name} is not supported: leave it out", name)
            continue
        near = nearest(name[:100], _KNOWN)
        hint = "leave it out" if near is None else f"did you mean {near!r}? Otherwise leave it out"
        raise Refused(f"unknown field {name[:100]!r}: {hint}", name[:100])


def _typed(fields, name, kind, shown, default):
    value = fields.get(name, default)
    if value is not default and not isinstance(value, kind):
        raise Refused(f"{name} must be {shown}, got {_shown(value)}", name)
    return value


def _shown(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _whole(fields, name, default, least, most):
    value = fields.get(name, default)
    if value is default:
        return value
    if type(value) is not int:
        raise Refused(f"{name} must be a whole number, got {_shown(value)}", name)
    if value < least or most is not None and value > most:
        bounds = f"at least {least:,}" if most is None else f"between {least:,} and {most:,}"
        raise Refused(f"{name} must be {bounds}, got {_shown(value)}", name)
    return value


def _number(fields, name, default):
    value = fields.get(name, default)
    if type(value) not in (int, float):
        raise Refused(f"{name} must be a number, got {_shown(value)}", name)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _settings(fields):
    top_k = _whole(fields, "top_k", None, -1, None)
    try:
        return Settings(
            _number(fields, "temperature", 1.0),
            top_k if top_k is None or top_k > 0 else None,  # 0 and -1 keep all, as other servers have it
            _number(fields, "top_p", 1.0),
            _number(fields, "min_p", 0.0),
        )
    except ConfigError as error:
        name = error.options[0]
        raise Refused(str(error).replace(f"--{name.replace('_', '-')}", name), name) from None


def _prompts(fields, limits):
    prompt = fields.get("prompt", "")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not all(isinstance(one, str) for one in prompts):
        raise Refused(
            "prompt must be a string or a list of strings: this model reads characters, not token ids", "prompt"
        )
    if not prompts:
        raise Refused("prompt is an empty list: give at least one string, which may be empty", "prompt")
    for one in prompts:
        if len(one) > limits.prompt:
            raise Refused(f"a prompt has at most {limits.prompt:,} characters, got {len(one):,}", "prompt")
    return tuple(prompts)


def _stops(fields):
    stop = fields.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise Refused("stop must be a string or a list of strings", "stop")
    if "" in stops:
        raise Refused("a stop string must hold at least one character, got an empty one", "stop")
    if len(stops) > MAX_STOPS or any(len(one) > MAX_STOP for one in stops):
        raise Refused(f"stop has at most {MAX_STOPS} strings of at most {MAX_STOP:,} characters", "stop")
    return tuple(stops)


def _logprobs(fields):
    if fields.get("logprobs") is True or fields.get("logprobs") is False:
        raise Refused("logprobs must be a whole number: how many of the most likely characters to report", "logprobs")
    return _whole(fields, "logprobs", None, 0, MAX_LOGPROBS)


def completion(about: dict, choices: list, usage: Any) -> dict:
    """Return a completion, or a chunk of one, as OpenAI's API writes it. about : its id, created, model and seed."""
    return {"object": "text_completion", **about, "choices": choices, "usage": usage}


def choice(index, text, logprobs, finish_reason):
    """Return one of the choices of a completion."""
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}


def usage(prompt, drawn):
    """Return the count of characters, which stand in the place of tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": drawn, "total_tokens": prompt + drawn}


def event(data) -> bytes:
    """Return a server-sent event of something that is written as JSON."""
    return b"data: " + json.dumps(data).encode("ascii") + b"\n\n"


DONE = b"data: [DONE]\n\n"
