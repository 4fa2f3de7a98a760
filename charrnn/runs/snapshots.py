"""A snapshot of a run as the beginning of a new run folder, which goes on from there; the old folder stays as it is."""

import contextlib
import os
from pathlib import Path

from charrnn.errors import CheckpointError
from charrnn.files.storage import atomic_write, give_second_name, storage_error
from charrnn.runs.checkpoint import is_count, load_checkpoint, read_metadata, save_checkpoint
from charrnn.runs.folder import RunFolder
from charrnn.runs.names import BEST, LOG, SNAPSHOT, snapshots_in


def is_snapshot(path):
    """Say whether a path has the name of a snapshot."""
    return SNAPSHOT.fullmatch(Path(path).name) is not None


def run_from_snapshot(snapshot, output, say):
    """Make a run folder that stands where a snapshot does, and return it, locked.

    Parameters
    ----------
    snapshot : path
    output : path or None
        The new folder; None takes ./checkpoints/<text>-<n>.
    say : callable
        Called with each sentence that the user should know.

    Raises
    ------
    CheckpointError
        There is no such snapshot, or it is damaged.
    RunError, StorageError
        The folder holds something, or cannot be made.
    """
    snapshot = Path(snapshot)
    home = snapshot.parent
    if not snapshot.is_file():
        others = snapshots_in(home)
        there = f"{home} has {', '.join(others[:5])}" if others else f"{home} has none"
        raise CheckpointError(f"{snapshot} is not a snapshot of a run: {there}")
    checkpoint = load_checkpoint(snapshot)
    training = checkpoint.training
    corpus = training["corpus"] if isinstance(training.get("corpus"), dict) else {}
    sources = corpus.get("sources")
    made = output is None or not Path(output).exists()
    folder = RunFolder.create(output, str(sources[0]) if isinstance(sources, list) and sources else "run")
    try:
        training["corpus"] = {**corpus, **_seen_from(corpus, home, folder.path)}
        _take_best(checkpoint, snapshot, folder, say)
        _copy(home / LOG, folder.log_path)
        save_checkpoint(folder.last, checkpoint)
    except BaseException:
        for path in (folder.best, folder.log_path):
            path.unlink(missing_ok=True)
        folder.close()
        if made:
            with contextlib.suppress(OSError):
                folder.path.rmdir()
        raise
    step = training.get("step")
    at = f"step {step:,}" if is_count(step) else "its step"
    say(f"resuming from {at} in the new folder {folder.path}; {home} is not changed")
    return folder


def _seen_from(corpus, home, folder):
    """Return where a run's texts are, told from another folder; nothing where the record does not say it so."""
    texts = corpus.get("sources_from_run")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return {}
    try:
        seen: dict = {"sources_from_run": [text if text == "-" else _path_from(folder, home, text) for text in texts]}
        validation = corpus.get("val")
        if isinstance(validation, dict) and isinstance(validation.get("source_from_run"), str):
            here = _path_from(folder, home, validation["source_from_run"])
            seen["val"] = {**validation, "source_from_run": here}
        return seen
    except ValueError:  # another drive
        return {}


def _path_from(folder, home, path):
    return os.path.relpath(os.path.join(home, path), folder)


def _take_best(checkpoint, snapshot, folder, say):
    """Give a new folder the best checkpoint as of the snapshot, or forget the best where its file is gone."""
    best = checkpoint.training.get("best")
    if not isinstance(best, dict):
        return
    home = snapshot.parent
    for path in (snapshot, home / BEST, *(home / name for name in snapshots_in(home))):
        if _best_of_its_own(path) == best:
            give_second_name(path, folder.best)
            return
    checkpoint.training["best"] = None
    at = f", of step {best['step']:,}," if is_count(best.get("step")) else ""
    say(f"the best checkpoint so far{at} no longer exists: the best checkpoint of this run is chosen from here on")


def _best_of_its_own(path):
    """Return the record of the best where a checkpoint is the best of its run so far, else None."""
    try:
        training = read_metadata(path)["training"]
    except CheckpointError:
        return None
    best = training.get("best")
    return best if isinstance(best, dict) and best.get("step") == training.get("step") else None


def _copy(path, to):
    """Copy a log, where there is one; the run that goes on cuts it back to where it stands."""
    try:
        if path.is_file():
            with open(path, "rb") as file:
                atomic_write(to, iter(lambda: file.read(1 << 20), b""))
    except OSError as error:
        raise storage_error(error, to) from error
