"""The loss: softmax over a vocabulary padded to whole vectors, its cross-entropy, and the gradient in place."""

import math

import numpy as np

from charrnn.kernels.activations import exp
from charrnn.kernels.compiled import inline
from charrnn.kernels.simd import get, lane_below, lanes, load, put, reduce_add, reduce_max, select, splat, store, zeros


@inline
def add_output_bias(v, row):
    """Add the output bias to one row of logits, v a view of a chunk; lanes beyond V become zero.

    Z      (Q, R, width lanes), z = h Wo read, logits written
    """
    plan, Z, R, VL = v.plan, v.Z, v.T * v.B, lanes(v.Z)
    width = plan.out_width
    for q in range(plan.Q):
        for j in range(width):
            at = ((q * R + row) * width + j) * VL
            first = (q * width + j) * VL
            z = load(Z, at) + load(v.params, plan.out_bias_at + first)
            store(Z, at, select(lane_below(Z, plan.V - first), z, 0.0))


@inline
def clear_logits(v, row):
    """Write zeros as the gradient of a row of logits, whose loss does not count."""
    VL, R, width = lanes(v.Z), v.T * v.B, v.plan.out_width
    for q in range(v.plan.Q):
        for j in range(width):
            store(v.Z, ((q * R + row) * width + j) * VL, zeros(v.Z))


@inline
def softmax_loss(v, row, backward):
    """Return the loss of one row, in nats: log sum_j e^z_j - z_target; v a view of a chunk.

    Z       (Q, R, width lanes): z = h Wo read; where `backward`, dz = (softmax(z) - onehot(target)) / n written, zero
            in the lanes beyond V; n losses count
    """
    plan, Z, R, VL = v.plan, v.Z, v.T * v.B, lanes(v.Z)
    width, scale, target = plan.out_width, 1.0 / v.counted, np.int64(v.targets[row])
    lowest = splat(Z, -1e30)
    largest = lowest
    for q in range(plan.Q):
        for j in range(width):
            at = ((q * R + row) * width + j) * VL
            first = (q * width + j) * VL
            z = select(lane_below(Z, plan.V - first), load(Z, at) + load(v.params, plan.out_bias_at + first), lowest)
            store(Z, at, z)
            largest = select(largest > z, largest, z)
    m = splat(Z, reduce_max(largest))
    wide = width * VL
    target_at = ((target // wide) * R + row) * wide + target % wide
    z_target = get(Z, target_at)
    total = zeros(Z)
    for q in range(plan.Q):
        for j in range(width):
            at = ((q * R + row) * width + j) * VL
            e = select(lane_below(Z, plan.V - (q * width + j) * VL), exp(load(Z, at) - m), 0.0)
            total = total + e
            store(Z, at, e)
    s = reduce_add(total)
    if backward:
        factor = splat(Z, scale / s)
        for q in range(plan.Q):
            for j in range(width):
                at = ((q * R + row) * width + j) * VL
                store(Z, at, load(Z, at) * factor)
        put(Z, target_at, get(Z, target_at) - scale)
    return math.log(s) - (z_target - reduce_max(m))
