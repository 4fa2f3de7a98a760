"""How many threads share a piece of work, by what it took before: no result depends on it."""

import math

REST = 8, 512  # blocks that one worker does alone after a team was slower: at first, and at most
BLOCK_S = 0.2  # of training steps, which are too short to be judged one by one
STEP_REST = 8, 64  # blocks of these, the most of them 13 s


class Pace:
    """Decides, block by block, whether a team or one worker does it, by what both took.

    Where another process holds a core, the worker on that core comes late or is stopped in the middle of a unit, for
    milliseconds; the others then wait for as long as a hundred characters take. So a team's block that took longer a
    character than one worker's last is followed by blocks done alone, twice as many each time in a row.
    """

    def __init__(self, rest=REST):
        self._first, self._most = rest
        self._blocks, self._alone_s, self._resting, self._rest = 0, 0.0, 0, self._first

    def count_workers(self, most):
        """Return how many of `most` workers to take for the next block."""
        alone = self._blocks == 1 or self._resting > 0  # the second block shows what one worker takes
        return 1 if alone else most

    def record(self, workers, step_s):
        """Take in what a step of the block took."""
        self._blocks += 1
        if workers == 1:
            self._alone_s, self._resting = step_s, max(0, self._resting - 1)
        elif self._blocks > 2 and step_s > self._alone_s:
            self._resting, self._rest = self._rest, min(2 * self._rest, self._most)
        else:
            self._rest = self._first


class StepPace:
    """Decides for steps of training, by Pace: a block is as many as take BLOCK_S.

    A step of a small model takes a millisecond and meets five times. While other processes hold a core, each meeting
    waits for as long as a whole step takes: two threads train it at an eighth of the speed of one.
    """

    def __init__(self):
        self._pace, self._workers, self._steps, self._seconds = Pace(STEP_REST), 1, 0, 0.0

    def count_workers(self, most):
        """Return how many of `most` threads to take for the next step."""
        if self._steps == 0:
            self._workers = self._pace.count_workers(most)
        return min(self._workers, most)

    def record(self, seconds):
        """Take in what a step took."""
        self._steps, self._seconds = self._steps + 1, self._seconds + seconds
        if self._seconds >= BLOCK_S:
            self._pace.record(self._workers, self._seconds / self._steps)
            self._steps, self._seconds = 0, 0.0


class ShardPace:
    """Watches how long a step of training takes, and deals the streams to more shards while a core is busy elsewhere.

    With one shard a thread, the thread on the busy core is waited for; with three, the other takes some of its shards.
    Small shards read the weights more often: a few per cent slower on an idle machine.
    """

    PATIENCE = 8  # quiet chunks before the streams are dealt to few shards again

    def __init__(self):
        self.best, self.disturbed = math.inf, 0

    def shards(self, workers, streams):
        return max(workers, min(3 * workers, streams // 4)) if self.disturbed else workers

    def note(self, seconds):
        """Take down the time of a step's forward and backward pass."""
        if seconds > 1.25 * self.best:
            self.disturbed = self.PATIENCE
        elif self.disturbed:
            self.disturbed -= 1
        self.best = min(seconds, 1.01 * self.best)  # what was fast once may be out of reach later: forget it slowly
