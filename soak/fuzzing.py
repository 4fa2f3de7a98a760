"""Coverage-guided mutation: cases that reach new lines of charrnn become parents of further cases. Knows no target.

A run is a function of its seed: the cases, their order, and so what is found.
"""

import json
import random
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = str(Path(__file__).resolve().parent.parent / "charrnn")
PATIENCE_S = 20

# Numbers, and pieces of files, at the edge of something.
INTEGERS = (
    0,
    1,
    -1,
    2,
    7,
    8,
    63,
    64,
    127,
    128,
    255,
    256,
    1000,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    10**63,
    -(2**63),
)
VALUES = (
    None,
    True,
    False,
    "",
    "a",
    "\x1b[31m",
    "\u202e",
    "\x00",
    "-",
    "*",
    "/",
    "..",
    0.5,
    -0.5,
    1e-320,
    1e308,
    -1e308,
    [],
    {},
    [[]],
    {"a": 1},
    [None],
    "chars",
    "bytes",
    "lstm",
    "float64",
    "utf-16",
    "x" * 300,
)
BYTES = (
    b"\0",
    b"\xff",
    b"\n",
    b"\r\n",
    b'"',
    b"'",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"NaN",
    b"Infinity",
    b"1e400",
    b"-0",
    b"\\ud800",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80\xa8",
    b"\x1b[2J",
    b"null",
    b"true",
)


class TookTooLong(Exception):
    """A case had not ended after PATIENCE_S."""


@dataclass
class Finding:
    """What ended in neither success nor refusal: the case and the first words of why."""

    kind: tuple  # of the exception, and where
    what: str
    case: bytes
    number: int


@dataclass
class Result:
    cases: int = 0
    cpu_s: float = 0.0
    places: int = 0  # lines of charrnn that were reached
    accepted: int = 0  # cases that ended in success; the others were refused
    parents: list = field(default_factory=list)
    findings: list = field(default_factory=list)


def fuzz(target, cases, seed, tokens=()):
    """Run so many cases of a target and return the Result.

    target   has .seeds() -> [bytes], .mutate(mutator, case) -> bytes, .run(case) -> bool (whether it was accepted), the
             bytes .longest of a case, and .refusals, the exceptions that refuse one; anything else that it raises is a
             finding
    """
    mutator = Mutator(random.Random(seed), tokens)
    coverage, result, begun, known = Coverage(), Result(), time.process_time(), set()
    parents, healthy = result.parents, []

    def attempt(case):
        failed, accepted = None, False
        with coverage:
            try:
                accepted = bool(run_case(target, case))
            except Exception as error:  # that is what is looked for
                failed = error
        new = coverage.take_new()
        if failed is not None and kind_of(failed) not in known:
            known.add(kind_of(failed))
            result.findings.append(
                Finding(
                    kind_of(failed),
                    f"{kind_of(failed)[0]} at {kind_of(failed)[1]}: {str(failed)[:200]}",
                    case,
                    result.cases,
                )
            )
        if new:
            parents.append(case)
            if accepted:
                healthy.append(case)
        result.accepted += accepted
        result.cases += 1

    with coverage.opened():
        for case in target.seeds():
            attempt(case)
            if case not in parents:
                parents.append(case)
            if case not in healthy:
                healthy.append(case)
        while result.cases < cases:
            # What was refused breeds mostly what is refused at the same place; the younger half reaches what is less
            # explored.
            some = healthy if healthy and mutator.rng.random() < 0.6 else parents
            some = some if mutator.rng.random() < 0.5 else some[len(some) // 2 :]
            case = target.mutate(mutator, mutator.rng.choice(some))
            attempt(case[: target.longest])
    result.places, result.cpu_s = len(coverage.places), time.process_time() - begun
    return result


def run_case(target, case):
    """Run one case; return whether it was accepted, raise what is a finding."""

    def give_up(_number, _frame):
        raise TookTooLong(f"not ended after {PATIENCE_S} s")

    before = signal.signal(signal.SIGALRM, give_up) if hasattr(signal, "SIGALRM") else None
    if before is not None:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", RuntimeWarning
            )  # a warning is a line on the user's terminal that nobody wrote
            return target.run(case)
    except target.refusals:
        return False
    finally:
        if before is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def kind_of(error):
    """Return an exception's name and the last place in charrnn, or else in the target, that it came through."""
    inside = beside = ""
    trace = error.__traceback__
    while trace is not None:
        file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        if file.startswith(PACKAGE):
            inside = f"{file.removeprefix(PACKAGE + '/')}:{line}"
        elif file != __file__:
            beside = f"{Path(file).name}:{line}"
        trace = trace.tb_next
    return type(error).__name__, inside or beside


def shrink(target, case, keeps, tries=600):
    """Return a shorter case for which keeps(case) still holds, by cutting ever smaller pieces out."""
    size = max(1, len(case) // 2)
    while size and tries:
        at = 0
        while at < len(case) and tries:
            shorter = case[:at] + case[at + size :]
            tries -= 1
            if keeps(shorter):
                case = shorter
            else:
                at += size
        size //= 2
    return case


class Coverage:
    """Collects the lines of charrnn that run inside `with coverage`; `places` has all that were seen so far."""

    def __init__(self):
        self.places, self._new, self._wanted = set(), set(), {}

    def opened(self):
        """A context in which this one is ready; with it, at most one at a time."""
        return _Monitored(self) if hasattr(sys, "monitoring") else _Traced(self)

    def take_new(self):
        """Return the lines seen since the last call that had never been seen before."""
        new, self._new = self._new, set()
        return new

    def see(self, code, line):
        place = code, line
        if place not in self.places:
            self.places.add(place)
            self._new.add(place)

    def wants(self, code):
        try:
            return self._wanted[code]
        except KeyError:
            wanted = self._wanted[code] = code.co_filename.startswith(PACKAGE)
            return wanted

    def __enter__(self):
        self._how.start()

    def __exit__(self, *_):
        self._how.stop()


class _Monitored:
    """Python 3.12 and later: each line reports once, and costs nothing from then on."""

    TOOL = 3

    def __init__(self, coverage):
        self._coverage, coverage._how = coverage, self

    def __enter__(self):
        monitoring = sys.monitoring
        monitoring.use_tool_id(self.TOOL, "charrnn-fuzz")
        monitoring.restart_events()
        monitoring.register_callback(self.TOOL, monitoring.events.LINE, self._line)

    def _line(self, code, line):
        if self._coverage.wants(code):
            self._coverage.see(code, line)
        return sys.monitoring.DISABLE

    def start(self):
        sys.monitoring.set_events(self.TOOL, sys.monitoring.events.LINE)

    def stop(self):
        sys.monitoring.set_events(self.TOOL, 0)

    def __exit__(self, *_):
        sys.monitoring.register_callback(self.TOOL, sys.monitoring.events.LINE, None)
        sys.monitoring.free_tool_id(self.TOOL)


class _Traced:
    """Before: a trace function, in charrnn's own frames only, and not in functions all lines of which were seen."""

    def __init__(self, coverage):
        self._coverage, coverage._how = coverage, self
        self._left = {}

    def __enter__(self):
        pass

    def _call(self, frame, _event, _argument):
        code = frame.f_code
        left = self._left.get(code)
        if left is None:
            left = {line for *_, line in code.co_lines() if line is not None} if self._coverage.wants(code) else set()
            left.discard(code.co_firstlineno)
            self._left[code] = left
        return self._line if left else None

    def _line(self, frame, event, _argument):
        if event == "line":
            self._coverage.see(frame.f_code, frame.f_lineno)
            self._left[frame.f_code].discard(frame.f_lineno)
        return self._line

    def start(self):
        sys.settrace(self._call)

    def stop(self):
        sys.settrace(None)

    def __exit__(self, *_):
        pass


class Mutator:
    """Random changes to bytes, texts and JSON values. tokens: bytes that mean something to the target."""

    def __init__(self, rng, tokens=()):
        self.rng, self.tokens = rng, (*BYTES, *tokens)

    def bytes(self, data, most=4):
        data = bytearray(data)
        for _ in range(self.rng.randint(1, most)):
            self._one(data)
        return bytes(data)

    def _one(self, data):
        rng = self.rng
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(9)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 2:
            data[at:at] = rng.choice(self.tokens) * rng.choice((1, 1, 1, 2, 20))
        elif kind == 3:
            del data[at : at + rng.choice((1, 1, 2, 8, 64, 1000))]
        elif kind == 4:  # splice: a piece comes again elsewhere
            piece = data[at : at + rng.choice((1, 4, 16, 64))]
            to = rng.randrange(len(data) + 1)
            data[to:to] = piece * rng.choice((1, 1, 2, 8))
        elif kind == 5:
            data[at : at + rng.choice((0, 1, 4))] = rng.choice(self.tokens)
        elif kind == 6:  # a length field
            width = rng.choice((1, 2, 4, 8))
            data[at : at + width] = (rng.choice(INTEGERS) % (1 << 8 * width)).to_bytes(
                width, rng.choice(("little", "big"))
            )
        elif kind == 7:
            data[at:at] = str(rng.choice(INTEGERS)).encode()
        else:
            data[at : at + 1] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 4)))

    def value(self, like=None):
        """Return a JSON value; often of the kind of `like`."""
        rng = self.rng
        if rng.random() < 0.5:
            if isinstance(like, bool):
                return not like
            if isinstance(like, int):
                return rng.choice((like + rng.choice((-1, 1)), -like, like * 2, rng.choice(INTEGERS)))
            if isinstance(like, float):
                return rng.choice((like * 10, -like, int(like), 1e308))
            if isinstance(like, str):
                at = rng.randrange(len(like) + 1)
                return like[:at] + rng.choice(VALUES[3:12]) + like[at + rng.choice((0, 1)) :]
            if isinstance(like, list):
                return like[:-1] if rng.random() < 0.5 else like + [self.value(like[0] if like else None)]
        return rng.choice(INTEGERS if rng.random() < 0.4 else VALUES)

    def json(self, value, most=3):
        """Return a copy of a JSON value, changed in a few places."""
        value = json.loads(json.dumps(value))
        for _ in range(self.rng.randint(1, most)):
            value = self._json_once(value)
        return value

    def _json_once(self, root):
        rng = self.rng
        # Depth first, a child at a time: every level is as likely as the next.
        holder, key, value = None, None, root
        while isinstance(value, (dict, list)) and value and (holder is None or rng.random() < 0.75):
            holder = value
            key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
            value = holder[key]
        if holder is None:
            return self.value(value)
        kind = rng.random()
        if kind < 0.2:
            del holder[key]
        elif kind < 0.3 and isinstance(holder, dict):
            holder[str(self.value(key))] = holder.pop(key)
        elif kind < 0.4:
            holder[key] = [value] * rng.choice((1, 2, 50))
        elif kind < 0.5 and isinstance(holder, list):
            holder.insert(key, self.value(value))
        else:
            holder[key] = self.value(value)
        return root
