"""The loops of the selective scan on a CPU, compiled by Numba; what calls them is `scan_numba`.

All compiled code stands in this one file, because Numba's cache on the disk looks at the time of the file of the
function that is called, not of those that it calls.

Channels lie along the vector registers, at most WIDTH of them at a time; a state never leaves the innermost cache. The
forward pass keeps the state before every CHUNK tokens; the backward pass recomputes a chunk's states from it, walks
them in reverse and forms all eight gradients at once. Exponential and softplus are polynomials, because a call to the C
library inside the loop would keep it from being vectorised; they agree with it to about 2e-7.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

CHUNK = 16
"""Tokens between two states that the forward pass keeps."""

WIDTH = 256
"""Most channels of a block. A wide inner loop pays for its start (checks that arrays do not overlap, ends) less often;
wider ones gain no more."""

LANES = 16
"""float32 values of the widest vector register; a block is a multiple of it, so that no loop has a scalar end."""

f = np.float32

ZERO, HALF, ONE, TWO = f(0), f(0.5), f(1), f(2)

LOWEST, HIGHEST = f(-87), f(88)

LOG2_E, LN2_HIGH, LN2_LOW = f(1.44269504088896341), f(0.693359375), f(-2.12194440e-4)

# exp(r) = 1 + r + r^2 (E5 + ... + E0 r^5) on |r| <= ln(2) / 2 (Cephes, expf).
E0, E1, E2 = f(1.9875691500e-4), f(1.3981999507e-3), f(8.3334519073e-3)

E3, E4, E5 = f(4.1665795894e-2), f(1.6666665459e-1), f(5.0000001201e-1)

# log(1 + e) = 2 atanh(e / (2 + e)), by its series.
L3, L5, L7, L9, L11 = f(2 / 3), f(2 / 5), f(2 / 7), f(2 / 9), f(2 / 11)

inline = njit(fastmath=True, inline="always")

kernel = njit(fastmath=True, nogil=True, cache=True, error_model="numpy")


@intrinsic
def _as_float(context: Any, value: Any) -> Any:
    """The float32 that has an int32's bits."""

    def codegen(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def _widest(_: Any) -> Any:
    """Lets LLVM use 512-bit registers in the function that calls this, where the processor has them.

    It prefers 256 bits on many that do, for the sake of their clock. An attribute of the function alone: neither the
    environment nor other code that Numba compiles in this process changes.
    """

    def codegen(context: Any, builder: Any, __: Any, ___: Any) -> Any:
        # llvmlite's own `add` knows only attributes without a value.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), codegen


@inline
def _exp(x: Any) -> Any:
    x = min(max(x, LOWEST), HIGHEST)
    k = np.floor(x * LOG2_E + HALF)
    r = x - k * LN2_HIGH - k * LN2_LOW
    p = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
    return (p * (r * r) + r + ONE) * _as_float((np.int32(k) + np.int32(127)) << np.int32(23))


@inline
def _sigmoid(x: Any) -> Any:
    return ONE / (ONE + _exp(-x))


@inline
def _softplus(x: Any) -> Any:
    e = _exp(-abs(x))
    s = e / (TWO + e)
    q = s * s
    return max(x, ZERO) + s * (TWO + q * (L3 + q * (L5 + q * (L7 + q * (L9 + q * L11)))))


@kernel
def split(channels):
    """Number of blocks, and channels of each: as even as LANES allows, so that a narrow model computes no more.

    It hangs on the number of channels alone: gradients are summed over blocks, and must not depend on batch or threads.
    """
    blocks = (channels + WIDTH - 1) // WIDTH
    lanes = (channels + blocks - 1) // blocks
    return blocks, (lanes + LANES - 1) // LANES * LANES


@kernel
def _forward_block(b, first, width, u, dt, A, B, C, D, z, bias, gated, soft, out, states, a, h, delta, du, y):
    """Channels `first` to `first + width` of sample `b`; a, h: [S, lanes], the rest of the scratch [lanes]."""
    _widest()
    L, S, lanes = B.shape[1], B.shape[2], h.shape[1]
    for n in range(S):
        for d in range(lanes):
            h[n, d] = ZERO
            a[n, d] = A[n, first + d] if d < width else ZERO
    for t in range(L):
        if t % CHUNK == 0:
            for n in range(S):
                for d in range(width):
                    states[b, t // CHUNK, n, first + d] = h[n, d]
        for d in range(width):
            x = dt[b, t, first + d] + bias[first + d]
            delta[d] = _softplus(x) if soft else x
        for d in range(width):
            v = u[b, t, first + d]
            du[d] = delta[d] * v
            y[d] = D[first + d] * v
        for n in range(S):
            Bn, Cn = B[b, t, n], C[b, t, n]
            for d in range(lanes):
                v = _exp(delta[d] * a[n, d]) * h[n, d] + du[d] * Bn
                h[n, d] = v
                y[d] += v * Cn
        if gated:
            for d in range(width):
                v = z[b, t, first + d]
                out[b, t, first + d] = y[d] * v * _sigmoid(v)
        else:
            for d in range(width):
                out[b, t, first + d] = y[d]


@kernel
def forward_tasks(start, step, u, dt, A, B, C, D, z, bias, gated, soft, out, states):
    """Every `step`-th of the (sample, channel block) pairs."""
    _widest()
    channels, S = u.shape[2], B.shape[2]
    blocks, lanes = split(channels)
    a, h = np.zeros((S, lanes), np.float32), np.zeros((S, lanes), np.float32)
    delta, du, y = np.zeros(lanes, np.float32), np.zeros(lanes, np.float32), np.zeros(lanes, np.float32)
    for task in range(start, u.shape[0] * blocks, step):
        b, first = task // blocks, task % blocks * lanes
        width = min(lanes, channels - first)
        _forward_block(b, first, width, u, dt, A, B, C, D, z, bias, gated, soft, out, states, a, h, delta, du, y)


@kernel
def _recompute(b, c, first, width, size, grad, u, dt, B, C, D, z, bias, gated, soft, h, a, rows, y, decay, before, dz):
    """States and decays of chunk `c` from the state `h` before it; the gate's gradient on the way.

    rows: delta, its derivative, u, delta * u and the gradient before the gate, each [CHUNK, lanes].
    """
    _widest()
    S, lanes = B.shape[2], h.shape[1]
    delta, slope, us, du, dy = rows[0], rows[1], rows[2], rows[3], rows[4]
    for i in range(size):
        t = c * CHUNK + i
        for d in range(width):
            x = dt[b, t, first + d] + bias[first + d]
            delta[i, d] = _softplus(x) if soft else x
            slope[i, d] = _sigmoid(x) if soft else ONE
            us[i, d] = u[b, t, first + d]
        for d in range(width):
            du[i, d] = delta[i, d] * us[i, d]
            y[d] = D[first + d] * us[i, d]
        for n in range(S):
            Bn, Cn = B[b, t, n], C[b, t, n]
            for d in range(lanes):
                e = _exp(delta[i, d] * a[n, d])
                decay[i, n, d] = e
                before[i, n, d] = h[n, d]
                v = e * h[n, d] + du[i, d] * Bn
                h[n, d] = v
                y[d] += v * Cn
        if gated:
            for d in range(width):
                v, g = z[b, t, first + d], grad[b, t, first + d]
                s = _sigmoid(v)
                dz[b, t, first + d] = g * y[d] * s * (ONE + v * (ONE - s))
                dy[i, d] = g * v * s
        else:
            for d in range(width):
                dy[i, d] = grad[b, t, first + d]


@kernel
def _backward_block(
    b, block, width, grad, u, dt, A, B, C, D, z, bias, gated, soft, states,
    gu, gdt, gA, gB, gC, gD, gz, gbias, a, g, ga, h, rows, sums, decay, before
):  # fmt: skip
    """All gradients of one block of channels; g is the adjoint of the state, sums five rows of scratch [lanes]."""
    _widest()
    S, lanes = B.shape[2], h.shape[1]
    first = block * lanes
    delta, slope, us, du, dy = rows[0], rows[1], rows[2], rows[3], rows[4]
    sum_D, sum_bias, by_decay, by_input, y = sums[0], sums[1], sums[2], sums[3], sums[4]
    for n in range(S):
        for d in range(lanes):
            g[n, d] = ga[n, d] = h[n, d] = ZERO
            a[n, d] = A[n, first + d] if d < width else ZERO
    for d in range(lanes):
        sum_D[d] = sum_bias[d] = ZERO
    rows[:] = ZERO  # lanes past `width` must add nothing to the sums over channels
    for c in range(states.shape[1] - 1, -1, -1):
        size = min(CHUNK, B.shape[1] - c * CHUNK)
        for n in range(S):
            for d in range(width):
                h[n, d] = states[b, c, n, first + d]
        _recompute(
            b, c, first, width, size, grad, u, dt, B, C, D, z, bias, gated, soft, h, a, rows, y, decay, before, gz
        )
        for i in range(size - 1, -1, -1):
            t = c * CHUNK + i
            for d in range(lanes):
                by_decay[d] = by_input[d] = ZERO
            for n in range(S):
                Bn, Cn = B[b, t, n], C[b, t, n]
                sum_B, sum_C = ZERO, ZERO
                for d in range(lanes):
                    adjoint = g[n, d] + dy[i, d] * Cn
                    e, was = decay[i, n, d], before[i, n, d]
                    sum_C += dy[i, d] * (e * was + du[i, d] * Bn)
                    sum_B += adjoint * du[i, d]
                    carried = adjoint * e
                    through = carried * was
                    by_decay[d] += through * a[n, d]
                    by_input[d] += adjoint * Bn
                    ga[n, d] += through * delta[i, d]
                    g[n, d] = carried
                gB[block, b, t, n] = sum_B
                gC[block, b, t, n] = sum_C
            for d in range(width):
                v = (by_decay[d] + by_input[d] * us[i, d]) * slope[i, d]
                gdt[b, t, first + d] = v
                gu[b, t, first + d] = by_input[d] * delta[i, d] + D[first + d] * dy[i, d]
                sum_bias[d] += v
                sum_D[d] += dy[i, d] * us[i, d]
    for d in range(width):
        gD[b, first + d] = sum_D[d]
        gbias[b, first + d] = sum_bias[d]
        for n in range(S):
            gA[b, n, first + d] = ga[n, d]


@kernel
def backward_tasks(
    start, step, grad, u, dt, A, B, C, D, z, bias, gated, soft, states, gu, gdt, gA, gB, gC, gD, gz, gbias
):  # fmt: skip
    """Every `step`-th of the (sample, channel block) pairs."""
    _widest()
    channels, S = u.shape[2], B.shape[2]
    blocks, lanes = split(channels)
    a, g = np.zeros((S, lanes), np.float32), np.zeros((S, lanes), np.float32)
    ga, h = np.zeros((S, lanes), np.float32), np.zeros((S, lanes), np.float32)
    rows, sums = np.zeros((5, CHUNK, lanes), np.float32), np.zeros((5, lanes), np.float32)
    decay, before = np.zeros((CHUNK, S, lanes), np.float32), np.zeros((CHUNK, S, lanes), np.float32)
    for task in range(start, u.shape[0] * blocks, step):
        b, block = task // blocks, task % blocks
        width = min(lanes, channels - block * lanes)
        _backward_block(
            b, block, width, grad, u, dt, A, B, C, D, z, bias, gated, soft, states,
            gu, gdt, gA, gB, gC, gD, gz, gbias, a, g, ga, h, rows, sums, decay, before
        )  # fmt: skip
