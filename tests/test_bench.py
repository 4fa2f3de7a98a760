"""The bench room counts what it says, times what a run does, and says what to expect; no test asserts a time."""

import json

import numpy as np
import pytest

from charrnn import bench
from charrnn.bench import PeakBench, Sampling, Shape, StepBench, Timing, fit_count, measure, step_flops
from charrnn.cli import main
from charrnn.errors import ConfigError
from charrnn.kernels import num_threads, set_num_threads
from charrnn.kernels.host import lanes_of
from charrnn.kernels.records import numbers_per_item
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.text.streams import Streams
from charrnn.training.optimisers import Optimizer

TINY = Shape("lstm", 5, 2, 2, 3, vocab_size=7)


def test_flops_equal_a_count_by_hand():
    # lstm, H 5, L 2, V 7: a row meets 4*5*5 recurrent weights twice, 4*5*5 input weights once, 7*5 output weights: 335.
    # Each product three times (forward, back to the input, back to the weights), two operations each, 2*3 rows.
    assert step_flops(TINY) == 335 * 3 * 2 * 6
    # gru, one layer, H 4, V 9: 3*4*4 + 9*4 = 84
    assert step_flops(Shape("gru", 4, 1, 3, 2, vocab_size=9)) == 84 * 3 * 2 * 6
    # rnn, three layers, H 2, V 3: 5*2*2 + 3*2 = 26
    assert step_flops(Shape("rnn", 2, 3, 1, 1, vocab_size=3)) == 26 * 3 * 2
    assert step_flops(Shape("rnn", 2, 3, 1, 1, vocab_size=3, embedding_size=5)) == 36 * 3 * 2  # 2 x 5 weights more


def test_a_measured_step_is_a_whole_training_step():
    training = StepBench(TINY, clip_norm=0.01)
    training.run(3)
    rng = np.random.default_rng(0)
    text = rng.integers(0, 7, 2 * 3 * bench.STREAM_CHUNKS + 1).astype(np.uint8)
    streams, model = Streams(text, 0, len(text), 2, 3), Model.initialise(TINY.model_config(), 0)
    workspace, optimizer = Workspace(model, 2, 3), Optimizer("adam", model)
    for _ in range(2 + 3):  # two to warm up
        workspace.loss_and_grads(*streams.next_chunk())
        optimizer.step(workspace, 3e-5, 0.01)
    assert np.array_equal(training.model.flat, model.flat)
    assert training.work == 6


def test_every_epoch_of_the_measured_text_begins_with_a_fresh_carry():
    training = StepBench(Shape("rnn", 5, 1, 1, 2, vocab_size=3))
    training.run(bench.STREAM_CHUNKS - 2 + 1)  # all but the two of the warm-up, and the first again
    seen = training._workspace.get_carry()["h"]
    fresh = Workspace(training.model, 1, 2)
    fresh.losses(
        *Streams(np.random.default_rng(0).integers(0, 3, 2 * bench.STREAM_CHUNKS + 1), 0, 101, 1, 2).next_chunk()
    )
    assert np.allclose(seen, fresh.get_carry()["h"], atol=1e-3)  # an update of 3e-5 lies between


def test_measurements_leave_the_number_of_threads_as_it_was():
    before = num_threads()
    try:
        set_num_threads(2)
        for measurement in (StepBench(TINY, threads=1), Sampling(TINY, threads=1), PeakBench(threads=1)):
            assert measurement.threads == 1
            measurement.run(1)
            assert num_threads() == 2
    finally:
        set_num_threads(before)


def test_the_peak_counts_every_lane_of_every_thread():
    peak = PeakBench("float64", threads=2)
    peak.run(3)
    assert peak.work == 2 * (numbers_per_item("float64") - 2) * 2 * 4 * PeakBench.ROUNDS
    assert (peak._numbers[:, 2:] == 1).all()  # the fixed point was reached, so the multiply-adds were done


def test_sampling_draws_for_every_stream():
    sampling = Sampling(TINY, streams=3)
    assert sampling.work == 3
    drawn = sum(block.drawn.sum() for block in sampling._sampler.generate(5))
    assert drawn == 15


class Fake:
    """A measurement whose every run takes `seconds`."""

    work = 10

    def __init__(self, name, seconds, log):
        self.name, self.seconds, self.log = name, seconds, log

    def run(self, count):
        self.log.append((self.name, count))
        return self.seconds * count


def test_measurements_take_turns_and_the_rate_is_the_median():
    log = []
    fast, slow = measure([Fake("fast", 0.5, log), Fake("slow", 2.0, log)], repeats=3, target_s=1.0)
    assert log[-6:] == [("fast", 2), ("slow", 1)] * 3
    assert (fast.rate, slow.rate) == (20.0, 5.0)
    assert Timing((1.0, 9.0, 2.0)).rate == 2.0


@pytest.mark.parametrize("budget_s, repetitions", [(0.0, 3), (2.5, 3), (6.5, 7), (1000.0, 50)])
def test_the_budget_ends_the_repetitions_but_leaves_three(budget_s, repetitions):
    log = []

    def clock():
        return float(len(log) - 1)  # a repetition takes a second; a run is tried before the first

    (timing,) = measure([Fake("one", 1.0, log)], repeats=50, budget_s=budget_s, target_s=1.0, clock=clock)
    assert len(timing.rates) == repetitions


@pytest.mark.parametrize("budget_s", [0.0, 2.5, 1000.0])
def test_a_measurement_reports_how_far_it_is(budget_s):
    log, shares = [], []
    measure(
        [Fake("one", 1.0, log)],
        repeats=8,
        budget_s=budget_s,
        target_s=1.0,
        clock=lambda: float(len(log)),
        progress=shares.append,
    )
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] < 1 and len(shares) >= 3


def test_a_shape_reports_how_far_it_is():
    shares = []
    bench.measure_shape(TINY, repeats=2, progress=shares.append)
    assert shares == sorted(shares) and shares[0] == 0 and 0.8 in shares and shares[-1] < 1


@pytest.mark.parametrize("seconds", [1e-9, 1e-4, 0.03, 3.0])
def test_a_repetition_takes_about_the_time_it_should(seconds):
    count = fit_count(lambda n: seconds * n, target_s=0.5)
    assert count == max(1, round(0.5 / seconds))


@pytest.mark.slow
def test_a_shape_is_measured_beside_the_peak():
    result = bench.measure_shape(TINY, repeats=1)
    assert result.parameters == Model(TINY.model_config()).num_parameters and result.training_repeats == 1
    flops_per_character = step_flops(TINY) / (TINY.batch_size * TINY.seq_length)
    share = result.training_chars_per_s * flops_per_character / (result.peak_gflops * 1e9)
    assert result.peak_share == pytest.approx(share) and share > 0 and result.sampling_chars_per_s > 0
    assert result.peak_before_gflops > 0 and result.peak_after_gflops > 0
    for caches in (result.caches_before, result.caches_after):
        assert list(caches) == list(bench.CACHES) and min(caches.values()) > 0


def test_what_does_not_fit_in_memory_is_refused(monkeypatch):
    bench.check_memory(TINY)
    monkeypatch.setattr(bench, "available_memory", lambda: 1000)
    with pytest.raises(ConfigError, match="0.0 GB of memory.*--hidden-size"):
        bench.check_memory(TINY)


@pytest.mark.parametrize("source, of_all, operations", [("l2", 0.5, 2), ("memory", 4, None)])
def test_a_cache_is_read_by_products_of_weights_by_its_size(source, of_all, operations, monkeypatch):
    monkeypatch.setattr(bench, "core_cache_bytes", lambda: 1 << 19)
    probe = bench.CacheBench(source, threads=2)
    probe.run(3)
    v = probe._table
    rows, panels, size = (int(v.words[v._places[name][0]]) for name in ("rows", "panels", "item_size"))
    width = 4 * lanes_of(4)
    assert panels * probe.K * width * 4 == of_all * 2**19
    assert probe.work == 2 * panels * probe.K * width * (operations * rows if operations else 4)
    numbers = v._held["numbers"].reshape(2, size)
    results = numbers[:, rows * probe.K :][:, : rows * width]
    assert (results == probe.K).all()  # rows of ones by weights of ones, on both threads
    assert (numbers[:, rows * (probe.K + width) :] == 1).all()


def shape_result(before, meanwhile, after, caches_before=None, caches_after=None):
    caches = [dict(zip(bench.CACHES, caches or ())) for caches in (caches_before, caches_after)]
    return bench.ShapeResult(TINY, 1, 1.0, 0.5, meanwhile, 1.0, 7, before, after, *caches)


@pytest.mark.parametrize(
    "start, rows, disturbed",
    [
        (100.0, [(99.0, 95.0, 91.0), (91.0, 99.0, 97.0)], (False, False)),
        (100.0, [(99.0, 60.0, 99.0), (99.0, 99.0, 99.0)], (True, False)),  # meanwhile
        (100.0, [(99.0, 99.0, 89.0), (89.0, 99.0, 99.0)], (True, True)),  # between the two
        (60.0, [(100.0, 100.0, 100.0), (100.0, 91.0, 100.0)], (False, False)),  # before both
        (80.0, [(80.0, 80.0, 80.0), (80.0, 100.0, 100.0)], (True, True)),  # the best comes last
    ],
)
def test_a_row_is_disturbed_where_the_peak_is_more_than_a_tenth_below_the_best_of_the_run(start, rows, disturbed):
    found = bench.disturbance({1: 50.0, 2: start}, [shape_result(*row) for row in rows])
    seen = [start, *(peak for row in rows for peak in row)]
    assert (found.rows, found.best_gflops, found.lowest_gflops) == (disturbed, max(seen), min(seen))
    assert found.fall == pytest.approx(1 - min(seen) / 100)
    assert found.disturbed == (min(seen) < 90)


def test_a_row_is_disturbed_where_a_cache_is_down_though_the_peak_is_not():
    caches = [((80.0, 9.0), (79.0, 10.0)), ((79.0, 10.0), (60.0, 9.5)), ((60.0, 9.5), (80.0, 9.5)), ((80.0, 8.0),) * 2]
    found = bench.disturbance({1: 100.0}, [shape_result(99.0, 99.0, 99.0, *row) for row in caches])
    assert found.rows == (False, True, True, True) and found.disturbed
    assert found.falls == pytest.approx({"peak": 0.01, "l2": 0.25, "memory": 0.2})


def test_the_sentence_says_what_five_minutes_read():
    sentence = bench.expectation("lstm", "float32", 41_234.0)
    assert sentence.startswith("charrnn train ") and "--cell" not in sentence
    figures = ["2 x 256", "16", "64", "41,000 characters/s", "12,000,000 in 5 minutes", "12 passes over 1 MB"]
    for figure in (*figures, "1.2 passes over 10 MB"):
        assert figure in sentence
    assert "charrnn train --cell gru" in bench.expectation("gru", "float32", 3_333.0)
    assert "1.0 pass over 1 MB" in bench.expectation("gru", "float32", 3_333.0)


@pytest.mark.parametrize("value, shown", [(0, 0), (7.4, 7), (41_234.0, 41_000), (999_999.0, 1_000_000), (123, 120)])
def test_two_digits_are_kept(value, shown):
    assert bench.rounded(value) == shown


# The command

QUIET = {"l2": 80.0, "memory": 9.0}

OWN = ["--hidden-size", "5", "--num-layers", "1", "--batch-size", "2", "--seq-length", "3", "--repeats", "1"]


def test_one_shape_of_the_users_own(capsys):
    assert main(["bench", "--cell", "gru", *OWN]) == 0
    shown = capsys.readouterr()
    assert "GFLOP/s on 1 thread" in shown.out and "gru, vocabulary of 65" in shown.out
    row = next(line for line in shown.out.splitlines() if line.startswith("5 x 1"))
    assert "2 x 3" in row and "%" in row
    assert "charrnn train" not in shown.out  # the sentence is about its default shape
    assert "measuring gru 5 x 1, 2 x 3" in shown.err


@pytest.mark.slow
def test_json_is_one_object_and_threads_are_as_asked(capsys):
    before = num_threads()
    assert main(["bench", "--json", "--threads", "1", *OWN]) == 0
    assert num_threads() == before
    result = json.loads(capsys.readouterr().out)
    assert result["machine"]["threads"] == 1 and list(result["peak_gflops"]) == ["1"]
    (shape,) = result["shapes"]
    assert (shape["cell"], shape["hidden_size"], shape["seq_length"]) == ("lstm", 5, 3)
    assert shape["peak_share"] > 0
    assert shape["disturbed"] == result["disturbance"]["disturbed"] or result["disturbance"]["disturbed"]
    assert 0 < result["disturbance"]["lowest_peak_gflops"] <= result["disturbance"]["best_peak_gflops"]


@pytest.mark.parametrize(
    "lowest, l2, said, marked",
    [
        (95.0, 76.0, "load     not disturbed by other processes: peak -5%, L2 -5%, memory -0% at worst", 0),
        (80.0, 79.0, "load     disturbed: peak -20%, L2 -1%, memory -0%; rows marked * are too slow", 1),
        (99.0, 60.0, "load     disturbed: peak -1%, L2 -25%, memory -0%; rows marked * are too slow", 1),
    ],
)
def test_without_a_shape_all_are_measured_and_the_default_first(lowest, l2, said, marked, capsys, monkeypatch):
    measured = []

    def measure_shape(shape, repeats, dropout, progress):
        progress(0.5)
        measured.append((shape.hidden_size, shape.batch_size, shape.embedding_size, shape.layer_norm, dropout))
        after, caches = (lowest, {"l2": l2, "memory": 9.0}) if len(measured) == 2 else (100.0, QUIET)
        return bench.ShapeResult(shape, 1000, 40_000.0, 0.5, 100.0, 9_000.0, repeats, 100.0, after, QUIET, caches)

    monkeypatch.setattr(bench, "measure_shape", measure_shape)
    monkeypatch.setattr(bench, "measure_peaks", lambda repeats: {1: 50.0, 2: 100.0})
    assert main(["bench"]) == 0
    assert measured == [
        (256, 16, 64, True, 0.2),
        *((size, batch, 0, False, 0) for size, batch in ((128, 50), (256, 64), (512, 50), (512, 100), (100, 1))),
    ]
    shown = capsys.readouterr()
    assert "12 passes over 1 MB" in " ".join(shown.out.split())
    assert all(len(line) <= 80 for line in shown.out.splitlines() if not line.startswith("machine"))
    assert said in shown.out.splitlines()
    assert sum(line.startswith(("256 x 2*", "128 x 2*")) for line in shown.out.splitlines()) == marked


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--repeats", "0"], "got 0"),
        (["--threads", "0"], "got 0"),
        (["--threads", "99999"], "got 99999"),
        (["--hidden-size", "0"], "got 0"),
        (["--seq-length", "-3"], "got -3"),
        (["--batch-size", "100000000"], "got 100000000"),
        (["--hidden-size", "200000", "--num-layers", "4"], "memory"),
    ],
)
def test_nonsense_is_refused_with_the_option_and_its_value(arguments, said, capsys):
    assert main(["bench", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("Error: ") and shown.err.count("\n") == 1
    assert arguments[0] in shown.err and said in shown.err
    assert shown.out == "" and "Traceback" not in shown.err
