"""Train small runs of every kind in as many processes as there are; the first prints a digest of each run's end.

mpiexec -n 3 python tests/distributed_runs.py TEXT
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from charrnn.distributed.group import find_group, from_first
from charrnn.kernels import set_num_threads
from charrnn.kernels.host import has_bfloat16
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.training.launch import new_run

BASE = {
    "hidden_size": 24,
    "num_layers": 2,
    "embedding_size": 12,
    "steps": 6,
    "seq_length": 16,
    "batch_size": 8,
    "shards": 4,
    "log_every": 1,
    "eval_every": 3,
    "sample": False,
}
RUNS = {
    "lstm": {"precision": "bfloat16" if has_bfloat16() else "float32"},
    "gru": {"cell": "gru", "dtype": "float64", "optimizer": "adamw"},
    "rnn": {"cell": "rnn", "optimizer": "rmsprop"},
    "lstm, everything": {"zoneout": 0.2, "dropout": 0.3, "weight_dropout": 0.2, "ema": 0.9},
    "gru, everything": {"cell": "gru", "zoneout": 0.2, "variational_dropout": True, "weight_dropout": 0.2, "ema": 0.9},
    "plain": {"layer_norm": False, "dropout": 0.0, "tie_weights": True, "embedding_size": 24, "optimizer": "adagrad"},
    "clipped": {"optimizer": "sgd", "clip_norm": 0.1, "clip_value": 0.01},
    "items": {"items": "lines"},
    "seven shards": {"shards": 7, "batch_size": 14},
}


def main(text):
    set_num_threads(1)
    group = find_group()
    for name, options in RUNS.items():
        folder = from_first(group, lambda: Path(tempfile.mkdtemp(dir=".")))
        with new_run([text], {**BASE, **options}, output=folder, group=group) as trainer:
            *_, finished = trainer.run()
        if group.rank == 0:
            print(f"{name}\t{digest(folder)}\t{finished.best_loss_nats!r}\t{finished.test.loss_nats!r}", flush=True)


def digest(folder):
    """Return a digest of every number of a run's last and best checkpoints."""
    found = hashlib.sha256()
    for file in ("last", "best"):
        checkpoint = load_checkpoint(folder / f"{file}.safetensors")
        for arrays in (checkpoint.parameters, checkpoint.optimizer, checkpoint.carry):
            for name in sorted(arrays):
                found.update(name.encode() + arrays[name].tobytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
