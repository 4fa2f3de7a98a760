"""Check that all processes that train together have the same version, options and text, before anything is written."""

import hashlib
import json

import charrnn
from charrnn.distributed.group import Elsewhere
from charrnn.errors import ConfigError
from charrnn.kernels.host import instructions

_STARTS = {True: "resumes a run (--resume)", False: "starts a new one"}


def default_shards(processes):
    """Return the default number of shards: the smallest power of two that is at least the number of processes."""
    return 1 << (processes - 1).bit_length()


def check_processes(group, plan):
    """Raise ConfigError if there are more processes than shards of the batch."""
    shards = plan.config.shards
    if group.size > shards:
        raise ConfigError(
            f"{group.size} processes cannot train a batch of {shards} shards: start at most {shards}, or start a new "
            f"run with --shards {default_shards(group.size)}",
            ["shards"],
        )


def check_texts(group, texts):
    """Raise ConfigError if several processes would have to read stdin, which only one process receives."""
    if group.size > 1 and any(str(text) == "-" for text in texts):
        raise ConfigError(
            "the text is stdin (-), which only one of several processes can read: save it in a file that all of them "
            "can read (cat > text.txt), and name that file"
        )


def compare(group, plan, corpus):
    """Raise ConfigError in the first process, and Elsewhere in the others, if they would not train the same run.

    Compared are version, options, text, validation text, CPU instructions and initial weights.
    """
    if group.size == 1:
        return
    kinds = {"version": charrnn.__version__, "options": plan.config.to_record(), "text": corpus.fingerprint}
    kinds["instructions"] = instructions(with_bfloat16=plan.config.precision == "bfloat16")
    kinds["validation"] = None if corpus.validation is None else corpus.validation.fingerprint
    kinds["weights"] = None if plan.initial is None else _digest(plan.initial)
    _agree(group, kinds)


def compare_starts(group, resumes):
    """Raise as `compare` does unless all processes have the same version, and all start a run or all resume one.

    Call this first: other processes would exchange other messages, and wait for one another forever.

    resumes : bool; whether this process resumes a run
    """
    if group.size > 1:
        _agree(group, {"version": charrnn.__version__, "resumption": resumes})


def _agree(group, kinds):
    everywhere = group.gather(kinds)
    for rank, theirs in enumerate(everywhere):
        for kind, mine in everywhere[0].items():
            if theirs.get(kind) != mine:
                if group.rank > 0:
                    raise Elsewhere
                raise ConfigError(_difference(kind, mine, theirs.get(kind), rank))


def _difference(kind, mine, theirs, rank):
    if kind == "version":
        return (
            f"process {rank} runs charrnn {theirs}, process 0 runs charrnn {mine}: install the same version everywhere"
        )
    if kind == "resumption":
        return (
            f"process {rank} {_STARTS[theirs]} and process 0 {_STARTS[mine]}: start all processes with the same command"
        )
    if kind == "text":
        return (
            f"process {rank} reads a different text from process 0, with fingerprint {theirs[:12]} instead of "
            f"{mine[:12]}: copy the same text to every machine"
        )
    if kind == "validation":
        return f"process {rank} reads a different validation text from process 0: copy the same file to every machine"
    if kind == "instructions":
        return (
            f"process {rank} computes with {', '.join(theirs)} and process 0 with {', '.join(mine)}, so their results "
            "would differ in the last bits: use machines of one kind, or set NUMBA_CPU_NAME=haswell on all of them"
        )
    if kind == "weights":
        return f"process {rank} starts from different weights than process 0: copy the same checkpoint to every machine"
    names = [name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)]
    return (
        f"process {rank} was started with different options than process 0 ({', '.join(sorted(names))}): start all "
        "processes with the same command"
    )


def _digest(checkpoint):
    """Return what tells two checkpoints apart."""
    digest = hashlib.sha256(json.dumps([checkpoint.model, checkpoint.vocabulary.symbols], default=str).encode())
    for name in sorted(checkpoint.parameters):
        digest.update(checkpoint.parameters[name].tobytes())
    return digest.hexdigest()
