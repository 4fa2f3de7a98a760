"""Train charrnn and PyTorch from the same parameters on the same chunks and compare them, step by step.

    python benchmarks/torch_parity.py                 200 steps, lstm, gru and rnn, float32
    python benchmarks/torch_parity.py --steps 1000 --cells lstm

Adam, clipping by the global norm, the state carried from chunk to chunk, on a text made here. PyTorch's second bias is
held at zero, as charrnn has one a gate (but for the n gate of a GRU, which has both in both). Prints the largest
difference between the two loss curves in nats; exits with 1 if one is above 1e-4. Needs torch.

Training is chaotic where the loss has sharp turns: there two float32 runs part, also PyTorch's own float32 and float64
runs, by 1e-2 nats and more. --dtype float64 tells that from a fault: there the curves agree to 1e-10 all the same.
"""

import argparse
import sys

import numpy as np

from charrnn.spec import CELLS


def make_text(characters, seed=0):
    """Sentences of invented words, frequent and rare ones as in Zipf's law; some stand in brackets, which close."""
    rng = np.random.default_rng(seed)
    syllables = [c + v for c in "bdklmnrst" for v in "aeiou"]
    words = ["".join(rng.choice(syllables, rng.integers(1, 4))) for _ in range(200)]
    frequencies = 1 / np.arange(1, 201)
    frequencies /= frequencies.sum()
    pieces, length = [], 0
    while length < characters:
        sentence = " ".join(rng.choice(words, rng.integers(3, 9), p=frequencies))
        if rng.random() < 0.3:
            sentence = "(" + sentence + ")"
        pieces.append(sentence.capitalize() + ".\n")
        length += len(pieces[-1])
    return "".join(pieces)[:characters]


def make_chunks(ids, batch_size, seq_length, steps):
    """x and y (T, B) int32, from B contiguous streams that go on from chunk to chunk."""
    length = steps * seq_length
    streams = np.stack([ids[b * length : (b + 1) * length + 1] for b in range(batch_size)], axis=1).astype(np.int32)
    for step in range(steps):
        rows = streams[step * seq_length : (step + 1) * seq_length + 1]
        yield rows[:-1].copy(), rows[1:].copy()


def train_both(  # noqa: PLR0913 - an experiment, called by keywords
    cell,
    steps=200,
    hidden_size=128,
    num_layers=2,
    batch_size=16,
    seq_length=50,
    dtype="float32",
    learning_rate=1e-3,
    clip_norm=0.25,
    seed=0,
):
    """Return losses and gradient norms before clipping of both: (steps,) each, ours, theirs, ours, theirs."""
    from charrnn.model.parameters import Model
    from charrnn.model.workspace import Workspace
    from charrnn.spec import ModelConfig
    from charrnn.training.optimisers import Optimizer

    text = make_text(batch_size * steps * seq_length + 1, seed)
    symbols = sorted(set(text))
    ids = np.array([symbols.index(c) for c in text])
    model = Model.initialise(ModelConfig(cell, len(symbols), hidden_size, num_layers, dtype=dtype), seed)
    workspace = Workspace(model, batch_size, seq_length)
    optimizer = Optimizer("adam", model)
    peer = TorchPeer(cell, model.get_parameters(), num_layers)
    ours, theirs, norms, their_norms = [], [], [], []
    for x, y in make_chunks(ids, batch_size, seq_length, steps):
        ours.append(float(workspace.loss_and_grads(x, y)))
        norms.append(float(optimizer.step(workspace, learning_rate, clip_norm=clip_norm)))
        loss, norm = peer.step(x, y, learning_rate, clip_norm)
        theirs.append(loss)
        their_norms.append(norm)
    return np.array(ours), np.array(theirs), np.array(norms), np.array(their_norms)


class TorchPeer:
    """The same model in PyTorch, with one-hot input and an Adam of PyTorch's own."""

    def __init__(self, cell, parameters, num_layers):
        import torch

        torch.set_num_threads(1)  # two pools that spin on the same cores make both slower by far
        self.torch = torch
        tensors = {name: torch.from_numpy(value.copy()) for name, value in parameters.items()}
        self.num_symbols, hidden_size = tensors["output.weight"].shape
        dtype = tensors["output.weight"].dtype
        cell = CELLS[cell]
        self.rnn = getattr(torch.nn, cell.torch_class)(self.num_symbols, hidden_size, num_layers, dtype=dtype)
        self.output = torch.nn.Linear(hidden_size, self.num_symbols, dtype=dtype)
        self.rnn.load_state_dict({n.removeprefix("rnn."): v for n, v in tensors.items() if n.startswith("rnn.")})
        self.output.load_state_dict(
            {n.removeprefix("output."): v for n, v in tensors.items() if n.startswith("output.")}
        )
        self.parameters = [*self.rnn.parameters(), *self.output.parameters()]
        trained = [float(name in cell.recurrent.values()) for name in cell.blocks]
        trained = torch.tensor(trained, dtype=dtype).repeat_interleave(hidden_size)
        for name, p in self.rnn.named_parameters():
            if name.startswith("bias_hh"):  # a gradient of zero leaves Adam, and the norm, as if it were not there
                p.register_hook(lambda grad: grad * trained)
        self.adam = torch.optim.Adam(self.parameters)
        self.state = None

    def step(self, x, y, learning_rate, clip_norm):
        """One update: the loss, and the norm before clipping."""
        torch = self.torch
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(x).long(), self.num_symbols).to(self.output.weight.dtype)
        h, state = self.rnn(one_hot, self.state)
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        logits = self.output(h).reshape(-1, self.num_symbols)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y).long().reshape(-1))
        self.adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip_norm)
        self.adam.param_groups[0]["lr"] = learning_rate
        self.adam.step()
        return loss.item(), norm.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--cells", nargs="+", default=[name for name, cell in CELLS.items() if cell.torch_class])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    options = parser.parse_args()
    worst = 0.0
    for cell in options.cells:
        ours, theirs, norms, their_norms = train_both(cell, options.steps, dtype=options.dtype)
        difference = np.abs(ours - theirs).max()
        worst = max(worst, difference)
        share = np.abs(norms / their_norms - 1).max()
        print(
            f"{cell:4}  {options.dtype}  {options.steps} steps  loss {ours[0]:.4f} -> {ours[-1]:.4f} nats  "
            f"largest difference: loss {difference:.1e} nats, gradient norm {share:.1e} of itself"
        )
    return int(not worst < 1e-4)


if __name__ == "__main__":
    sys.exit(main())
