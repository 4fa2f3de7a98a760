"""Choose how many threads share a piece of work, from the time it took before. No result depends on it."""

import math

REST = 8, 512  # blocks that one worker does alone after a team was slower: at first, and at most
BLOCK_S = 0.2  # of training steps, which are too short to be judged one by one
STEP_REST = 8, 64  # blocks of these, the most of them 13 s


class Pace:
    """Chooses, block by block, between a team of threads and one thread alone, from the time that both took.

    If another process uses a core, the thread on that core starts late or is interrupted for milliseconds, and the
    other threads wait for it: as long as a hundred characters take. So if a team took longer per character than one
    thread did last time, the next rest[0] blocks are done by one thread, and twice as many each time in a row.

    rest : (first, most) number of blocks that one thread does alone after a team was slower, at first and at most
    """

    def __init__(self, rest=REST):
        self._first, self._most = rest
        self._blocks, self._alone_s, self._resting, self._rest = 0, 0.0, 0, self._first

    def count_workers(self, most):
        """Return how many threads, at most `most`, to use for the next block."""
        alone = self._blocks == 1 or self._resting > 0  # the second block shows what one worker takes
        return 1 if alone else most

    def record(self, workers, step_s):
        """Record the time that `workers` threads took, in seconds per step of the block."""
        self._blocks += 1
        if workers == 1:
            self._alone_s, self._resting = step_s, max(0, self._resting - 1)
        elif self._blocks > 2 and step_s > self._alone_s:
            self._resting, self._rest = self._rest, min(2 * self._rest, self._most)
        else:
            self._rest = self._first


class StepPace:
    """Chooses the number of threads for training steps, as Pace does for blocks; a block is 0.2 s of steps.

    A step of a small model takes a millisecond, and its threads wait for one another five times. While another process
    uses a core, each wait takes as long as a whole step: two threads then train at an eighth of the speed of one.
    """

    def __init__(self):
        self._pace, self._workers, self._steps, self._seconds = Pace(STEP_REST), 1, 0, 0.0

    def count_workers(self, most):
        """Return how many threads, at most `most`, to use for the next step."""
        if self._steps == 0:
            self._workers = self._pace.count_workers(most)
        return min(self._workers, most)

    def record(self, seconds):
        """Record the time of a step, in seconds."""
        self._steps, self._seconds = self._steps + 1, self._seconds + seconds
        if self._seconds >= BLOCK_S:
            self._pace.record(self._workers, self._seconds / self._steps)
            self._steps, self._seconds = 0, 0.0


class ShardPace:
    """Divides the streams of a training step into more shards while another process uses a core.

    With one shard per thread, all threads wait for the one on the busy core; with three, other threads take some of its
    shards. More shards read the weights more often: on an idle machine that is a few per cent slower.
    """

    PATIENCE = 8  # quiet chunks before the streams are dealt to few shards again

    def __init__(self):
        self.best, self.disturbed = math.inf, 0

    def shards(self, workers, streams):
        """Return the number of shards for so many threads and streams."""
        return max(workers, min(3 * workers, streams // 4)) if self.disturbed else workers

    def note(self, seconds):
        """Record the time of a forward and backward pass, in seconds per time step of the chunk."""
        if seconds > 1.25 * self.best:
            self.disturbed = self.PATIENCE
        elif self.disturbed:
            self.disturbed -= 1
        self.best = min(seconds, 1.01 * self.best)  # what was fast once may be out of reach later: forget it slowly
