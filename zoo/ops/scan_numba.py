"""The selective scan on a CPU: one fused loop forward, one backward, compiled by Numba at first use and kept on disk.

Channels lie along the vector registers, WIDTH at a time; a state never leaves the innermost cache. The forward pass
keeps the state before every CHUNK tokens; the backward pass recomputes a chunk's states from it, walks them in reverse
and forms all eight gradients at once. Exponential and softplus are polynomials, because a call to the C library inside
the loop would keep it from being vectorised; they agree with it to about 2e-7.

Numba was chosen by measurement (see benchmarks/README.md) among what needs no compiler on the user's machine.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

CHUNK = 16
WIDTH = 64

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
def _forward_block(b, first, width, u, dt, A, B, C, D, z, bias, gated, soft, out, states, a, h, delta, du, y):
    """Channels `first` to `first + width` of sample `b`; a, h: [S, WIDTH], the rest of the scratch [WIDTH]."""
    L, S = B.shape[1], B.shape[2]
    for n in range(S):
        for d in range(WIDTH):
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
            for d in range(WIDTH):
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
def _forward_tasks(start, step, u, dt, A, B, C, D, z, bias, gated, soft, out, states):
    """Every `step`-th of the (sample, channel block) pairs."""
    channels, S = u.shape[2], B.shape[2]
    blocks = (channels + WIDTH - 1) // WIDTH
    a, h = np.zeros((S, WIDTH), np.float32), np.zeros((S, WIDTH), np.float32)
    delta, du, y = np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    for task in range(start, u.shape[0] * blocks, step):
        b, first = task // blocks, task % blocks * WIDTH
        width = min(WIDTH, channels - first)
        _forward_block(b, first, width, u, dt, A, B, C, D, z, bias, gated, soft, out, states, a, h, delta, du, y)


@kernel
def _recompute(b, c, first, width, size, grad, u, dt, B, C, D, z, bias, gated, soft, h, a, rows, y, decay, before, dz):
    """States and decays of chunk `c` from the state `h` before it; the gate's gradient on the way.

    rows: delta, its derivative, u, delta * u and the gradient before the gate, each [CHUNK, WIDTH].
    """
    S = B.shape[2]
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
            for d in range(WIDTH):
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
    """All gradients of one block of channels; g is the adjoint of the state, sums five rows of scratch [WIDTH]."""
    S, first = B.shape[2], block * WIDTH
    delta, slope, us, du, dy = rows[0], rows[1], rows[2], rows[3], rows[4]
    sum_D, sum_bias, by_decay, by_input, y = sums[0], sums[1], sums[2], sums[3], sums[4]
    for n in range(S):
        for d in range(WIDTH):
            g[n, d] = ga[n, d] = h[n, d] = ZERO
            a[n, d] = A[n, first + d] if d < width else ZERO
    for d in range(WIDTH):
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
            for d in range(WIDTH):
                by_decay[d] = by_input[d] = ZERO
            for n in range(S):
                Bn, Cn = B[b, t, n], C[b, t, n]
                sum_B, sum_C = ZERO, ZERO
                for d in range(WIDTH):
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
def _backward_tasks(
    start, step, grad, u, dt, A, B, C, D, z, bias, gated, soft, states, gu, gdt, gA, gB, gC, gD, gz, gbias
):  # fmt: skip
    """Every `step`-th of the (sample, channel block) pairs."""
    channels, S = u.shape[2], B.shape[2]
    blocks = (channels + WIDTH - 1) // WIDTH
    a, g = np.zeros((S, WIDTH), np.float32), np.zeros((S, WIDTH), np.float32)
    ga, h = np.zeros((S, WIDTH), np.float32), np.zeros((S, WIDTH), np.float32)
    rows, sums = np.zeros((5, CHUNK, WIDTH), np.float32), np.zeros((5, WIDTH), np.float32)
    decay, before = np.zeros((CHUNK, S, WIDTH), np.float32), np.zeros((CHUNK, S, WIDTH), np.float32)
    for task in range(start, u.shape[0] * blocks, step):
        b, block = task // blocks, task % blocks
        width = min(WIDTH, channels - block * WIDTH)
        _backward_block(
            b, block, width, grad, u, dt, A, B, C, D, z, bias, gated, soft, states,
            gu, gdt, gA, gB, gC, gD, gz, gbias, a, g, ga, h, rows, sums, decay, before
        )  # fmt: skip


SHARES = 8
"""Shares of the work for each thread: a thread that is slowed by another process takes fewer of them."""


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="scan")


# A forked process inherits the pool, but none of its threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def _on_all_cores(tasks: Callable[..., None], *arguments: Any) -> None:
    """Run a kernel on as many threads as torch uses, this one among them; Numba's own threading layer is not safe to
    call from several threads at once."""
    count = torch.get_num_threads()
    shares = iter(range(SHARES * count))
    lock = Lock()

    def work() -> None:
        while True:
            with lock:
                share = next(shares, None)
            if share is None:
                return
            tasks(share, SHARES * count, *arguments)

    helpers = [_pool(count - 1).submit(work) for _ in range(count - 1)] if count > 1 else []
    work()
    for helper in helpers:
        helper.result()


def _empty(*shape: int) -> Tensor:
    # Not torch.empty: asked for determinism, torch would fill what the kernel is about to write.
    return torch.from_numpy(np.empty(shape, np.float32))


def _arrays(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Any, z: Any, bias: Any) -> list[Any]:
    """Contiguous float32 arrays; absent D and bias are zero, an absent z is never read."""
    blank = u.new_zeros(u.shape[2], dtype=torch.float32)
    # Parameters are copied: what NumPy looks at can never be resized again, and fsdp lets weights go by resizing.
    D, bias = (blank if vector is None else vector.detach().clone() for vector in (D, bias))
    tensors = (u, dt, A.T, B, C, D, u[:, :1] if z is None else z, bias)
    return [tensor.detach().float().contiguous().numpy() for tensor in tensors]


def forward(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
) -> tuple[Tensor, Tensor]:
    """Output [B, L, D] in u's dtype, and the states before every chunk, float32 [B, ceil(L / CHUNK), S, D]."""
    out = _empty(*u.shape)
    states = _empty(len(u), -(-u.shape[1] // CHUNK), A.shape[1], A.shape[0])
    arrays = _arrays(u, dt, A, B, C, D, z, dt_bias)
    _on_all_cores(_forward_tasks, *arrays, z is not None, softplus, out.numpy(), states.numpy())
    return out.to(u.dtype), states


def backward(
    grad: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    states: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of u, dt, A, B, C, D, z and dt_bias; None for what is absent. Sums over samples are deterministic."""
    size, length, channels = u.shape
    blocks, S = -(-channels // WIDTH), A.shape[1]
    gu, gdt = _empty(*u.shape), _empty(*u.shape)
    gz = _empty(*(u.shape if z is not None else (1, 1, 1)))
    gA, gD, gbias = _empty(size, S, channels), _empty(size, channels), _empty(size, channels)
    gB, gC = _empty(blocks, size, length, S), _empty(blocks, size, length, S)
    arrays = _arrays(u, dt, A, B, C, D, z, dt_bias)
    gradients = [tensor.numpy() for tensor in (gu, gdt, gA, gB, gC, gD, gz, gbias)]
    incoming = grad.detach().float().contiguous().numpy()
    _on_all_cores(_backward_tasks, incoming, *arrays, z is not None, softplus, states.numpy(), *gradients)
    return (
        gu.to(u.dtype),
        gdt.to(dt.dtype),
        gA.sum(0).T.to(A.dtype),
        gB.sum(0).to(B.dtype),
        gC.sum(0).to(C.dtype),
        None if D is None else gD.sum(0).to(D.dtype),
        None if z is None else gz.to(z.dtype),
        None if dt_bias is None else gbias.sum(0).to(dt_bias.dtype),
    )
