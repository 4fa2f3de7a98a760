"""Which checkpoint file is meant: by a path, by a run's folder, or by no name at all."""

import os
from pathlib import Path
from shlex import quote

from charrnn.errors import CheckpointError, nearest_path
from charrnn.runs.checkpoint.format import is_whole
from charrnn.runs.checkpoint.refusals import unreadable
from charrnn.runs.names import BEST, LAST, RUNS_FOLDER, SPEC


def find_checkpoint(where=None, prefer="best"):
    """Return the path of the checkpoint file that `where` names.

    where : a checkpoint file, a run folder, or None: the newest run under ./checkpoints
    prefer : "best" or "last", which of a run's two files to take; where it is missing, the other

    Raises CheckpointError, saying what was looked for and how to get one.
    """
    if where is None:
        run = newest_run()
        found = run and _pick(run, prefer)
        if not found:
            raise CheckpointError(lacking_run())
        return found
    where = Path(where)
    try:
        is_folder = where.is_dir()
        if not is_folder and not where.exists():
            raise CheckpointError(
                f"{where} does not exist{nearest_path(where)}: name a checkpoint file or a run folder"
            )
    except (OSError, ValueError) as error:
        raise unreadable(where, error) from None
    if not is_folder:
        return where
    found = _pick(where, prefer)
    if found is None:
        inner = newest_run(where)
        raise CheckpointError(
            f"{where} contains no checkpoint (neither {BEST} nor {LAST}): "
            + (f"name one of the runs in it, such as {inner}" if inner else "name a run folder or a checkpoint file")
        )
    return found


def newest_run(folder: str | os.PathLike = RUNS_FOLDER):
    """Return the run folder directly under `folder` with the newest checkpoint, or None."""
    newest = (0, "")
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    for name in names:
        for file in (LAST, BEST):
            try:
                newest = max(newest, (os.stat(Path(folder, name, file)).st_mtime_ns, name))
            except OSError:
                pass
    return Path(folder, newest[1]) if newest[1] else None


def lacking_run():
    """Say that there is no newest run, and what there is to name instead: the newest in a sweep, or nothing yet."""
    sweep = newest_sweep()
    if sweep is None:
        return f"no run under ./{RUNS_FOLDER}: train one with 'charrnn train TEXT'"
    return f"the only runs under ./{RUNS_FOLDER} belong to sweeps: name one of them, such as {newest_run(sweep)}"


def instead_of_last(path):
    """Say what to do where a folder has no `last` that a run could go on from."""
    if is_whole(path / BEST):
        return (
            "its best checkpoint is intact; to resume from there (and lose what was trained since): charrnn train "
            f"--resume {quote(str(path / BEST))}"
        )
    if (path / SPEC).is_file():
        return f"it is a sweep; continue it with: charrnn sweep --resume {quote(str(path))}"
    run = newest_run(path)
    if run is not None:
        return f"name one of the runs in it, such as {run}"
    return "start a new run in another folder with 'charrnn train TEXT -o FOLDER'"


def newest_sweep():
    """Return the folder of a sweep under ./checkpoints with the newest checkpoint, or None."""
    sweeps = [path.parent for path in Path(RUNS_FOLDER).glob(f"*/{SPEC}")]
    runs = [run for run in map(newest_run, sweeps) if run is not None]
    return max(runs, key=_time_of).parent if runs else None


def _time_of(run):
    """Return when the newest checkpoint of a run was written."""
    return max((run / name).stat().st_mtime_ns for name in (LAST, BEST) if (run / name).exists())


def _pick(run, prefer):
    for name in (BEST, LAST) if prefer == "best" else (LAST, BEST):
        if (run / name).is_file():
            return run / name
    return None
