"""judge: one call that measures what `charrnn eval` prints; its records agree with each other and with what they are
made of.
"""

import dataclasses
import json
import math

import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.evaluation.dynamic import DynamicSettings
from charrnn.evaluation.judgement import TrainingText
from charrnn.evaluation.loss import evaluate_stream
from charrnn.evaluation.report import JudgeOptions, judge
from charrnn.model.parameters import Model
from charrnn.spec import ModelConfig
from charrnn.text.corpus import Splits
from charrnn.text.excerpt import Excerpt
from charrnn.text.vocabulary import Vocabulary

TEXT = "".join(f"line {n * n % 97} (of {n}) says [{'abc' * (n % 4)}].\n" for n in range(80))
VOCABULARY = Vocabulary("chars", "".join(sorted(set(TEXT))))
IDS = np.array(VOCABULARY.encode(TEXT))
CUT = len(IDS) * 4 // 5
TRAINING = TrainingText(IDS, Splits((0, CUT - 100), (CUT - 100, CUT), (CUT, len(IDS))))
TEST = Excerpt(IDS, CUT, len(IDS), "test split", "test")
ALL = JudgeOptions(dynamic=DynamicSettings(), mistakes=True, memorised=True, sample_length=200, top_k=3)


@pytest.fixture(scope="module")
def model():
    return Model.initialise(ModelConfig("gru", VOCABULARY.size, 6, 1), 1)


@pytest.fixture(scope="module")
def judged(model):
    stages = []
    judgement = judge(model, VOCABULARY, TEST, TRAINING, ALL, lambda *stage: stages.append(stage))
    return judgement, stages


def test_a_text_can_be_judged_by_itself(model):
    judgement = judge(model, VOCABULARY, Excerpt.whole(IDS, "mine"))
    assert judgement.evaluation == evaluate_stream(model, IDS) and len(judgement.losses) == len(IDS) - 1
    assert {one.name for one in judgement.baselines} == {"uniform", "xz -9e alone"}
    assert judgement.ngram is judgement.verdict is judgement.mistakes is judgement.training_used is None
    result = judgement.to_dict()
    assert (result["text"], result["split"], result["checkpoint"]) == ("mine", None, None)


def test_all_that_is_asked_for_is_there_and_fits(judged):
    judgement, _ = judged
    n = len(IDS) - CUT
    assert len(judgement.losses) == len(judgement.dynamic.losses) == len(judgement.ngram.loss_nats) == n
    assert judgement.mistakes.characters == sum(one.count for one in judgement.mistakes.kinds) + sum(
        judgement.losses <= -math.log(0.5)
    )
    assert sum(one.count for one in judgement.brackets) > 0 and judgement.guesses.ids.shape == (n, 3)
    assert len(judgement.sample.ids) == 200 and (judgement.held_out.ids == IDS[CUT : CUT + 200]).all()
    assert judgement.sample.passage in TEXT[: CUT - 100] and judgement.training_used == CUT - 100
    assert judgement.baselines == tuple(sorted(judgement.baselines, key=lambda one: -one.loss_nats))
    json.dumps(judgement.to_dict("a/best.safetensors"), allow_nan=False)


def test_every_stage_is_reported_from_its_beginning_on(judged):
    _, stages = judged
    for what in {what for what, _, _ in stages}:
        shares = [done / of for one, done, of in stages if one == what]
        assert shares == sorted(shares) and shares[0] == 0 and shares[-1] <= 1
    assert {"reading the text", "training n-grams", "reading and learning", "drawing a sample"} <= {
        what for what, _, _ in stages
    }


def test_records_are_the_single_characters(judged):
    judgement, _ = judged
    records = list(judgement.records(2))
    assert "".join(record["character"] for record in records) == TEXT[CUT:]
    assert [record["at"] for record in records] == list(range(len(TEXT) - CUT))
    assert np.mean([record["bits"] for record in records]) == pytest.approx(judgement.evaluation.loss_bpc)
    assert all(len(record["guesses"]) == 2 and "dynamic_bits" in record for record in records)


@pytest.mark.parametrize(
    "moved, split, kind",
    [(-0.5, "test", "ahead"), (0.5, "test", "behind"), (0.0, "test", "level"), (0.5, None, "known")],
)
def test_the_verdict_goes_by_twice_the_standard_error_of_the_difference(judged, moved, split, kind):
    judgement, _ = judged
    noise = np.random.default_rng(1).normal(0, 0.1, len(judgement.losses))
    losses = judgement.ngram.loss_nats + moved + noise - noise.mean()
    changed = dataclasses.replace(
        judgement,
        text=dataclasses.replace(judgement.text, split=split),
        losses=losses,
        evaluation=dataclasses.replace(judgement.evaluation, loss_nats=float(losses.mean())),
        baselines=tuple(
            dataclasses.replace(one, loss_nats=0.1) if one.name == "xz -9e" else one for one in judgement.baselines
        ),
    )
    assert changed.verdict.kind == kind and changed.verdict.order == judgement.ngram.order


@pytest.mark.parametrize(
    "options, words",
    [({"mistakes": True}, "mistakes needs the text"), ({"memorised": True}, "memorised needs the text")],
)
def test_what_needs_the_training_text_is_refused_without_it(model, options, words):
    with pytest.raises(ConfigError, match=words):
        judge(model, VOCABULARY, Excerpt.whole(IDS), options=JudgeOptions(**options))


def test_options_have_their_bounds():
    for name, value in (("sample_length", 0), ("top_k", -1)):
        with pytest.raises(ConfigError, match=f"{name} must be at least"):
            JudgeOptions(**{name: value})


def test_a_text_for_which_memory_does_not_suffice_is_refused(model, monkeypatch):
    monkeypatch.setattr("charrnn.evaluation.report.available_memory", lambda: 1_000)
    with pytest.raises(ConfigError, match="--no-baselines"):
        judge(model, VOCABULARY, TEST, TRAINING)


def test_the_help_of_the_command_has_the_samples_length():
    from charrnn.cli.evaluate import command

    (option,) = [option for option in command.params if option.name == "length"]
    assert option.show_default == f"{JudgeOptions().sample_length:,}"
