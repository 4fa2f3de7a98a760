"""The arrays that compiled code works in: typed records that say how large each is, hold it, and give it to a table.

A record is a dataclass of Buffers. Its fields bear the names of the table's fields; what each array is, with its shape,
stands where that table is declared: kernels/records.py.
"""

from dataclasses import dataclass, field, fields

import numpy as np

from charrnn.kernels.host import padded
from charrnn.kernels.layout import Layout
from charrnn.spec import CELLS


def aligned_zeros(size, dtype, alignment=64):
    """Return a zeroed 1-D array whose first element sits on a cache line."""
    dtype = np.dtype(dtype)
    raw = np.zeros(size * dtype.itemsize + alignment, np.uint8)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size * dtype.itemsize].view(dtype)


def buffer(size, dtype=None):
    """Declare a field of Buffers: size(extent) numbers, of the model's dtype unless another is named."""
    return field(default_factory=lambda: np.zeros(0), init=False, metadata={"size": size, "dtype": dtype})


@dataclass
class Buffers:
    """A record of arrays, each as large as the largest extent that was asked for."""

    @classmethod
    def count_bytes(cls, extent):
        """Return the bytes of all arrays of an extent, without making any."""
        return sum(
            each.metadata["size"](extent) * np.dtype(each.metadata["dtype"] or extent.layout.dtype).itemsize
            for each in fields(cls)
        )

    def hold(self, extent, table):
        """Make every array as large as `extent` asks; give the new ones, zeros, to the table under their names."""
        grown = {}
        for each in fields(self):
            size = each.metadata["size"](extent)
            if getattr(self, each.name).size < size:
                grown[each.name] = aligned_zeros(size, each.metadata["dtype"] or extent.layout.dtype)
                setattr(self, each.name, grown[each.name])
        table.set(**grown)


@dataclass(frozen=True)
class Extent:
    """What the sizes of a workspace's buffers are computed from.

    B, T        streams, and steps of a chunk
    training    whether the workspace is for training
    block       steps that a shard walks at a time
    gradients   whether this chunk is run back
    dropping    whether it has dropout
    resetting   whether streams are reset in it
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
        return CELLS[self.layout.cell]

    @property
    def R(self):
        """Rows of a chunk."""
        return self.T * self.B

    @property
    def states(self):
        """Numbers of one step's states of all layers."""
        return self.layout.num_layers * self.B * self.layout.stride

    @property
    def sums(self):
        """Numbers of one row's sums of all layers."""
        return self.layout.num_layers * self.layout.panels * 4 * self.layout.lanes

    @property
    def normed(self):
        """Whether gradients of normalised sums are wanted."""
        return self.training and self.layout.layer_norm

    @property
    def zoned(self):
        """Whether gradients of units that keep their states are wanted."""
        return self.gradients and self.layout.config.zoneout > 0

    @property
    def block_rows(self):
        """Rows of a block of steps."""
        return self.block * self.B

    @property
    def blocks(self):
        """How many blocks a chunk has."""
        return -(-self.T // self.block)

    @property
    def pairs(self):
        """Pairs of rows that the weight gradients of bfloat16 read."""
        return self.gradients * -(-self.R // 2)


@dataclass
class ChunkBuffers(Buffers):
    """The arrays of a batch shape."""

    ids: np.ndarray = buffer(lambda e: e.R, np.int32)
    targets: np.ndarray = buffer(lambda e: e.R, np.int32)
    marks: np.ndarray = buffer(lambda e: e.R, np.int32)
    losses: np.ndarray = buffer(lambda e: e.R, np.float64)
    h0: np.ndarray = buffer(lambda e: e.states)
    c0: np.ndarray = buffer(lambda e: e.states)
    HS: np.ndarray = buffer(lambda e: (e.T + 1) * e.states)
    CS: np.ndarray = buffer(lambda e: (e.T + 1) * e.states if e.cell.has_c and not e.training else 0)
    G: np.ndarray = buffer(lambda e: e.R * e.sums)
    X0: np.ndarray = buffer(lambda e: e.R * e.layout.embedding_stride)
    Z: np.ndarray = buffer(lambda e: e.R * e.layout.out_panels * e.layout.out_width * e.layout.lanes)
    DX0: np.ndarray = buffer(lambda e: e.R * e.layout.embedding_stride if e.training else 0)
    DR: np.ndarray = buffer(lambda e: e.states if e.training else 0)
    DC: np.ndarray = buffer(lambda e: e.states if e.training else 0)
    DE: np.ndarray = buffer(
        lambda e: e.layout.vocab_size * e.layout.embedding_stride if e.training and e.layout.tied else 0
    )
    XN: np.ndarray = buffer(lambda e: e.R * e.sums if e.normed else 0)
    RS: np.ndarray = buffer(lambda e: e.layout.num_layers * e.R * 4 if e.normed else 0)
    DN: np.ndarray = buffer(lambda e: 2 * e.B * e.sums if e.normed else 0)


@dataclass
class WalkBuffers(Buffers):
    """The arrays whose size depends on how a chunk is walked."""

    PK: np.ndarray = buffer(lambda e: 2 * e.B * e.layout.stride if e.resetting else 0)
    XD: np.ndarray = buffer(lambda e: e.T * e.states if e.dropping else 0)
    DH: np.ndarray = buffer(lambda e: e.block_rows * e.layout.stride if e.gradients else 0)
    HG: np.ndarray = buffer(lambda e: e.T * e.states if e.zoned and e.cell.reads_h else 0)
    DP: np.ndarray = buffer(lambda e: 2 * e.B * e.layout.stride if e.zoned else 0)


@dataclass
class CellBuffers(Buffers):
    """Those of a cell with c, where its states are not kept."""

    CS: np.ndarray = buffer(lambda e: (e.block_rows + e.B) * e.layout.stride)
    CK: np.ndarray = buffer(lambda e: e.blocks * e.states if e.gradients else 0)


@dataclass
class WordBuffers(Buffers):
    """Those of the rounded operands of bfloat16."""

    HW: np.ndarray = buffer(lambda e: 2 * (e.block_rows + e.B) * e.layout.stride_words)
    XW: np.ndarray = buffer(lambda e: e.block_rows * padded(e.layout.embedding_stride // 2, e.layout.lanes))
    GW: np.ndarray = buffer(lambda e: e.gradients * e.layout.panels * e.block_rows * 2 * e.layout.lanes)
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
    """The arrays of a Generation, an Extent of one step. With zoneout there is room for what the gates make too."""

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
