"""How many threads share a piece of work: rules over made-up times."""

from charrnn.model.pace import BLOCK_S, REST, STEP_REST, Pace, StepPace


def test_a_team_that_is_slower_than_one_worker_rests_longer_and_longer():
    pace, alone = Pace(), []
    for _ in range(1000):
        workers = pace.count_workers(4)
        alone.append(workers == 1)
        pace.record(workers, 1.0 if workers == 1 else 5.0)
    tries = [i for i in range(2, 1000) if not alone[i]]
    assert [b - a for a, b in zip(tries, tries[1:])][:4] == [REST[0] * 2**i + 1 for i in range(4)]


def test_a_team_that_is_faster_goes_on_and_one_bad_block_costs_few():
    pace, alone = Pace(), []
    for i in range(300):
        workers = pace.count_workers(4)
        alone.append(workers == 1)
        pace.record(workers, 1.0 if workers == 1 else 5.0 if i == 100 else 0.6)
    assert [i for i in range(300) if alone[i]] == [1, *range(101, 101 + REST[0])]


def threads_taken(seconds_of, steps, most=4):
    """Return the threads of each step, where a step takes seconds_of(its number, its threads)."""
    pace, taken = StepPace(), []
    for step in range(steps):
        taken.append(pace.count_workers(most))
        pace.record(seconds_of(step, taken[-1]))
    return taken


def test_steps_are_made_alone_where_their_meetings_wait_for_busy_cores():
    taken = threads_taken(lambda step, threads: 0.002 if threads == 1 else 0.016, 20_000)
    assert sum(threads == 1 for threads in taken) > 0.95 * len(taken) and 4 in taken[-10_000:]  # it is tried again


def test_steps_that_threads_make_faster_are_shared_but_for_one_block():
    seconds = BLOCK_S / 9.5
    taken = threads_taken(lambda step, threads: 2 * seconds if threads == 1 else seconds, 1000)
    assert [step for step in range(1000) if taken[step] == 1] == list(range(10, 15))


def test_what_is_shared_again_is_shared_within_the_longest_rest():
    busy = 5000
    taken = threads_taken(lambda step, threads: 0.01 if threads == 1 else 0.08 if step < busy else 0.004, 20_000)
    rest = STEP_REST[1] * BLOCK_S / 0.01
    assert all(threads == 4 for threads in taken[busy + int(rest) + 20 :])


def test_no_more_threads_are_taken_than_there_are_now():
    pace = StepPace()
    assert pace.count_workers(4) == 4
    pace.record(BLOCK_S / 2)
    assert pace.count_workers(2) == 2
