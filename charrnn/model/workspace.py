"""The workspace of a model: what runs it over chunks of one batch shape.

Everything that one batch shape needs beside the parameters: states, gates, gradients, and the carry from chunk to
chunk. Knows neither a file nor a character nor an option of the command line.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels import entries, records
from charrnn.kernels.entries import fill_tiles
from charrnn.kernels.host import has_bfloat16
from charrnn.kernels.pool import run_items
from charrnn.kernels.records import THRESHOLD_BITS
from charrnn.kernels.splitmix import as_int64, step_key
from charrnn.kernels.table import Table
from charrnn.kernels.threads import num_threads
from charrnn.model.buffers import Buffers, CellBuffers, ChunkBuffers, Extent, WalkBuffers, WordBuffers, aligned_zeros
from charrnn.model.clamps import pack_clamps
from charrnn.model.dropped import DroppedWeights
from charrnn.model.marks import NO_MASKS, Masks, item_masks, pack_marks
from charrnn.model.pace import ShardPace
from charrnn.spec import CELLS, PRECISIONS

# Multiplications of a pass, some 50 us of one core, from which other threads are woken for it.
SHARED_PRODUCTS = 1 << 22
BLOCK_BYTES = 384 * 1024  # states of one layer that a shard keeps warm while it walks a block of steps


@dataclass(frozen=True)
class Dropout:
    """What a step of training drops: units in what each layer gives upward, and weights of the recurrent matrices.

    Of a model with zoneout it also draws, by the same seed, which units keep their states.

    rate           share of the units, never along time; variational: the same units at all steps of a chunk
    weight_rate    share of the recurrent weights, the same for all streams and steps of a chunk
    """

    rate: float
    variational: bool = False
    seed: int = 0
    weight_rate: float = 0.0


def check_precision(precision, dtype="float32"):
    """Return the dtype that products are computed in. Raises ConfigError where this CPU or the model's dtype cannot."""
    if precision not in PRECISIONS:
        raise ConfigError(f"--precision must be one of {', '.join(PRECISIONS)}, got {precision!r}", ["precision"])
    if precision == "float32":
        return dtype
    if dtype != "float32":
        raise ConfigError(
            f"--precision {precision} needs --dtype float32, got {dtype}: leave one of them out", ["precision", "dtype"]
        )
    if not has_bfloat16():
        raise ConfigError(
            f"--precision {precision} needs a CPU with AVX512-BF16, which this CPU does not have: use --precision "
            "float32, or start a new run from the weights of a bfloat16 run with 'charrnn train TEXT --init-from RUN'",
            ["precision"],
        )
    return precision


def block_steps(layout, batch_size, shards, T):
    """Return how many of T steps a shard walks at a time."""
    return max(1, min(T, BLOCK_BYTES // (-(-batch_size // shards) * layout.stride * layout.dtype.itemsize)))


def walk_buffers(cell, pack, training):
    """Return the kinds of Buffers in which a workspace walks a chunk, beside its ChunkBuffers."""
    kinds: list[type[Buffers]] = [WalkBuffers]
    if training and CELLS[cell].has_c:
        kinds.append(CellBuffers)
    if pack > 1:
        kinds.append(WordBuffers)
    return kinds


class Workspace:
    """Runs a model over chunks of at most seq_length steps of batch_size streams, and keeps the carry between them.

    Of a model of items (its start_id) a stream is reset where START is read, and the loss of predicting START does not
    count, unless a call says otherwise.

    model        a Model; its parameters are read at every call, so updates are seen
    training     False leaves out what only gradients need
    precision    "float32": the numbers of the model's own dtype; "bfloat16": the products' operands are rounded to
                 bfloat16, their sums, the model and everything else stay float32; needs a CPU with AVX512-BF16
    grads        (N,) the gradient of the last loss_and_grads, in the layout of model.flat, until the next chunk runs
    counted      how many losses of the last chunk count
    shards       groups that the streams are dealt to, or None: as many as suits the threads; no result depends on it
    """

    def __init__(self, model, batch_size, seq_length, training=True, precision="float32"):
        for name, value in (("batch_size", batch_size), ("seq_length", seq_length)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        self.model, self.batch_size, self.seq_length, self.training = model, batch_size, seq_length, training
        dtype = model.config.dtype
        operands = check_precision(precision, dtype)
        self._pack = 2 if precision == "bfloat16" else 1
        self.layout = layout = model.layout if self._pack == 1 else model.new_layout(self._pack)
        # The transposed weights live only while a chunk runs back, the gradient only after it: they share their memory.
        sizes = layout.size if training else 0, layout.derived_size if training or self._pack > 1 else 0
        scratch = aligned_zeros(max(sizes), dtype)
        self.grads = scratch[: layout.size]
        self.shards, self._pace = None, ShardPace()
        self._first = 0
        self._clamped, self._steps, self.counted = False, 0, 0
        self._gradient_cuts = {}
        self._dropped = DroppedWeights(layout, model.flat, self.grads)
        self._table = Table(records.Chunk)
        self._table.set(
            plan=layout.plan,
            B=batch_size,
            streams=batch_size,
            kept=not training,
            zone_rate=model.config.zoneout,
            zone_threshold=round(model.config.zoneout * 2**THRESHOLD_BITS),
            layers=layout.layers,
            params=model.flat,
            weights=model.flat if self._pack == 1 else scratch,
            derived=scratch,
            grads=scratch,
        )
        fill_tiles(self._table.words, layout.forward_widths, (), operands, layout.fetches_ahead)
        if training:
            fill_tiles(self._table.words, layout.backward_widths, layout.forward_widths, operands, layout.fetches_ahead)
        self._transposition = Table(records.Transposition)
        self._transposition.set(params=model.flat, derived=scratch, transposes=layout.transposes)
        self._extent = Extent(layout, batch_size, seq_length, training)
        self._buffers, self._walks = ChunkBuffers(), set()
        self._walk: list[Buffers] = [kind() for kind in walk_buffers(model.config.cell, self._pack, training)]
        self._buffers.hold(self._extent, self._table)
        if self._pack == 1:
            self._table.set(XW=self._buffers.X0)

    def stand_in_batch(self, streams, first):
        """Be the streams from `first` on of a batch of so many `streams`: units are dropped and kept as there."""
        self._first = first
        self._table.set(streams=streams)

    # The carry

    def _carry_arrays(self, h, c):
        config, S = self.model.config, self.model.layout.stride
        shape = config.num_layers, self.batch_size, S
        arrays = {"h": h.reshape(shape)[:, :, : config.hidden_size]}
        if CELLS[config.cell].has_c:
            arrays["c"] = c.reshape(shape)[:, :, : config.hidden_size]
        return arrays

    def reset_carry(self):
        """Set the carry to zero."""
        self._buffers.h0[:] = 0
        self._buffers.c0[:] = 0

    def get_carry(self):
        """Return the carry as {"h": (L, B, H)}, with "c" where the cell has one; copies."""
        return {name: array.copy() for name, array in self._carry_arrays(self._buffers.h0, self._buffers.c0).items()}

    def set_carry(self, carry):
        """Set the carry from what get_carry gave. Raises ConfigError."""
        places = self._carry_arrays(self._buffers.h0, self._buffers.c0)
        if set(carry) != set(places):
            raise ConfigError(f"the carry must hold {sorted(places)}, got {sorted(carry)}")
        for name, place in places.items():
            if np.shape(carry[name]) != place.shape:
                raise ConfigError(f"the carry {name} must have shape {place.shape}, got {np.shape(carry[name])}")
        self.reset_carry()  # the padding too: after a chunk of NaN it is not zero
        for name, place in places.items():
            place[:] = carry[name]

    def carry_grads(self):
        """Return the gradient of the last loss_and_grads with respect to the carry that went in, like get_carry."""
        return {name: array.copy() for name, array in self._carry_arrays(self._buffers.DR, self._buffers.DC).items()}

    # Reading and holding units

    def states(self, name):
        """Return what the units were in the last chunk, (L, T, B, H), a copy; gates after activation.

        name    one of the cell's `readable`

        Raises ConfigError. Not after loss_and_grads: the gates have become their gradients.
        """
        config, layout = self.model.config, self.model.layout
        L, T, B, H, S = config.num_layers, self._steps, self.batch_size, config.hidden_size, layout.stride
        cell = CELLS[config.cell]
        if name not in cell.readable:
            raise ConfigError(f"a unit of this {config.cell} has {', '.join(cell.readable)}, got {name!r}")
        if name == "c" and self.training:
            raise ConfigError("a workspace for training does not keep its cell states: make one with training=False")
        if name in "hc":
            states = self._buffers.HS if name == "h" else self._buffers.CS
            return states[: L * (T + 1) * B * S].reshape(L, T + 1, B, S)[:, 1:, :, :H].copy()
        gates = self._buffers.G[: L * layout.panels * T * B * 4 * layout.lanes].reshape(
            L, layout.panels, T, B, 4, layout.lanes
        )
        gate = gates[:, :, :, :, cell.panel.index(name)]
        return gate.transpose(0, 2, 3, 1, 4).reshape(L, T, B, -1)[..., :H].copy()

    def set_clamps(self, clamps):
        """Hold units in every chunk from now on; () lets go of all. The carry that comes in is as it is.

        clamps    Clamps, each unit at most once. Raises ConfigError.
        """
        rows, values = pack_clamps(self.model.config, clamps)
        self._clamped = len(rows) > 0
        self._table.set(num_clamps=len(rows), clamps=rows, clamp_values=values)

    # Running

    def _workers(self, T):
        """Return how many threads share a pass over T steps."""
        return num_threads() if T * self.batch_size * self.layout.size >= SHARED_PRODUCTS else 1

    def _gradient_items(self, workers):
        """Return (panels an item, the items of each part) of the weight gradients; found once for some workers."""
        if workers not in self._gradient_cuts:
            group = self.layout.panel_group(workers)
            self._gradient_cuts[workers] = group, self.layout.gradient_items(group)
        return self._gradient_cuts[workers]

    def _run(self, mode, x, y, dropout=None, step=0, masks=NO_MASKS, back=True, done=None):
        """Run a chunk; return its length.

        masks      a Masks
        back       False: what a way back needs is made, but it is not gone
        done       a function or None: called with each part's number, from 0 on, once its gradient is whole
        """
        model, B = self.model, self.batch_size
        T = self._take_ids(x, y)
        if model.start_id is not None:
            masks = item_masks(model.start_id, x, y if back and mode != records.LOGITS else None, masks)
        marks = pack_marks(masks.resets, masks.counts, (T, B), self._buffers.marks)
        if marks.counted == 0 and mode == records.GRADIENTS:
            mode = records.LOSSES
        dtype = model.config.dtype
        workers = self._workers(T)
        training = mode == records.GRADIENTS
        shards = min(B, self.shards or (self._pace.shards(workers, B) if training else workers))
        block = block_steps(self.layout, B, shards, T)
        threshold, key, per_step, scale = 0, 0, 1, 1.0
        if dropout is not None and dropout.rate > 0:
            threshold, scale = round(dropout.rate * 2**THRESHOLD_BITS), 1 / (1 - dropout.rate)
            per_step = 0 if dropout.variational else 1
        if dropout is not None:
            key = as_int64(step_key(dropout.seed, step) + self._first)  # a row's number is added to it
        zoning = records.OFF if model.config.zoneout == 0 else records.EXPECTATION if dropout is None else records.MASKS
        self._hold(T, block, training, threshold > 0, marks.resetting)
        table = self._table
        table.set(T=T, shards=shards, block=block, mode=mode, zoning=zoning)
        table.set(resetting=marks.resetting, counting=marks.counting, counted=masks.mean_over or max(1, marks.counted))
        table.set(key=key, per_step=per_step, threshold=threshold, scale=scale)

        def run(items, table, count):
            run_items(items.address(dtype), table.words, count, workers)

        if training or self._pack > 1:
            derive = entries.TRANSPOSE if self._pack == 1 else entries.NARROW
            run(derive, self._transposition, self.layout.transposed_panels)
        self._steps, self.counted = T, marks.counted
        start = time.perf_counter()
        run((entries.TRAIN if training and back else entries.READ)[model.config.cell, self._pack], table, shards)
        if training and back:
            if workers > 1:
                self._pace.note((time.perf_counter() - start) / T)
            if self._pack > 1:
                run(entries.PAIR_GRADIENTS, table, self.layout.count_pair_items())
            group, counts = self._gradient_items(workers)
            parts = counts if done is not None else [sum(counts)]  # at once, where nobody waits for a part
            first = 0
            for part, count in enumerate(parts):
                table.set(panel_group=group, first_item=first)
                run(entries.WEIGHT_GRADIENTS, table, count)
                first += count
                if model.config.tied and part == len(parts) - 1:
                    run(entries.TIED_GRADIENTS, table, model.layout.out_panels)
                if done is not None:
                    done(part)
        return T

    def _hold(self, T, block, gradients, dropping, resetting):
        """Hold the arrays whose size depends on how a chunk is walked."""
        walk = T, block, gradients, dropping, resetting
        if walk not in self._walks:
            extent = replace(
                self._extent, T=T, block=block, gradients=gradients, dropping=dropping, resetting=resetting
            )
            for buffers in self._walk:
                buffers.hold(extent, self._table)
            self._walks.add(walk)

    def _take_ids(self, x, y):
        """Copy a chunk's ids to where the kernels read them; return its length. Raises ConfigError."""
        x = np.asarray(x)
        y = x if y is None else np.asarray(y)
        if x.ndim != 2 or x.shape[1] != self.batch_size or not 1 <= x.shape[0] <= self.seq_length or y.shape != x.shape:
            raise ConfigError(
                f"a chunk must be ids of shape (1..{self.seq_length}, {self.batch_size}), got {x.shape} and {y.shape}"
            )
        V = self.model.config.vocab_size
        for ids, place in ((x, self._buffers.ids), (y, self._buffers.targets)):
            if ids.dtype.kind not in "iub":
                raise ConfigError(f"ids must be integers, got {ids.dtype}")
            taken = place[: ids.size]
            taken.reshape(ids.shape)[:] = ids
            # Read as unsigned, what is negative is large: one pass finds both ends. Wider integers may not fit in 32
            # bits.
            if taken.view(np.uint32).max() >= V or ids.dtype != np.int32 and (ids.min() < 0 or ids.max() >= V):
                raise ConfigError(f"ids must be in 0..{V - 1}, got {ids.min()}..{ids.max()}")
        return len(x)

    def loss_and_grads(self, x, y, dropout=None, step=0, resets=None, counts=None):
        """Run a chunk forward and back; carry the state on.

        x, y       (T, B) integers, T <= seq_length: the characters read and the ones to predict
        dropout    a Dropout or None; step keys its masks. Of a model with zoneout, units keep their states by masks
                   with a Dropout (of rate 0 too), and in expectation with None
        resets     (T, B) bool or None: the streams whose state is zero before a step reads its character. No gradient
                   flows to before that
        counts     (T, B) bool or None: whether the loss of predicting y[t, b] counts
        Returns the mean in nats of the losses that count; the gradient of it is in `grads`. Where none counts, the
        loss and the gradient are zero, and there is nothing to learn: skip the update. Raises ConfigError.
        """
        total = self.sum_and_grads(x, y, dropout, step, Masks(resets, counts))
        return total / self.counted if self.counted else 0.0

    def sum_and_grads(self, x, y, dropout, step, masks, done=None):
        """Run a chunk forward and back, as loss_and_grads; return the sum in nats of the losses that count.

        masks    a Masks; the gradient is that of the sum over its mean_over
        done     a function or None: called with the number of each of layout.gradient_parts, once that is whole
        """
        self._check_way_back()
        if dropout is not None and dropout.weight_rate > 0:
            with self._dropped.dropped(dropout.weight_rate, dropout.seed, step):
                T = self._run(records.GRADIENTS, x, y, dropout, step, masks)
            is_told = False
        else:
            T = self._run(records.GRADIENTS, x, y, dropout, step, masks, done=done)
            is_told = self.counted > 0
        if self.counted == 0:
            for gradient in (self.grads, self._buffers.DR, self._buffers.DC):
                gradient[:] = 0
        if done is not None and not is_told:  # the gradient is whole only now
            for part in range(len(self.layout.gradient_parts)):
                done(part)
        if self.counted == 0:
            return 0.0
        return float(np.add.reduce(self._buffers.losses[: T * self.batch_size]))

    def measure_reach(self, x, y, places, resets=None):
        """Measure how far the gradient of a loss reaches back, at several places of a text side by side.

        The streams are the places at successive times: stream t*places + b is place b at time t, and its carry is the
        state that the place had before. Each stream runs one step from its carry; then the gradient of the losses at
        the last time goes back through all times. So the states may come from elsewhere, such as another dtype.

        x, y       (1, batch_size) integers as for loss_and_grads; of y the last `places` count
        resets     (1, batch_size) bool as for loss_and_grads
        Returns {state: (L, T, places) float64}: the norm, over a layer's units, of the gradient of a place's last loss
        in nats with respect to its state after each time, by every way from there to the loss; c is taken as the gates
        made it, before zoneout. The carry moves on; `grads` holds nothing afterwards. Raises ConfigError.
        """
        self._check_way_back()
        if self._pack > 1:
            raise ConfigError("a reach is measured in the model's own dtype: make the workspace without bfloat16")
        if not 1 <= places <= self.batch_size or self.batch_size % places or np.shape(x)[:1] != (1,):
            raise ConfigError(
                f"a reach takes one step of {self.batch_size} streams, a multiple of its places, got {places} places "
                f"and ids of shape {np.shape(x)}"
            )
        dtype, cell, L = self.model.config.dtype, CELLS[self.model.config.cell], self.model.config.num_layers
        self._run(records.GRADIENTS, x, y, masks=Masks(resets), back=False)
        workers, norms = min(places, self._workers(1)), np.zeros((len(cell.states), L, self.batch_size))
        table = Table(records.ChunkReach)
        table.words[: self._table.words.size] = self._table.words
        table.set(places=places, shards=workers, norms=norms)
        run_items(entries.REACH[cell.name].address(dtype), table.words, workers, workers)
        norms *= self.batch_size  # the kernels take the mean of all losses
        return dict(zip(cell.states, norms.reshape(len(cell.states), L, -1, places)))

    def _check_way_back(self):
        if self._clamped:
            raise ConfigError("units are held: a gradient would not know of it; let go by set_clamps(())")
        if not self.training:
            raise ConfigError("this workspace was made with training=False and has no gradients")

    def losses(self, x, y, resets=None, counts=None):
        """Run a chunk forward; carry the state on; return the loss of every character, (T, B) float64, nats.

        resets, counts    as for loss_and_grads; a loss that does not count is 0
        """
        self._run(records.LOSSES, x, y, masks=Masks(resets, counts))
        return self.last_losses()

    def last_losses(self):
        """Return the loss of every character of the last chunk of losses or loss_and_grads, (T, B) float64, nats."""
        return self._buffers.losses[: self._steps * self.batch_size].reshape(self._steps, self.batch_size).copy()

    def logits(self, x, resets=None):
        """Run a chunk forward; carry the state on; return the logits (T, B, V) of the model's dtype.

        resets    as for loss_and_grads
        """
        T = self._run(records.LOGITS, x, None, masks=Masks(resets))
        layout, R = self.model.layout, T * self.batch_size
        Z = self._buffers.Z[: layout.out_panels * R * layout.out_width * layout.lanes].reshape(layout.out_panels, R, -1)
        return Z.transpose(1, 0, 2).reshape(T, self.batch_size, -1)[:, :, : layout.vocab_size].copy()
