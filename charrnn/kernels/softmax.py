"""The loss: softmax over a vocabulary padded to whole vectors, its cross-entropy, and the gradient in place."""

import math

from charrnn.kernels.activations import exp
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import get, lane_below, lanes, load, put, reduce_add, reduce_max, select, splat, store, zeros


@inline
def add_output_bias(params, bias, Z, row, R, V, panels, width):
    """Add the output bias to one row of logits; lanes beyond V become zero.

    bias   params[bias + j]: the bias of character j
    Z      (panels, R, width lanes), z = h Wo read, logits written
    """
    VL = lanes(Z)
    for q in range(panels):
        for v in range(width):
            at = ((q * R + row) * width + v) * VL
            first = (q * width + v) * VL
            z = load(Z, at) + load(params, bias + first)
            store(Z, at, select(lane_below(Z, V - first), z, 0.0))


@inline
def softmax_loss(params, bias, Z, row, R, V, panels, width, target, scale, backward):
    """Return the loss of one row, in nats: log sum_j e^z_j - z_target.

    Z       (panels, R, width lanes): z = h Wo read; where `backward`, dz = (softmax(z) - onehot(target)) * scale written,
            zero in the lanes beyond V
    """
    VL = lanes(Z)
    lowest = splat(Z, -1e30)
    largest = lowest
    for q in range(panels):
        for v in range(width):
            at = ((q * R + row) * width + v) * VL
            first = (q * width + v) * VL
            z = select(lane_below(Z, V - first), load(Z, at) + load(params, bias + first), lowest)
            store(Z, at, z)
            largest = select(largest > z, largest, z)
    m = splat(Z, reduce_max(largest))
    wide = width * VL
    target_at = ((target // wide) * R + row) * wide + target % wide
    z_target = get(Z, target_at)
    total = zeros(Z)
    for q in range(panels):
        for v in range(width):
            at = ((q * R + row) * width + v) * VL
            e = select(lane_below(Z, V - (q * width + v) * VL), exp(load(Z, at) - m), 0.0)
            total = total + e
            store(Z, at, e)
    s = reduce_add(total)
    if backward:
        factor = splat(Z, scale / s)
        for q in range(panels):
            for v in range(width):
                at = ((q * R + row) * width + v) * VL
                store(Z, at, load(Z, at) * factor)
        put(Z, target_at, get(Z, target_at) - scale)
    return math.log(s) - (z_target - reduce_max(m))
