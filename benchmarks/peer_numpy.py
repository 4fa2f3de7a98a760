"""NumPy's side: a vanilla recurrent network as min-char-rnn writes it, column vectors and a loop over time in Python.

One layer, one stream, one-hot characters, the sum of the losses, float64 as NumPy has it, every element of the gradient
clipped to +-5, Adagrad. Written anew after the structure of Karpathy's min-char-rnn.
"""

import time

import numpy as np

STREAM_CHUNKS = 50
CLIP, EPS = 5.0, 1e-8


def versions():
    return {"numpy": np.__version__}


def make(task):
    task = dict(task)
    return {"training": Training}[task.pop("kind")](**task)


class Training:
    """Whole training steps. A run is a step; `work` its characters."""

    info = {}

    def __init__(self, threads, size, vocab_size=65):
        H, layers, streams, self._steps = size
        if (layers, streams) != (1, 1):
            raise ValueError(f"min-char-rnn has one layer and one stream, got {layers} and {streams}")
        rng = np.random.default_rng(0)
        self.work, self._vocab_size = self._steps, vocab_size
        self._ids = rng.integers(0, vocab_size, STREAM_CHUNKS * self._steps + 1).tolist()
        self._parameters = {
            "Wxh": rng.standard_normal((H, vocab_size)) * 0.01,
            "Whh": rng.standard_normal((H, H)) * 0.01,
            "Why": rng.standard_normal((vocab_size, H)) * 0.01,
            "bh": np.zeros((H, 1)),
            "by": np.zeros((vocab_size, 1)),
        }
        self._memory = {name: np.zeros_like(value) for name, value in self._parameters.items()}
        self._h, self._chunk = np.zeros((H, 1)), 0
        self.run(2)

    def gradients(self, inputs, targets, h):
        """Return the summed loss of a chunk, {name: gradient}, and the state to carry on."""
        p = self._parameters
        xs, hs, ps, loss = [], [h], [], 0.0
        for character, target in zip(inputs, targets):
            x = np.zeros((self._vocab_size, 1))
            x[character] = 1
            h = np.tanh(np.dot(p["Wxh"], x) + np.dot(p["Whh"], h) + p["bh"])
            y = np.dot(p["Why"], h) + p["by"]
            e = np.exp(y - y.max())
            xs.append(x)
            hs.append(h)
            ps.append(e / e.sum())
            loss -= np.log(ps[-1][target, 0])
        grads = {name: np.zeros_like(value) for name, value in p.items()}
        dh_next = np.zeros_like(h)
        for t in range(len(inputs) - 1, -1, -1):
            dy = ps[t].copy()
            dy[targets[t]] -= 1
            grads["Why"] += np.dot(dy, hs[t + 1].T)
            grads["by"] += dy
            da = (1 - hs[t + 1] * hs[t + 1]) * (np.dot(p["Why"].T, dy) + dh_next)
            grads["bh"] += da
            grads["Wxh"] += np.dot(da, xs[t].T)
            grads["Whh"] += np.dot(da, hs[t].T)
            dh_next = np.dot(p["Whh"].T, da)
        return loss, grads, h

    def run(self, count):
        begun = time.perf_counter()
        for _ in range(count):
            if self._chunk == 0:
                self._h = np.zeros_like(self._h)
            at = self._chunk * self._steps
            self._chunk = (self._chunk + 1) % STREAM_CHUNKS
            inputs, targets = self._ids[at : at + self._steps], self._ids[at + 1 : at + self._steps + 1]
            loss, grads, self._h = self.gradients(inputs, targets, self._h)
            for name, grad in grads.items():
                np.clip(grad, -CLIP, CLIP, out=grad)
                self._memory[name] += grad * grad
                self._parameters[name] -= 1e-4 * grad / np.sqrt(self._memory[name] + EPS)
        took = time.perf_counter() - begun
        if not np.isfinite(loss):
            raise ArithmeticError("the training that is measured has diverged")
        return took
