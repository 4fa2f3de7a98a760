"""Measure how fast charrnn and PyTorch draw characters one after the other, at temperature 0.8.

    python benchmarks/sampling.py                               LSTM 128x2 and 512x3, one stream and 64
    python benchmarks/sampling.py --shapes 256x2 --streams 1 --cells lstm gru rnn --json FILE

charrnn goes through its Sampler: blocks of ids, without decoding. PyTorch steps nn.LSTM (nn.GRU, nn.RNN) character by
character under torch.inference_mode, with a Linear output layer, softmax and torch.multinomial; of one-hot and embedded
characters, one thread and two, what is fastest for the shape at hand stands for it. It is measured as it is installed, and
with oneDNN switched off, which for one stream is faster: oneDNN arranges the weights anew at every character. Each side runs
in a process of its own, since two pools of threads in one disturb each other; they take turns, and the medians of their rates
are compared. Needs torch.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

TEMPERATURE = 0.8
EMBEDDING_SIZE = 64
SIDES = "charrnn", "torch", "torch without oneDNN"
VARIANTS = tuple((onednn, embedded, threads) for onednn in (True, False) for embedded in (False, True) for threads in (1, 2))


def measure_charrnn(cell, hidden_size, num_layers, vocab_size, streams, length, repeats, threads=None):
    """Return the characters per second of `repeats` runs, each of `length` characters in every stream; all streams count."""
    from charrnn.kernels import max_threads, set_num_threads
    from charrnn.model import Model, ModelConfig
    from charrnn.sampler import Sampler, Settings

    set_num_threads(threads or max_threads())
    model = Model.initialise(ModelConfig(cell, vocab_size, hidden_size, num_layers), seed=0)
    sampler = Sampler(model, Settings(temperature=TEMPERATURE), seed=0, num_samples=streams)
    sampler.prime([0])

    def run(characters):
        for _ in sampler.generate(characters):
            pass
    return _rates(run, streams, length, repeats)


def measure_torch(cell, hidden_size, num_layers, vocab_size, streams, length, repeats, variant=None):
    """Return what measure_charrnn does, for PyTorch.

    variant   (oneDNN, embedded, threads), one of VARIANTS; None: the fastest of them by a short run of each
    """
    if variant is None:
        variant = choose_variant(lambda v: measure_torch(cell, hidden_size, num_layers, vocab_size, streams, length, 2, v))
    return _rates(_make_torch(cell, hidden_size, num_layers, vocab_size, streams, *variant), streams, length, repeats)


def choose_variant(measure, variants=VARIANTS):
    """Return the variant with the highest of the rates that measure(variant) gives."""
    return max(variants, key=lambda variant: max(measure(variant)))


def _make_torch(cell, hidden_size, num_layers, vocab_size, streams, onednn, embedded, threads):
    """Return a function that draws so many characters for every stream."""
    import torch

    torch.backends.mkldnn.enabled = onednn
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
    rnn = kind(EMBEDDING_SIZE if embedded else vocab_size, hidden_size, num_layers)
    output = torch.nn.Linear(hidden_size, vocab_size)
    table = torch.randn(vocab_size, EMBEDDING_SIZE) if embedded else torch.eye(vocab_size)

    def run(characters):
        drawn = []
        with torch.inference_mode():
            ids, state = torch.zeros(streams, dtype=torch.long), None
            for _ in range(characters):
                h, state = rnn(table[ids][None], state)
                ids = torch.multinomial(torch.softmax(output(h[0]) / TEMPERATURE, -1), 1)[:, 0]
                drawn.append(ids)
        return torch.stack(drawn)
    return run


def _rates(run, streams, length, repeats):
    run(max(8, length // 10))
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(length)
        rates.append(streams * length / (time.perf_counter() - start))
    return rates


# The two sides, each in a process of its own

class Side:
    """A process that measures what it is asked to: this file again, with --serve."""

    def __init__(self):
        self._process = subprocess.Popen([sys.executable, __file__, "--serve"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)

    def measure(self, function, *arguments):
        self._process.stdin.write(json.dumps([function, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process that measures {function} has ended: see its message above")
        return json.loads(answer)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def serve():
    functions = {"charrnn": measure_charrnn, "torch": measure_torch}
    for line in sys.stdin:
        function, *arguments = json.loads(line)
        print(json.dumps(functions[function](*arguments)), flush=True)


def compare(cell, hidden_size, num_layers, vocab_size, streams, repeats, sides):
    """Return one record: the rates of both sides, in turns."""
    ours, theirs = sides
    shape = cell, hidden_size, num_layers, vocab_size, streams
    work = hidden_size**2 * num_layers * max(1, streams // 8)
    length = max(16, min(1000, 40_000_000 // work))  # of PyTorch; charrnn draws more, for a time that can be measured
    variants = {side: choose_variant(lambda v: theirs.measure("torch", *shape, length, 2, v),
                                     [v for v in VARIANTS if v[0] == onednn]) for side, onednn in zip(SIDES[1:], (True, False))}
    rates = {side: [] for side in SIDES}
    for _ in range(repeats):
        rates["charrnn"] += ours.measure("charrnn", *shape, 4 * length, 1)
        for side, variant in variants.items():
            rates[side] += theirs.measure("torch", *shape, length, 1, variant)
    medians = {side: statistics.median(values) for side, values in rates.items()}
    return {
        "cell": cell, "hidden_size": hidden_size, "num_layers": num_layers, "vocab_size": vocab_size, "streams": streams,
        "temperature": TEMPERATURE,
        "variants": {side: {"input": "embedded" if embedded else "one-hot", "threads": threads}
                     for side, (_, embedded, threads) in variants.items()},
        "characters_per_s": rates, "median_characters_per_s": medians,
        "ratio": {side: medians["charrnn"] / medians[side] for side in variants},
    }


def shape_of(text):
    hidden_size, _, num_layers = text.partition("x")
    return int(hidden_size), int(num_layers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", nargs="+", default=["lstm"], choices=["lstm", "gru", "rnn"])
    parser.add_argument("--shapes", nargs="+", default=[(128, 2), (512, 3)], type=shape_of, metavar="HxL")
    parser.add_argument("--streams", nargs="+", default=[1, 64], type=int)
    parser.add_argument("--vocab-size", type=int, default=65)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", help="write the records there too")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve()
    sides, records = (Side(), Side()), []
    print("characters/s at temperature 0.8, median [least .. most]")
    for cell in options.cells:
        for hidden_size, num_layers in options.shapes:
            for streams in options.streams:
                record = compare(cell, hidden_size, num_layers, options.vocab_size, streams, options.repeats, sides)
                records.append(record)
                print(f"{cell:4} {hidden_size}x{num_layers}, {streams} stream{'s' * (streams != 1)}")
                for side, rates in record["characters_per_s"].items():
                    median = record["median_characters_per_s"][side]
                    line = f"  {side:20} {median:9,.0f} [{min(rates):,.0f} .. {max(rates):,.0f}]"
                    if side in record["ratio"]:
                        variant = record["variants"][side]
                        line += (f"  {variant['input']}, threads {variant['threads']}: "
                                 f"charrnn is {record['ratio'][side]:.1f} times as fast")
                    print(line, flush=True)
    for side in sides:
        side.close()
    if options.json:
        with open(options.json, "w") as file:
            json.dump(records, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
