"""How many updates the runs of a sweep make, where it goes by epochs: a comparison of unequal numbers is told."""

from charrnn.errors import counted
from charrnn.training.settings import option


def unequal_updates(drafts):
    """Say that runs of as many epochs make different numbers of updates, as --batch-size and --seq-length decide; None
    where they do not.
    """
    by_epochs = {}
    for one in drafts:
        if one.config is not None and one.config.steps is None and one.total_steps:
            by_epochs.setdefault(one.config.epochs, []).append(one)
    groups = [alike for alike in by_epochs.values() if _most(alike).total_steps >= 1.1 * _fewest(alike).total_steps]
    if not groups:
        return None
    group = max(groups, key=lambda alike: _most(alike).total_steps / _fewest(alike).total_steps)
    most, fewest = _most(group), _fewest(group)
    names = [
        name for name in ("batch_size", "seq_length") if getattr(most.config, name) != getattr(fewest.config, name)
    ]
    if not names:
        return None

    def told(one):
        sizes = ", ".join(f"{option(name)} {getattr(one.config, name)}" for name in names)
        return f"{sizes} makes {counted(one.total_steps, 'update')}"

    return (
        f"in the same number of epochs, {told(most)} and {told(fewest)}. More updates alone can lower the loss. For "
        f"equal updates, replace epochs in SPEC.toml by steps, as in: steps = {fewest.total_steps}"
    )


def _most(drafts):
    return max(drafts, key=lambda one: one.total_steps)


def _fewest(drafts):
    return min(drafts, key=lambda one: one.total_steps)
