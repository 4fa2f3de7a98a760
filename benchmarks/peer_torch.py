"""PyTorch's side: nn.LSTM, nn.GRU, nn.RNN as one would use them on a CPU, in the fastest of the natural ways.

The step is the one that charrnn makes: a chunk of ids, forward with the state carried and detached, Linear, cross
entropy, backward, clipping by the global norm, Adam. Where PyTorch offers several ways to the same end (the optimiser
fused, over lists, or one by one; the norm over lists or one by one) the fastest here is found first and used.
"""

import contextlib
import time

import torch
from torch import nn

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
STREAM_CHUNKS = 50
TEMPERATURE = 0.8


def versions():
    return {"torch": torch.__version__}


def make(task):
    task = dict(task)
    return {"training": Training, "sampling": Sampling}[task.pop("kind")](**task)


class Network(nn.Module):
    """One-hot characters, or an embedding of size H; the recurrent layers; the output layer."""

    def __init__(self, cell, size, input, vocab_size):
        super().__init__()
        H, L, _, _ = size
        if input == "embedding":
            self.read = nn.Embedding(vocab_size, H)
        else:
            self.register_buffer("eye", torch.eye(vocab_size))
            self.read = self._one_hot
        self.rnn = KINDS[cell](H if input == "embedding" else vocab_size, H, L)
        self.output = nn.Linear(H, vocab_size)

    def _one_hot(self, ids):
        return self.eye[ids]  # twice as fast as nn.functional.one_hot, which makes integers first

    def forward(self, ids, state):
        """ids (T, B) -> logits (T, B, V), state"""
        h, state = self.rnn(self.read(ids), state)
        return self.output(h), state


class Training:
    """Whole training steps. A run is a step; `work` its characters."""

    def __init__(  # noqa: PLR0913 - a task's keys are its arguments
        self,
        threads,
        cell,
        size,
        input,
        optimizer="adam",
        clip_norm=5.0,
        clip_value=0.0,
        precision="float32",
        update=None,
        vocab_size=65,
    ):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        _, _, B, T = size
        self.threads, self.work, self._steps = threads, B * T, T
        self._network = Network(cell, size, input, vocab_size)
        self._parameters = list(self._network.parameters())
        self._clip_norm, self._clip_value, self._bfloat16 = clip_norm, clip_value, precision == "bfloat16"
        self._ids = torch.randint(0, vocab_size, (STREAM_CHUNKS * T + 1, B))
        self._state, self._chunk, self._foreach = None, 0, None
        kind = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}[optimizer]
        ways = {"fused": {"fused": True}, "foreach": {"foreach": True}, "single": {"foreach": False}}
        if optimizer == "adagrad":
            ways["fused"] = {"fused": True}
        rate = {"adam": 3e-5, "adagrad": 3e-4}[optimizer]
        self._optimizer = kind(self._parameters, lr=rate, **ways[update or "fused"])
        self.run(1)
        if update is None:
            speed = {way: _fastest(kind(self._parameters, lr=0.0, **options).step) for way, options in ways.items()}
            update = min(speed, key=speed.get)
            self._optimizer = kind(self._parameters, lr=rate, **ways[update])
            self._foreach = min((None, True), key=lambda foreach: _fastest(lambda: self._clip(foreach)))
        self.info = {"update": update}
        self.run(1)

    def _clip(self, foreach):
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm, foreach=foreach)
        if self._clip_value:
            nn.utils.clip_grad_value_(self._parameters, self._clip_value, foreach=foreach)

    def _loss(self, x, y):
        logits, state = self._network(x, self._state)
        self._state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        return nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())

    def _arithmetic(self):
        """Return the context in which the loss is computed."""
        if not self._bfloat16:
            return contextlib.nullcontext()
        autocast = contextlib.ExitStack()
        # oneDNN has no LSTM in bfloat16 for a CPU without AVX-512, and raises RuntimeError; PyTorch's own loop has one.
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            autocast.enter_context(torch.backends.mkldnn.flags(enabled=False))
        autocast.enter_context(torch.autocast("cpu", torch.bfloat16))
        return autocast

    def run(self, count):
        torch.set_num_threads(self.threads)
        begun = time.perf_counter()
        for _ in range(count):
            if self._chunk == 0:
                self._state = None
            at = self._chunk * self._steps
            self._chunk = (self._chunk + 1) % STREAM_CHUNKS
            x, y = self._ids[at : at + self._steps], self._ids[at + 1 : at + self._steps + 1]
            self._optimizer.zero_grad(set_to_none=True)
            with self._arithmetic():
                loss = self._loss(x, y)
            loss.backward()
            self._clip(self._foreach)
            self._optimizer.step()
            loss = loss.item()
        took = time.perf_counter() - begun
        if not loss < 1000:
            raise ArithmeticError(f"the training that is measured has diverged: loss {loss}")
        return took


class Sampling:
    """The step loop under inference_mode: a character, its logits, softmax at a temperature, multinomial.

    onednn   False switches it off, which no user would think of but makes one stream faster: it arranges the weights
             anew at every step
    """

    def __init__(self, threads, cell, size, input, streams, vocab_size=65, onednn=True):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.threads, self.work, self.info, self._onednn = threads, streams, {}, onednn
        self._network = Network(cell, size, input, vocab_size).eval()
        self._ids, self._state = torch.zeros((1, streams), dtype=torch.int64), None
        self.run(8)

    def run(self, count):
        torch.set_num_threads(self.threads)
        begun = time.perf_counter()
        with torch.inference_mode(), torch.backends.mkldnn.flags(enabled=self._onednn):
            drawn = torch.empty((count, self.work), dtype=torch.int64)
            ids, state = self._ids, self._state
            for n in range(count):
                logits, state = self._network(ids, state)
                ids = torch.multinomial(torch.softmax(logits[0] / TEMPERATURE, -1), 1).T
                drawn[n] = ids[0]
            self._ids, self._state = ids, state
        drawn.numpy()
        return time.perf_counter() - begun


def _fastest(function, calls=5):
    """Return the shortest time of a few calls."""
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        function()
        times.append(time.perf_counter() - begun)
    return min(times)
