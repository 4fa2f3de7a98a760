"""Where every number of a model lives: panels in one flat buffer, and the tables that tell the kernels so.

A weight matrix that PyTorch stores as (G*H, K) is cut into panels of a few units with all their gates side by side:

    [P][K][W]     W = gates x lanes numbers: the gates of `lanes` units, each gate one vector

so one register tile computes every gate of its units. Which gates stand where in the panels of Wx and Wh and in the
workspace that their products fill is the cell's entry in spec.py; a cell may have vectors of units instead of gates.

Biases, and with layer normalisation the gains, are panels of one row, as wide as the workspace.

The workspace of a panel is four vectors wide for every cell; the recurrent product starts at `h_column` of it.
Units beyond H and characters beyond V are padding: their weights are zero and stay zero under every optimiser, because
their gradients are exactly zero.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from charrnn.files.machine import core_cache_bytes
from charrnn.kernels.host import (
    CACHE_LINE,
    PACKED_BLOCKS,
    PACKED_VECTORS,
    TILE_ROWS,
    has_amx,
    isa,
    lanes_of_dtype,
    padded,
)
from charrnn.kernels.table import Table, Tiles
from charrnn.spec import CELLS, PANEL_VECTORS, num_parameters, parameter_shapes

ITEMS_A_WORKER = 3  # of the weight gradients: fewer would leave workers idle at the end
USUAL_CACHE_BYTES = 1 << 20  # of a core, where the system does not say
CACHE_SHARE = 0.4  # of a core's cache that a layer's weights may fill and be found there again at the next step


class LayoutPlan(NamedTuple):
    """The sizes of a model and where its parameters begin, for compiled code. Widths count vectors, strides numbers."""

    tiles: Tiles  # the addresses of the products (entries.fill_tiles)
    L: int
    H: int
    V: int
    P: int  # panels of a layer
    units: int  # of a panel
    S: int  # stride of a row of states: H padded
    S_words: int  # the same in words
    E: int  # embedding size, 0 without an embedding
    ES: int  # stride of a row of embeddings: E padded
    Q: int  # panels of the output layer
    x_width: int  # what the product with Wx fills of a panel's workspace, from its first vector on
    h_width: int  # what the product with Wh fills
    h_column: int  # where that begins, in numbers
    back_width: int  # tiles of the products on the way back, to states
    back_panels: int
    embedding_back_width: int  # and to embeddings
    out_width: int
    out_depth: int  # columns of the output layer's panels that a product on the way back reads
    embedding_at: int
    out_at: int
    out_words: int
    out_bias_at: int
    out_t_at: int
    tied: int  # the embedding is the output layer's weights
    norm: int  # the sums are normalised
    pack: int  # numbers in a word
    amx: int  # products of words of two numbers run on AMX


class Layer(NamedTuple):
    """Where one layer's parameters begin: in the flat buffer, as words, and transposed; -1 where there are none."""

    x: int
    h: int
    bias: int
    x_words: int
    h_words: int
    x_t: int
    h_t: int
    inputs: int  # D
    gain: int


class Transpose(NamedTuple):
    """One matrix that is kept transposed too, and with words of two numbers also as words."""

    source: int  # in the flat buffer: panels of `rows` rows, `width` vectors wide
    rows: int
    panels: int
    width: int
    target: int  # among the transposed weights, in panels `target_width` vectors wide
    target_width: int
    words: int


def _width(count, lanes):
    """Return the panel width, in vectors, that pads `count` columns least; of equals 4, then 3."""
    return min((4, 3, 5) if 5 in TILE_ROWS[isa()] else (4, 3), key=lambda width: padded(count, width * lanes))


def panel_rows(rows):
    """Return how many rows of memory a panel of `rows` rows takes: an odd number.

    If panels began a power of two apart, the same row of all panels would have to share a few sets of a cache.
    """
    return rows | 1


def _row_stride(count, itemsize):
    """Return how far rows of `count` numbers lie apart: an odd number of cache lines.

    A weight gradient walks down a column; with a power of two between its rows they would share a few sets of the
    cache.
    """
    lines = -(-count * itemsize // CACHE_LINE)
    return (lines | 1) * CACHE_LINE // itemsize


@dataclass(frozen=True)
class Panels:
    """One weight matrix in the flat buffer: [panels][rows][blocks][units]."""

    name: str
    at: int
    rows: int  # K
    panels: int
    blocks: int  # gates side by side
    units: int  # numbers a block

    @property
    def size(self):
        return self.panels * self.rows * self.blocks * self.units


class Layout:
    """The offsets of the parameters of one ModelConfig, for this host's vectors.

    Products read their operands as words of `pack` numbers: one of the dtype, or two of bfloat16.

    size          numbers in the flat parameter buffer (padding included)
    derived_size  words in the buffer of transposed weights, and with pack 2 of the weights as words
    plan          the Table of a LayoutPlan; layers, transposes: the tables of Layers and Transposes, an int64 row each
    forward_widths, backward_widths   the tiles (in vectors) of the products forward and of weight gradients; of those
                                      back
    """

    def __init__(self, config, pack=1):
        cell, lanes = CELLS[config.cell], lanes_of_dtype(config.dtype)
        hidden_size, vocab_size, num_layers = config.hidden_size, config.vocab_size, config.num_layers
        embedding_size, tied, layer_norm = config.embedding_size, config.tied, config.layer_norm
        self.config, self.cell, self.lanes, self.dtype = config, config.cell, lanes, np.dtype(config.dtype)
        self.hidden_size, self.vocab_size, self.num_layers = hidden_size, vocab_size, num_layers
        self.embedding_size, self.tied, self.layer_norm = embedding_size, tied, layer_norm
        self.units = cell.unit_vectors * lanes
        panels = padded(hidden_size, self.units) // self.units
        back = cell.unit_vectors if cell.unit_vectors > 1 else _width(hidden_size, lanes)
        columns = padded(hidden_size, back * lanes)
        stride = _row_stride(columns, self.dtype.itemsize)
        embedding_back = _width(embedding_size, lanes) if embedding_size else 4
        embedding_stride = padded(embedding_size, embedding_back * lanes)
        if tied:
            embedding_back, embedding_stride = back, columns
        out = _width(vocab_size, lanes)
        out_panels = padded(vocab_size, out * lanes) // (out * lanes)
        x_width, h_width = len(cell.x_part) * cell.unit_vectors, len(cell.h_part) * cell.unit_vectors
        self.stride_words = stride if pack == 1 else _row_stride(-(-columns // 2), 4)
        self.forward_widths, self.backward_widths = {x_width, h_width, out}, {back, embedding_back}
        self.stride, self.embedding_stride, self.panels, self.out_panels, self.out_width = (
            stride,
            embedding_stride,
            panels,
            out_panels,
            out,
        )

        self.size = self.derived_size = 0
        layers = []
        self.weights_x, self.weights_h, self.biases, self.gains = [], [], [], []
        transposes = []

        def weight(name, rows, count, blocks, units):
            panel = Panels(name, self.size, rows, count, blocks, units)
            self.size += panel.size
            return panel

        def derive(panel, to_stride, to_width):
            """Find room for the transpose and, where words are not single numbers, the words; return their offsets."""
            width, transposed, words = panel.blocks * panel.units, self.derived_size, panel.at
            self.derived_size += to_stride * panel.panels * width // pack
            if pack > 1:
                words = self.derived_size
                self.derived_size += panel.panels * -(-panel.rows // pack) * width
            transposes.append(
                Transpose(panel.at, panel.rows, panel.panels, width // lanes, transposed, to_width, words)
            )
            return words, transposed

        for layer in range(num_layers):
            dense = layer > 0 or embedding_size > 0
            rows = hidden_size if layer else embedding_size or vocab_size
            x = weight(f"x{layer}", rows, panels, len(cell.x_part), self.units)
            h = weight(f"h{layer}", hidden_size, panels, len(cell.h_part), self.units)
            b = weight(f"b{layer}", 1, panels, PANEL_VECTORS * lanes // self.units, self.units)
            self.weights_x.append(x)
            self.weights_h.append(h)
            self.biases.append(b)
            if layer_norm:
                self.gains.append(weight(f"gain{layer}", 1, b.panels, b.blocks, b.units))
            x_words = x_t = -1
            if dense:
                x_words, x_t = derive(x, columns if layer else embedding_stride, back if layer else embedding_back)
            h_words, h_t = derive(h, columns, back)
            gain = self.gains[layer].at if layer_norm else -1
            layers.append(Layer(x.at, h.at, b.at, x_words, h_words, x_t, h_t, rows, gain))
        self.out = weight("out", hidden_size, out_panels, 1, out * lanes)
        self.out_bias = weight("out bias", 1, out_panels, 1, out * lanes)
        out_words, out_t = derive(self.out, columns, back)
        self.embedding_at = -1
        if embedding_size and not tied:
            self.embedding_at = self.size
            self.size += vocab_size * embedding_stride
        self.layers, self.transposes = np.array(layers, np.int64), np.array(transposes, np.int64)
        self.transposed_panels = sum(transpose.panels for transpose in transposes)
        self.plan = Table(LayoutPlan)
        self.plan.set(
            L=num_layers,
            H=hidden_size,
            V=vocab_size,
            P=panels,
            units=self.units,
            S=stride,
            S_words=self.stride_words,
            E=embedding_size,
            ES=embedding_stride,
            Q=out_panels,
            x_width=x_width,
            h_width=h_width,
            h_column=cell.h_column * self.units,
            back_width=back,
            back_panels=columns // (back * lanes),
            embedding_back_width=embedding_back,
            out_width=out,
            out_depth=vocab_size if out_panels == 1 else out * lanes,
            embedding_at=self.embedding_at,
            out_at=self.out.at,
            out_words=out_words,
            out_bias_at=self.out_bias.at,
            out_t_at=out_t,
            tied=tied,
            norm=layer_norm,
            pack=pack,
            amx=pack > 1 and has_amx(),
        )

    def shapes(self):
        """Return {PyTorch name: shape} of every parameter, in PyTorch's order."""
        return parameter_shapes(self.config)

    def _view(self, flat, panel):
        return flat[panel.at : panel.at + panel.size].reshape(panel.panels, panel.rows, panel.blocks, panel.units)

    def _put(self, flat, panel, matrix, gates):
        """Write a (G, columns, K) array into panels, gate by gate; where the gate is None zeros stay."""
        view, columns = self._view(flat, panel), matrix.shape[1]
        for block, gate in enumerate(gates):
            if gate is None:
                continue
            wide = np.zeros((panel.panels * panel.units, panel.rows), flat.dtype)
            wide[:columns] = matrix[gate]
            view[:, :, block, :] = wide.reshape(panel.panels, panel.units, panel.rows).transpose(0, 2, 1)

    def _take(self, flat, panel, gates, count, columns):
        """Read panels back as a (count, columns, K) array."""
        view = self._view(flat, panel)
        matrix = np.zeros((count, columns, panel.rows), flat.dtype)
        for block, gate in enumerate(gates):
            if gate is None:
                continue
            matrix[gate] = view[:, :, block, :].transpose(0, 2, 1).reshape(-1, panel.rows)[:columns]
        return matrix

    def pack(self, arrays, flat):
        """Write parameters by PyTorch's names into `flat` (size,); of two biases that act as one, their sum."""
        cell, H = CELLS[self.cell], self.hidden_size
        count = len(cell.blocks)
        flat[:] = 0
        for layer in range(self.num_layers):
            x, h = arrays[f"rnn.weight_ih_l{layer}"], arrays[f"rnn.weight_hh_l{layer}"]
            self._put(flat, self.weights_x[layer], x.reshape(count, H, -1), cell.x_blocks)
            self._put(flat, self.weights_h[layer], h.reshape(count, H, H), cell.h_blocks)
            b_x = arrays[f"rnn.bias_ih_l{layer}"].reshape(count, H)
            b_h = arrays[f"rnn.bias_hh_l{layer}"].reshape(count, H)
            bias = np.zeros((len(cell.panel), H), flat.dtype)
            for place, (of_x, of_h) in enumerate(cell.bias_blocks):
                if of_x is not None and of_h is not None:
                    bias[place] = b_x[of_x] + b_h[of_h]
                elif of_x is not None:
                    bias[place] = b_x[of_x]
                elif of_h is not None:
                    bias[place] = b_h[of_h]
            self._put(flat, self.biases[layer], bias[:, :, None], range(len(bias)))
            if self.layer_norm:
                gain = arrays[f"rnn.norm_gain_l{layer}"].reshape(len(cell.sums), H, 1)
                self._put(flat, self.gains[layer], gain, cell.gain_places)
        out = arrays["embedding.weight" if self.tied else "output.weight"]
        self._put(flat, self.out, out[None], (0,))
        self._put(flat, self.out_bias, arrays["output.bias"][None, :, None], (0,))
        if self.embedding_at >= 0:
            self._embedding(flat)[:, : self.embedding_size] = arrays["embedding.weight"]

    def _embedding(self, flat):
        return flat[self.embedding_at : self.embedding_at + self.vocab_size * self.embedding_stride].reshape(
            self.vocab_size, self.embedding_stride
        )

    def unpack(self, flat):
        """Read a flat buffer as {PyTorch name: array}. A sum's one bias is in bias_ih where that acts on it, else in
        bias_hh."""
        return {name: self.take(flat, name) for name in self.shapes()}

    def take(self, flat, name):
        """Read one parameter from a flat buffer by its PyTorch name; a copy."""
        cell, H, V = CELLS[self.cell], self.hidden_size, self.vocab_size
        count = len(cell.blocks)
        if name == "embedding.weight" and not self.tied:
            return self._embedding(flat)[:, : self.embedding_size].copy()
        if name in ("embedding.weight", "output.weight"):
            return np.ascontiguousarray(self._take(flat, self.out, (0,), 1, V)[0])
        if name == "output.bias":
            return np.ascontiguousarray(self._take(flat, self.out_bias, (0,), 1, V)[0, :, 0])
        kind, _, layer = name.removeprefix("rnn.").rpartition("_l")
        layer = int(layer)
        if kind == "weight_ih":
            return self._take(flat, self.weights_x[layer], cell.x_blocks, count, H).reshape(count * H, -1)
        if kind == "weight_hh":
            return self._take(flat, self.weights_h[layer], cell.h_blocks, count, H).reshape(count * H, H)
        if kind == "norm_gain":
            return self._take(flat, self.gains[layer], cell.gain_places, len(cell.sums), H).reshape(-1)
        places = range(len(cell.panel))
        summed = self._take(flat, self.biases[layer], places, len(places), H)[:, :, 0]
        bias = np.zeros((count, H), flat.dtype)
        for place, (of_x, of_h) in enumerate(cell.bias_blocks):
            if kind == "bias_ih" and of_x is not None:
                bias[of_x] = summed[place]
            elif kind == "bias_hh" and of_x is None and of_h is not None:
                bias[of_h] = summed[place]
        return bias.reshape(-1)

    def num_parameters(self):
        """Count the numbers that are trained: one bias a sum, and as many gains."""
        return num_parameters(self.config)

    def gradient_items(self, panel_group):
        """Count the items that the weight gradients are cut into (chunk/weight_gradients.py), of each part in order."""
        columns = PACKED_BLOCKS[isa()] * PACKED_VECTORS[isa()] * self.lanes

        def count(*weights):
            return sum(-(-weight.rows // columns) * -(-weight.panels // panel_group) for weight in weights)

        first = 0 if self.embedding_size else 1  # a product, where it is not looked up
        counts = [count(*self.weights_h[l : l + 1], *self.weights_x[max(l, first) : l + 1]) for l in self._downward]
        counts[0] += count(self.out)
        counts[-1] += self.embedding_stride // self.lanes
        return counts

    @cached_property
    def gradient_parts(self):
        """Where the parts of the gradient stand that are computed one after the other: [[(start, stop)]].

        A part for each layer, from the last on, which has the output layer's too; the first layer's has the embeddings.
        """
        parts = [[(self.weights_x[l].at, self.weights_x[l + 1].at)] for l in self._downward[1:]]
        top, end = self.weights_x[-1].at, self.embedding_at if self.embedding_at >= 0 else self.size
        if self.tied:  # the embedding's gradient comes last
            end = self.out.at
        parts.insert(0, [(top, end)])
        if end < self.size:
            parts[-1].append((end, self.size))
        return parts

    @property
    def _downward(self):
        return range(self.num_layers - 1, -1, -1)

    def panel_group(self, workers):
        """Return how many panels an item of the weight gradients takes: as many as leave each worker some items."""
        group = 1 << (self.panels - 1).bit_length()
        while group > 1 and sum(self.gradient_items(group)) < ITEMS_A_WORKER * workers:
            group //= 2
        return group

    @cached_property
    def fetches_ahead(self):
        """Whether products fetch the next panel: a layer's weights do not stay in a core's cache from step to step."""
        cache_bytes = core_cache_bytes() or USUAL_CACHE_BYTES
        return self.weights_h[0].size * self.dtype.itemsize > CACHE_SHARE * cache_bytes

    def count_pair_items(self):
        """Count the items that the pairs of rows for bfloat16's weight gradients are cut into."""
        return self.out_panels + self.num_layers * (self.panels + 2) + (self.embedding_stride > 0)
