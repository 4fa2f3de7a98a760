"""How well a run's model predicts what it is not trained on."""

from charrnn.evaluation.loss import evaluate_split
from charrnn.model.workspace import Model
from charrnn.runs.checkpoint import load_checkpoint


def evaluate_test(folder, corpus, splits, validated, model=None, interrupted=None):
    """Return the Evaluation of a run on its test split, or None where there is none or `interrupted()` became true.

    validated : (start, stop) that the run validates on; shortened for want of time, it shortens the test too
    model : the Model of the best checkpoint (without validations, of the last one), or None to load it
    """
    start, stop = splits.test
    if stop - start < 1:
        return None
    if model is None:
        checkpoint = load_checkpoint(folder.best if folder.best.exists() else folder.last)
        model = Model.from_checkpoint(checkpoint)
    if tuple(validated) != tuple(splits.val):
        stop = min(stop, start + validated[1] - validated[0])
    return evaluate_split(model, corpus.ids, start, stop, interrupted=interrupted)
