"""The workspace of a model: runs the model over chunks of one batch shape.

It holds all arrays that this takes besides the parameters: states, gates, gradients, and the carry from chunk to chunk.
It knows ids, but no file, character or command-line option.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from charrnn.errors import ConfigError, check_integer
from charrnn.kernels import entries, records
from charrnn.kernels.entries import fill_tiles
from charrnn.kernels.layout import panel_rows
from charrnn.kernels.pool import run_items
from charrnn.kernels.records import THRESHOLD_BITS
from charrnn.kernels.splitmix import as_int64, step_key
from charrnn.kernels.table import Table
from charrnn.kernels.threads import num_threads
from charrnn.model.buffers import (
    Buffers,
    CellBuffers,
    ChunkBuffers,
    Extent,
    WalkBuffers,
    WordBuffers,
    aligned_zeros,
    as_array,
)
from charrnn.model.clamps import pack_clamps
from charrnn.model.dropout import Dropout
from charrnn.model.dropped import DroppedWeights
from charrnn.model.marks import NO_MASKS, Masks, item_masks, pack_marks
from charrnn.model.pace import ShardPace
from charrnn.model.parameters import check_model
from charrnn.model.precision import check_precision, pack_of
from charrnn.spec import CELLS

# Multiplications of a pass, some 50 us of one core, from which other threads are woken for it.
SHARED_PRODUCTS = 1 << 22
BLOCK_BYTES = 384 * 1024  # states of one layer that a shard keeps warm while it walks a block of steps


def block_steps(layout, batch_size, shards, T):
    """Return how many of the T time steps a shard processes at a time."""
    return max(1, min(T, BLOCK_BYTES // (-(-batch_size // shards) * layout.stride * layout.dtype.itemsize)))


def walk_buffers(cell, pack, training):
    """Return the classes of Buffers that a workspace needs for a chunk, besides ChunkBuffers."""
    kinds: list[type[Buffers]] = [WalkBuffers]
    if training and CELLS[cell].has_c:
        kinds.append(CellBuffers)
    if pack > 1:
        kinds.append(WordBuffers)
    return kinds


class Workspace:
    """Runs a model over chunks of text and carries its states from chunk to chunk.

    A chunk has T steps of B parallel streams. The first chunk begins with states of zero. For a model of items (its
    `start_id` is set), the states are also reset to zero where START is read, and predicting START does not count.
    Raises ConfigError if a size is below 1, or `precision` does not fit the model or this CPU.

    Parameters
    ----------
    model : Model
        Its parameters are read at every call, so updates take effect.
    batch_size, seq_length : int
        B, and the maximum of T; both at least 1.
    training : bool
        Whether gradients will be needed; False uses less memory.
    precision : {"float32", "bfloat16"}
        "float32" computes in the model's dtype. "bfloat16" rounds the inputs of matrix products to bfloat16; it needs a
        float32 model and a CPU with AVX512-BF16.

    Attributes
    ----------
    grads : ndarray (N,), model's dtype
        Gradient of the last `loss_and_grads`, until the next chunk runs; model.unpack(grads) gives it by names.
    counted : int
        Number of losses of the last chunk that count.
    shards : int or None
        Number of groups that the streams are divided into; None means automatic. No result depends on it.
    """

    def __init__(self, model, batch_size, seq_length, training=True, precision="float32"):
        check_model(model)
        for name, value in (("batch_size", batch_size), ("seq_length", seq_length)):
            check_integer(name, value)
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        self.model, self.batch_size, self.seq_length, self.training = model, batch_size, seq_length, training
        dtype = model.config.dtype
        operands = check_precision(precision, dtype)
        self._pack = pack_of(precision)
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
        """Use the random masks that streams first .. first + B - 1 of a batch of `streams` streams would have."""
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
        """Return the carry as {"h": ndarray (L, B, H)}, with "c" too for an LSTM; copies, in the model's dtype."""
        return {name: array.copy() for name, array in self._carry_arrays(self._buffers.h0, self._buffers.c0).items()}

    def set_carry(self, carry):
        """Set the carry, given as `get_carry` returns it. Raises ConfigError for wrong names or shapes."""
        places = self._carry_arrays(self._buffers.h0, self._buffers.c0)
        if not isinstance(carry, Mapping) or set(carry) != set(places):
            got = sorted(carry) if isinstance(carry, Mapping) else repr(carry)
            raise ConfigError(f"the carry must hold {sorted(places)}, got {got}")
        arrays = {name: as_array(f"the carry {name}", carry[name], place.dtype) for name, place in places.items()}
        for name, place in places.items():
            if arrays[name].shape != place.shape:
                raise ConfigError(f"the carry {name} must have shape {place.shape}, got {arrays[name].shape}")
        self.reset_carry()  # the padding too: after a chunk of NaN it is not zero
        for name, place in places.items():
            place[:] = arrays[name]

    def carry_grads(self):
        """Return the gradient of the last loss with respect to the carry before the chunk, shaped like `get_carry`.

        Only after `loss_and_grads`. Raises ConfigError if training is False.
        """
        self._check_training()
        return {name: array.copy() for name, array in self._carry_arrays(self._buffers.DR, self._buffers.DC).items()}

    # Reading and holding units

    def states(self, name):
        """Return a state or gate of all units in the last chunk: ndarray (L, T, B, H), model's dtype, a copy.

        name : "h", "c" or a gate (lstm: i, f, g, o; gru: r, z, n), after its activation function

        Raises ConfigError for other names, and for "c" if training is True. Gates are not valid after `loss_and_grads`.
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
        shape = L, layout.panels, panel_rows(T * B), 4, layout.lanes
        gate = self._buffers.G[: math.prod(shape)].reshape(shape)[:, :, : T * B, cell.panel.index(name)]
        return gate.transpose(0, 2, 1, 3).reshape(L, T, B, -1)[..., :H].copy()

    def set_clamps(self, clamps):
        """Hold units at fixed values in all following chunks; () releases them. The carry itself is not changed.

        clamps : sequence of Clamp. Raises ConfigError if one does not fit the model, or a unit comes twice.
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
        back       False: keep what the backward pass needs, but do not run it
        done       a function or None: called with the number of each part of the gradient when that part is complete
        """
        model, B = self.model, self.batch_size
        if y is None and mode != records.LOGITS:
            raise ConfigError("y must be the ids of the characters to predict, got None")
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
        table.set(panel_rows=panel_rows(T * B), panel_block_rows=panel_rows(block * B))
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
        x = as_array("the ids of a chunk", x)
        y = x if y is None else as_array("the ids of a chunk", y)
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
        """Run a chunk forward and backward, and advance the carry; return the mean loss in nats, a float.

        The mean is over the losses that count, and its gradient is in `grads`. If no loss counts, both are zero: skip
        the update then. Raises ConfigError if ids or shapes do not fit, units are held, or training is False.

        Parameters
        ----------
        x, y : ndarray (T, B) of integers
            Ids of the characters to read, and of the characters to predict after each of them; 1 <= T <= seq_length.
        dropout : Dropout, optional
            Drop units and weights, and apply zoneout at random. None drops nothing and uses the expectation of zoneout.
        step : int
            Number of the step; together with dropout.seed it determines the random masks.
        resets : ndarray (T, B) of bool, optional
            Where a stream's state is set to zero before x[t, b] is read. No gradient flows back beyond that.
        counts : ndarray (T, B) of bool, optional
            Where the loss of predicting y[t, b] counts. None: all losses count.
        """
        if dropout is not None and not isinstance(dropout, Dropout):
            raise ConfigError(f"dropout must be a Dropout, such as Dropout(0.5), got {dropout!r}")
        check_integer("step", step)
        total = self.sum_and_grads(x, y, dropout, step, Masks(resets, counts))
        return total / self.counted if self.counted else 0.0

    def sum_and_grads(self, x, y, dropout, step, masks, done=None):
        """Run a chunk as `loss_and_grads` does, but return the sum of the losses that count, in nats.

        masks    a Masks; the gradient is that of this sum divided by masks.mean_over
        done     a function or None: called with the number of each part of layout.gradient_parts when it is complete
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
        """Measure how far the gradient of a loss reaches back in time, at several places of a text in parallel.

        Here B = T * places: stream t*places + b is place b at time t, and its carry is the state of that place before
        time t. Each stream runs one step from its carry; then the gradient of the losses at the last time goes back
        through all T times. The carry may come from another workspace, for example one of another dtype.

        x, y      (1, B) integers as for `loss_and_grads`; only the losses of the last `places` streams are used
        resets    (1, B) bool as for `loss_and_grads`
        Returns {"h": ndarray (L, T, places) float64}, with "c" for an LSTM: the norm over a layer's units of the
        gradient of a place's last loss, in nats, with respect to its state after each time (c before zoneout). The
        carry advances; `grads` is not valid afterwards. Raises ConfigError if shapes, ids or precision do not fit.
        """
        self._check_way_back()
        if self._pack > 1:
            raise ConfigError("a reach is measured in the model's own dtype: make the workspace without bfloat16")
        if not 1 <= places <= self.batch_size or self.batch_size % places or np.shape(x)[:1] != (1,):
            raise ConfigError(
                f"ids must have shape (1, {self.batch_size}) and `places` must divide {self.batch_size}, got ids of "
                f"shape {np.shape(x)} and {places} places"
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
            raise ConfigError("no gradient can be computed while units are held: release them with set_clamps(())")
        self._check_training()

    def _check_training(self):
        if not self.training:
            raise ConfigError("this workspace has no gradients: make one with training=True")

    def losses(self, x, y, resets=None, counts=None):
        """Run a chunk forward, advance the carry, and return all losses: ndarray (T, B) float64, in nats.

        x, y, resets, counts : as for `loss_and_grads`; a loss that does not count is 0. Raises ConfigError likewise.
        """
        self._run(records.LOSSES, x, y, masks=Masks(resets, counts))
        return self.last_losses()

    def last_losses(self):
        """Return the losses of the last `losses` or `loss_and_grads`: ndarray (T, B) float64, in nats."""
        return self._buffers.losses[: self._steps * self.batch_size].reshape(self._steps, self.batch_size).copy()

    def logits(self, x, resets=None):
        """Run a chunk forward, advance the carry, and return the logits: ndarray (T, B, V), model's dtype.

        x, resets : as for `loss_and_grads`. Raises ConfigError if ids or shapes do not fit.
        """
        T = self._run(records.LOGITS, x, None, masks=Masks(resets))
        layout, R = self.model.layout, T * self.batch_size
        Z = self._buffers.Z[: layout.out_panels * R * layout.out_width * layout.lanes].reshape(layout.out_panels, R, -1)
        return Z.transpose(1, 0, 2).reshape(T, self.batch_size, -1)[:, :, : layout.vocab_size].copy()
