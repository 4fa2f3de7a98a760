"""Generation: draw characters from a model, each of which it reads next, block by block in compiled code.

A Generation holds the carry of its streams and all buffers of kernels/generate.py; it knows no seed, stop or text. The
settings by which a character is chosen are arguments; the rule is that of sampler.choose.
"""

import time

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels.entries import GENERATE
from charrnn.kernels.host import padded
from charrnn.kernels.pool import give_way_address, run_items
from charrnn.kernels.records import GenerationTable, count_team_words
from charrnn.kernels.splitmix import GOLDEN
from charrnn.kernels.table import Table
from charrnn.kernels.threads import num_threads
from charrnn.model.buffers import Extent, GenerationBuffers, aligned_zeros
from charrnn.model.pace import Pace
from charrnn.spec import CELLS

GROUP_ROWS = 4, 32  # streams that a unit of work takes: with fewer a tile waits for its weights, more gain nothing
WORKER_PRODUCTS = 16384  # multiplications of a phase, a microsecond, that are worth one worker more to be met
SHORT_PRODUCTS = 1 << 25  # a step of fewer multiplications, some 2 ms, is shared only where that is found to be faster


class Generation:
    """Draws characters from a model in B parallel streams, and keeps their carry.

    model      Model; its parameters are read at every call
    streams    B
    workers    number of threads that share a step; None means automatic. It does not affect what is drawn
    """

    def __init__(self, model, streams, workers=None):
        if streams < 1:
            raise ConfigError(f"streams must be at least 1, got {streams}")
        self.model, self.streams, self.workers = model, streams, workers
        layout, B = model.layout, streams
        looked_up = layout.vocab_size * layout.embedding_stride * (layout.embedding_at >= 0)
        if not layout.embedding_size:
            looked_up = layout.weights_x[0].size
        self._products = B * (layout.size - looked_up)  # multiplications of a step
        self._pace, self._scratches = Pace(), {}
        states, rate = layout.num_layers * B * layout.stride, model.config.zoneout
        self._groups = self._count_groups(workers or num_threads())
        self._scratch_size = padded(layout.vocab_size, 8)
        self._table = Table(GenerationTable)
        self._table.set(
            plan=layout.plan,
            B=B,
            groups=self._groups,
            give_way=give_way_address(),
            scratch=self._scratch_size,
            new=states if rate > 0 else 0,
            zone_rate=rate,
            layers=layout.layers,
            params=model.flat,
        )
        self._buffers = GenerationBuffers()
        self._buffers.hold(Extent(layout, B, 1, training=False), self._table)

    def _places(self):
        """Yield (streams, {"h": (L, n, H)}) of each group, views of their states; with "c" where the cell has one."""
        config, S = self.model.config, self.model.layout.stride
        buffers = (
            {"h": self._buffers.HS, "c": self._buffers.CS} if CELLS[config.cell].has_c else {"h": self._buffers.HS}
        )
        for group in range(self._groups):
            lo, hi = (i * self.streams // self._groups for i in (group, group + 1))
            rows = slice(lo * config.num_layers * S, hi * config.num_layers * S)
            yield (
                slice(lo, hi),
                {
                    name: buffer[rows].reshape(config.num_layers, hi - lo, S)[:, :, : config.hidden_size]
                    for name, buffer in buffers.items()
                },
            )

    def set_carry(self, carry):
        """Set the carry: {"h": ndarray (L, B, H)}, with "c" for an LSTM; None sets it to zero.

        Arrays (L, 1, H) set all streams alike. Raises ConfigError for other names or shapes.
        """
        for buffer in (self._buffers.HS, self._buffers.CS):
            buffer[:] = 0
        self.begin(np.ones(self.streams, bool), carry)

    def begin(self, streams, carry=None):
        """Set the carry of some streams, so that they begin again; the carry of the others stays.

        streams   ndarray (B,) of bool: the streams that begin again
        carry     as for `set_carry`, for all streams; None means zero
        """
        config = self.model.config
        if np.shape(streams) != (self.streams,):
            raise ConfigError(f"streams must be bool of shape ({self.streams},), got {np.shape(streams)}")
        if carry is None:
            for group, places in self._places():
                for place in places.values():
                    place[:, streams[group]] = 0
            return
        names, shape = (CELLS[config.cell].states, (config.num_layers, self.streams, config.hidden_size))
        if set(carry) != set(names):
            raise ConfigError(f"the carry must hold {sorted(names)}, got {sorted(carry)}")
        for name, value in carry.items():
            if np.shape(value) not in (shape, (shape[0], 1, shape[2])):
                raise ConfigError(f"the carry {name} must have shape {shape}, got {np.shape(value)}")
        for group, places in self._places():
            chosen = streams[group]
            for name, place in places.items():
                place[:, chosen] = carry[name] if carry[name].shape[1] == 1 else carry[name][:, group][:, chosen]

    def get_carry(self):
        """Return the carry as {"h": ndarray (L, B, H)}, with "c" for an LSTM; copies, in the model's dtype."""
        groups = [places for _, places in self._places()]
        return {name: np.concatenate([places[name] for places in groups], axis=1) for name in groups[0]}

    def read(self, ids, resets=None):
        """Read ids and advance the carry. Raises ConfigError if ids or shapes do not fit.

        ids       ndarray (N, B) of integers
        resets    ndarray (N, B) of bool: where the state of a stream is set to zero before the id is read; or None
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.shape[1] != self.streams or not len(ids):
            raise ConfigError(f"ids must have shape (N, {self.streams}) with N at least 1, got {ids.shape}")
        self._check_ids(ids)
        if resets is not None and (resets.dtype != bool or resets.shape != ids.shape):
            raise ConfigError(f"resets must be bool of the ids' shape {ids.shape}, got {resets.dtype} {resets.shape}")
        ids = np.ascontiguousarray(ids, np.int32)
        self._table.set(reading=1)
        # A call makes the recurrent product of its first step itself, so between two calls a state may change.
        cuts = [] if resets is None else np.flatnonzero(resets.any(axis=1)).tolist()
        for at, end in zip([0, *cuts], [*cuts, len(ids)]):
            if at < end:
                if resets is not None:
                    self.begin(resets[at])
                self._run(ids[at:end])

    def draw(  # noqa: PLR0913  a choice has four settings
        self,
        inputs,
        count,
        keys,
        position,
        *,
        temperature: float | np.ndarray = 1.0,
        top_k: int | np.ndarray | None = None,
        top_p: float | np.ndarray = 1.0,
        min_p: float | np.ndarray = 0.0,
        with_losses=False,
        with_logits=False,
    ):
        """Read one id per stream, draw the next one, read it, and so on until `count` ids per stream are drawn.

        inputs    ndarray (B,), int32: the ids to read first. The ids that are drawn last are not read
        keys      ndarray (B,), uint64: draw n of stream j uses number position + n of the SplitMix64 sequence that
                  starts at keys[j]
        position  int, or ndarray (B,): number of draws so far; 0 for a stream that begins again
        temperature, top_k, top_p, min_p   as in sampler.Settings, for all streams; or ndarrays (B,), in which top_k = V
                  stands for None

        Returns ids, ndarray (count, B) int32; losses, ndarray (count, B) float64 in nats, or None; logits, ndarray
        (count, B, V) float64, or None; and a bool: whether all logits are finite. Raises ConfigError if an argument
        does not fit.
        """
        B, V = self.streams, self.model.config.vocab_size
        inputs, keys = np.asarray(inputs), np.ascontiguousarray(keys, np.uint64)
        if inputs.shape != (B,) or keys.shape != (B,) or count < 1:
            raise ConfigError(
                f"inputs and keys must have shape ({B},) and count be at least 1, got {inputs.shape}, "
                f"{keys.shape} and {count}"
            )
        self._check_ids(inputs)
        if np.ndim(position):  # number p + n of a sequence is number n of one whose key is p GOLDEN further
            keys, position = keys + np.asarray(position).astype(np.uint64) * np.uint64(GOLDEN), 0
        self._buffers.inputs[:] = inputs
        self._buffers.drawn[:] = 0
        self._buffers.not_finite[:] = 0
        ids = np.empty((count, B), np.int32)
        losses = np.empty((count, B)) if with_losses else None
        logits = np.empty((count, B, V)) if with_logits else None
        if top_k is None or isinstance(top_k, int):  # which may be beyond what NumPy's integers hold
            top_k = V if top_k is None else min(top_k, V)
        buffers, most = self._buffers, np.minimum(top_k, V)
        buffers.temperature[:], buffers.top_k[:], buffers.top_p[:], buffers.min_p[:] = temperature, most, top_p, min_p
        self._table.set(reading=0, position=position, keys=keys)
        self._table.set(with_losses=with_losses, with_logits=with_logits, losses=losses, logits=logits)
        self._run(ids)
        return ids, losses, logits, self._buffers.not_finite[0] == 0

    def _check_ids(self, ids):
        V = self.model.config.vocab_size
        if ids.min() < 0 or ids.max() >= V:
            raise ConfigError(f"ids must be in 0..{V - 1}, got {ids.min()}..{ids.max()}")

    def _run(self, ids):
        config = self.model.config
        address = GENERATE[config.cell].address(config.dtype)
        most = self.workers or self.count_workers(num_threads())
        paced = most > 1 and self.workers is None and self._products < SHORT_PRODUCTS
        workers = self._pace.count_workers(most) if paced else most
        words, weights, order = self._scratch(workers)
        words[:] = 0
        self._table.set(T=len(ids), workers=workers, chosen=ids, weights=weights, order=order, words=words)
        start = time.perf_counter()
        run_items(address, self._table.words, workers, workers)
        self._table.set(chosen=None, keys=None, losses=None, logits=None)  # they are the caller's
        if paced:
            self._pace.record(workers, (time.perf_counter() - start) / len(ids))

    def _scratch(self, workers):
        """Return the words of a team, and the weights and orders of its choices."""
        if workers not in self._scratches:
            size = workers * 2 * self._scratch_size
            self._scratches[workers] = (
                aligned_zeros(count_team_words(workers), "int64"),
                aligned_zeros(size, "float64"),
                aligned_zeros(size, "int64"),
            )
        return self._scratches[workers]

    def count_workers(self, threads):
        """Return how many threads, at most `threads`, should share a step of this model."""
        phases, units = self.model.config.num_layers + 1, self.model.layout.panels * self._groups
        return max(1, min(threads, units, 1 + self._products // phases // WORKER_PRODUCTS))

    def _count_groups(self, workers):
        """Return into how many groups the streams are cut: as many for each worker, where there are enough streams."""
        least, most = GROUP_ROWS
        groups = -(-self.streams // most)
        even = padded(groups, workers)
        return even if even * least <= self.streams else groups
