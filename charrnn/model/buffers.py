"""The arrays that compiled code works in, as typed records: how large each array is, the array, and its table entry.

A record is a dataclass derived from Buffers. Its fields have the names of the table's fields; kernels/records.py, which
declares the tables, describes each array and its shape.
"""

from dataclasses import dataclass, field, fields

import numpy as np

from charrnn.errors import ConfigError
from charrnn.kernels.host import padded
from charrnn.kernels.layout import Layout, panel_rows
from charrnn.spec import CELLS


def aligned_zeros(size, dtype, alignment=64):
    """Return an ndarray (size,) of zeros whose first element lies at a multiple of `alignment` bytes."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size * dtype.itemsize].view(dtype)


def as_array(name, values, dtype=None):
    """Return the values of an argument as an ndarray; `name` is for the message. Raises ConfigError."""
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError):  # rows of different lengths, or strings
        raise ConfigError(f"{name} must be an array of numbers whose rows have equal lengths") from None


def buffer(size, dtype=None):
    """Declare a field of Buffers: an array of size(extent) numbers, in the model's dtype unless `dtype` is given."""
    return field(default_factory=lambda: np.zeros(0), init=False, metadata={"size": size, "dtype": dtype})


@dataclass
class Buffers:
    """A record of arrays. Each is as large as the largest extent that was requested so far."""

    @classmethod
    def count_bytes(cls, extent):
        """Return the total size in bytes of all arrays for an Extent, without creating them."""
        return sum(
            each.metadata["size"](extent) * np.dtype(each.metadata["dtype"] or extent.layout.dtype).itemsize
            for each in fields(cls)
        )

    def hold(self, extent, table):
        """Enlarge the arrays that are too small for `extent`; enter the new ones, all zeros, in `table` by name."""
        grown = {}
        for each in fields(self):
            size = each.metadata["size"](extent)
            if getattr(self, each.name).size < size:
                grown[each.name] = aligned_zeros(size, each.metadata["dtype"] or extent.layout.dtype)
                setattr(self, each.name, grown[each.name])
        table.set(**grown)


@dataclass(frozen=True)
class Extent:
    """The quantities that determine the sizes of a workspace's buffers.

    layout      Layout of the parameters
    B, T        number of streams, and of time steps in a chunk
    training    whether the workspace is for training
    block       number of time steps that a shard processes at a time
    gradients   whether this chunk has a backward pass
    dropping    whether it has dropout
    resetting   whether the state of a stream is reset within it
    """

    layout: Layout
    B: int
    T: int
    training: bool
    block: int = 0
    gradients: bool = False
    dropping: bool = False
    resetting: bool = False

    @property
    def cell(self):
        """The Cell of the model (spec.py)."""
        return CELLS[self.layout.cell]

    @property
    def R(self):
        """Number of rows of a chunk, T*B."""
        return self.T * self.B

    @property
    def states(self):
        """Size of the states of one time step, over all layers and streams."""
        return self.layout.num_layers * self.B * self.layout.stride

    @property
    def sums(self):
        """Size of the sums of one row, over all layers."""
        return self.layout.num_layers * self.layout.panels * 4 * self.layout.lanes

    @property
    def normed(self):
        """Whether gradients of normalised sums are needed (layer normalisation)."""
        return self.training and self.layout.layer_norm

    @property
    def zoned(self):
        """Whether gradients of units that keep their states are needed (zoneout)."""
        return self.gradients and self.layout.config.zoneout > 0

    @property
    def block_rows(self):
        """Number of rows of a block of time steps."""
        return self.block * self.B

    @property
    def blocks(self):
        """Number of blocks of a chunk."""
        return -(-self.T // self.block)

    @property
    def pairs(self):
        """Number of pairs of rows from which bfloat16 computes the weight gradients."""
        return self.gradients * -(-self.R // 2)


@dataclass
class ChunkBuffers(Buffers):
    """The arrays of a workspace whose sizes depend on the batch shape only."""

    ids: np.ndarray = buffer(lambda e: e.R, np.int32)
    targets: np.ndarray = buffer(lambda e: e.R, np.int32)
    marks: np.ndarray = buffer(lambda e: e.R, np.int32)
    losses: np.ndarray = buffer(lambda e: e.R, np.float64)
    h0: np.ndarray = buffer(lambda e: e.states)
    c0: np.ndarray = buffer(lambda e: e.states)
    HS: np.ndarray = buffer(lambda e: (e.T + 1) * e.states)
    CS: np.ndarray = buffer(lambda e: (e.T + 1) * e.states if e.cell.has_c and not e.training else 0)
    G: np.ndarray = buffer(lambda e: panel_rows(e.R) * e.sums)
    X0: np.ndarray = buffer(lambda e: e.R * e.layout.embedding_stride)
    Z: np.ndarray = buffer(lambda e: e.R * e.layout.out_panels * e.layout.out_width * e.layout.lanes)
    DX0: np.ndarray = buffer(lambda e: e.R * e.layout.embedding_stride if e.training else 0)
    DR: np.ndarray = buffer(lambda e: e.states if e.training else 0)
    DC: np.ndarray = buffer(lambda e: e.states if e.training else 0)
    DE: np.ndarray = buffer(
        lambda e: e.layout.vocab_size * e.layout.embedding_stride if e.training and e.layout.tied else 0
    )
    XN: np.ndarray = buffer(lambda e: panel_rows(e.R) * e.sums if e.normed else 0)
    RS: np.ndarray = buffer(lambda e: e.layout.num_layers * e.R * 4 if e.normed else 0)
    DN: np.ndarray = buffer(lambda e: 2 * e.B * e.sums if e.normed else 0)


@dataclass
class WalkBuffers(Buffers):
    """The arrays whose sizes depend on how a chunk is processed, such as the length of a block."""

    PK: np.ndarray = buffer(lambda e: 2 * e.B * e.layout.stride if e.resetting else 0)
    XD: np.ndarray = buffer(lambda e: e.T * e.states if e.dropping else 0)
    DH: np.ndarray = buffer(lambda e: e.block_rows * e.layout.stride if e.gradients else 0)
    HG: np.ndarray = buffer(lambda e: e.T * e.states if e.zoned and e.cell.reads_h else 0)
    DP: np.ndarray = buffer(lambda e: 2 * e.B * e.layout.stride if e.zoned else 0)


@dataclass
class CellBuffers(Buffers):
    """The arrays for the cell states c in training, which are computed again block by block."""

    CS: np.ndarray = buffer(lambda e: (e.block_rows + e.B) * e.layout.stride)
    CK: np.ndarray = buffer(lambda e: e.blocks * e.states if e.gradients else 0)


@dataclass
class WordBuffers(Buffers):
    """The arrays of bfloat16 numbers that products read."""

    HW: np.ndarray = buffer(lambda e: 2 * (e.block_rows + e.B) * e.layout.stride_words)
    XW: np.ndarray = buffer(lambda e: e.block_rows * padded(e.layout.embedding_stride // 2, e.layout.lanes))
    GW: np.ndarray = buffer(lambda e: e.gradients * e.layout.panels * panel_rows(e.block_rows) * 2 * e.layout.lanes)
    ZW: np.ndarray = buffer(
        lambda e: (
            e.gradients
            * e.layout.out_panels
            * e.block_rows
            * padded(e.layout.out_width * e.layout.lanes // 2, e.layout.lanes)
        )
    )
    HP: np.ndarray = buffer(lambda e: e.layout.num_layers * 2 * e.pairs * e.layout.stride)
    XP: np.ndarray = buffer(lambda e: e.pairs * e.layout.embedding_stride)


@dataclass
class GenerationBuffers(Buffers):
    """The arrays of a Generation, for one time step. With zoneout, also the states before zoneout is applied."""

    inputs: np.ndarray = buffer(lambda e: e.B, np.int32)
    temperature: np.ndarray = buffer(lambda e: e.B, np.float64)
    top_k: np.ndarray = buffer(lambda e: e.B, np.int64)
    top_p: np.ndarray = buffer(lambda e: e.B, np.float64)
    min_p: np.ndarray = buffer(lambda e: e.B, np.float64)
    drawn: np.ndarray = buffer(lambda e: e.B, np.int64)
    summed: np.ndarray = buffer(lambda e: e.B, np.int64)
    not_finite: np.ndarray = buffer(lambda e: 1, np.int64)
    HS: np.ndarray = buffer(lambda e: (2 if e.layout.config.zoneout > 0 else 1) * e.states)
    CS: np.ndarray = buffer(lambda e: (2 if e.layout.config.zoneout > 0 else 1) * e.states)
    G: np.ndarray = buffer(lambda e: e.B * e.sums)
    X0: np.ndarray = buffer(lambda e: e.B * e.layout.embedding_stride)
    Z: np.ndarray = buffer(lambda e: e.B * e.layout.out_panels * e.layout.out_width * e.layout.lanes)
