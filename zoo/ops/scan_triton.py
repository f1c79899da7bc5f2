"""Mamba's selective scan (S6) as two Triton kernels: forward, and a backward that recomputes the states.

One program walks one sequence for a block of channels with all their states in registers. Forward keeps the state in
front of every `CHUNK` tokens; backward goes through the chunks from the last to the first and recomputes the states
inside one into a scratch of `CHUNK` states, so memory grows with L as [B, L / CHUNK, D, S], not as [B, L, D, S].
Sums over channels or batch elements are written as partial sums and added by torch: no atomics, the same bits each run.

Sources: Gu and Dao, "Mamba" (2023), sections 3.2 and 3.3; the semantics are `selective_scan_ref`'s of mamba-ssm.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

CHUNK = 16  # tokens between two kept states

BLOCK_D = 16  # channels of one program: 16 x 16 states are 8 registers per thread of the one warp that holds them


@triton.jit
def _load(pointer, offset, mask):  # type: ignore[no-untyped-def]
    """Entries as float32, 0 where masked."""
    return tl.load(pointer + offset, mask, 0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _step_size(x, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
    """delta and d delta / dx, both [BLOCK_D]."""
    delta = x
    slope = tl.full(x.shape, 1.0, tl.float32)
    if SOFTPLUS:
        e = tl.exp(-tl.abs(x))  # in (0, 1]: nothing overflows
        # log(1 + e) loses e < 1e-7 and most digits of the usual steps of 1e-3; 2 atanh(r) does not. r <= 1 / 3, so the
        # first term left out is below 1e-9 of the sum.
        r = e / (2.0 + e)
        q = r * r
        series = 1.0 / 11 + q * (1.0 / 13 + q * (1.0 / 15))
        series = 1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * series))
        delta = tl.maximum(x, 0.0) + 2.0 * r * (1.0 + q * (1.0 / 3 + q * series))
        slope = tl.where(x >= 0, 1.0, e) / (1.0 + e)
    return delta, slope


@triton.jit
def _advance(h, a, b, u, delta):  # type: ignore[no-untyped-def]
    """States one token on, and the decay that led there: both [BLOCK_D, WIDTH]."""
    decay = tl.exp(delta[:, None] * a)
    return decay * h + (delta * u)[:, None] * b[None, :], decay


@triton.jit  # type: ignore[untyped-decorator]
def _forward_kernel(  # type: ignore[no-untyped-def]
    u,
    dt,
    A,
    B,
    C,
    D,
    z,
    dt_bias,
    out,
    states,
    length,
    channels,
    width,
    SOFTPLUS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDTH: tl.constexpr,
):
    batch = tl.program_id(0).to(tl.int64)  # offsets pass 2^31
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    s = tl.arange(0, WIDTH)
    in_d = d < channels
    in_s = s < width
    tile = d[:, None] * width + s[None, :]
    in_tile = in_d[:, None] & in_s[None, :]
    chunks = tl.cdiv(length, CHUNK)

    a = _load(A, tile, in_tile)
    bias = tl.zeros([BLOCK_D], tl.float32)
    if dt_bias is not None:
        bias = _load(dt_bias, d, in_d)
    skip = tl.zeros([BLOCK_D], tl.float32)
    if D is not None:
        skip = _load(D, d, in_d)

    h = tl.zeros([BLOCK_D, WIDTH], tl.float32)
    for chunk in range(chunks):
        tl.store(states + (batch * chunks + chunk) * channels * width + tile, h, in_tile)
        start = chunk * CHUNK
        for t in range(start, tl.minimum(start + CHUNK, length)):
            row = batch * length + t
            u_t = _load(u, row * channels + d, in_d)
            delta, _ = _step_size(_load(dt, row * channels + d, in_d) + bias, SOFTPLUS)
            h, _ = _advance(h, a, _load(B, row * width + s, in_s), u_t, delta)
            y = tl.sum(h * _load(C, row * width + s, in_s)[None, :], 1) + skip * u_t
            if z is not None:
                z_t = _load(z, row * channels + d, in_d)
                y = y * z_t * tl.sigmoid(z_t)
            tl.store(out + row * channels + d, y, in_d)


@triton.jit  # type: ignore[untyped-decorator]
def _backward_kernel(  # type: ignore[no-untyped-def]
    grad,
    u,
    dt,
    A,
    B,
    C,
    D,
    z,
    dt_bias,
    states,
    scratch,
    du,
    ddt,
    dA,
    dB,
    dC,
    dD,
    dz,
    ddt_bias,
    length,
    channels,
    width,
    SOFTPLUS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDTH: tl.constexpr,
):
    batch = tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    d = block * BLOCK_D + tl.arange(0, BLOCK_D)
    s = tl.arange(0, WIDTH)
    in_d = d < channels
    in_s = s < width
    tile = d[:, None] * width + s[None, :]
    in_tile = in_d[:, None] & in_s[None, :]
    chunks = tl.cdiv(length, CHUNK)
    kept = tl.arange(0, BLOCK_D)[:, None] * WIDTH + s[None, :]
    kept += (batch * tl.num_programs(1) + block) * CHUNK * BLOCK_D * WIDTH
    partial = (block * tl.num_programs(0) + batch) * length  # row of dB and dC, both [blocks, B, L, S]

    a = _load(A, tile, in_tile)
    bias = tl.zeros([BLOCK_D], tl.float32)
    if dt_bias is not None:
        bias = _load(dt_bias, d, in_d)
    skip = tl.zeros([BLOCK_D], tl.float32)
    if D is not None:
        skip = _load(D, d, in_d)

    g = tl.zeros([BLOCK_D, WIDTH], tl.float32)  # d loss / d h_t by way of all later tokens
    a_sum = tl.zeros([BLOCK_D, WIDTH], tl.float32)
    skip_sum = tl.zeros([BLOCK_D], tl.float32)
    bias_sum = tl.zeros([BLOCK_D], tl.float32)
    for chunk in range(chunks - 1, -1, -1):
        start = chunk * CHUNK
        stop = tl.minimum(start + CHUNK, length)
        # A thread may read what another one wrote: all wait before the scratch is filled and before it is read.
        tl.debug_barrier()
        h = _load(states, (batch * chunks + chunk) * channels * width + tile, in_tile)
        for t in range(start, stop):
            tl.store(scratch + kept + (t - start) * BLOCK_D * WIDTH, h)
            row = batch * length + t
            u_t = _load(u, row * channels + d, in_d)
            delta, _ = _step_size(_load(dt, row * channels + d, in_d) + bias, SOFTPLUS)
            h, _ = _advance(h, a, _load(B, row * width + s, in_s), u_t, delta)
        tl.debug_barrier()
        for t in range(stop - 1, start - 1, -1):
            row = batch * length + t
            u_t = _load(u, row * channels + d, in_d)
            delta, slope = _step_size(_load(dt, row * channels + d, in_d) + bias, SOFTPLUS)
            b = _load(B, row * width + s, in_s)
            c = _load(C, row * width + s, in_s)
            before = tl.load(scratch + kept + (t - start) * BLOCK_D * WIDTH)
            h, decay = _advance(before, a, b, u_t, delta)

            dy = _load(grad, row * channels + d, in_d)
            if z is not None:
                z_t = _load(z, row * channels + d, in_d)
                gate = tl.sigmoid(z_t)
                y = tl.sum(h * c[None, :], 1) + skip * u_t
                tl.store(dz + row * channels + d, dy * y * gate * (1.0 + z_t * (1.0 - gate)), in_d)
                dy = dy * z_t * gate
            g += dy[:, None] * c[None, :]
            tl.store(dC + (partial + t) * width + s, tl.sum(dy[:, None] * h, 0), in_s)
            tl.store(dB + (partial + t) * width + s, tl.sum(g * (delta * u_t)[:, None], 0), in_s)

            g_input = tl.sum(g * b[None, :], 1)  # d loss / d (delta u)
            g *= decay  # from here on d loss / d h_{t-1}
            g_power = g * before  # d loss / d (delta A)
            g_dt = (tl.sum(g_power * a, 1) + g_input * u_t) * slope
            tl.store(du + row * channels + d, dy * skip + g_input * delta, in_d)
            tl.store(ddt + row * channels + d, g_dt, in_d)
            a_sum += g_power * delta[:, None]
            skip_sum += dy * u_t
            bias_sum += g_dt

    tl.store(dA + batch * channels * width + tile, a_sum, in_tile)
    if D is not None:
        tl.store(dD + batch * channels + d, skip_sum, in_d)
    if dt_bias is not None:
        tl.store(ddt_bias + batch * channels + d, bias_sum, in_d)


def _contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _sizes(A: Tensor, softplus: bool) -> dict[str, int | bool]:
    """Compile-time arguments and warps of both kernels; more states than 16 go to more warps."""
    width = triton.next_power_of_2(A.shape[1])
    warps = min(8, max(1, width // 16))
    return {"SOFTPLUS": softplus, "CHUNK": CHUNK, "BLOCK_D": BLOCK_D, "WIDTH": width, "num_warps": warps}


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
    """Scan along L, computed in float32: output [B, L, D] in u's dtype and float32 states [B, ceil(L / CHUNK), D, S].

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t and y_t = C_t h_t + D u_t; the output is y_t silu(z_t).

    Args:
        u: input, [B, L, D].
        dt: step sizes before bias and softplus, [B, L, D].
        A: decay rates, negative, [D, S].
        B: input weights, [B, L, S].
        C: output weights, [B, L, S].
        D: skip weights, [D], or None for none.
        z: gate, [B, L, D], or None for none.
        dt_bias: added to dt, [D], or None for 0.
        softplus: whether delta is softplus(dt + dt_bias) or dt + dt_bias itself.

    Returns:
        The output, and the states in front of tokens 0, CHUNK, 2 CHUNK, ..., which `backward` needs.
    """
    (batch, length, channels), width = u.shape, A.shape[1]
    out = torch.empty((batch, length, channels), dtype=u.dtype, device=u.device)
    shape = (batch, triton.cdiv(length, CHUNK), channels, width)
    states = torch.empty(shape, dtype=torch.float32, device=u.device)
    inputs = _contiguous(u, dt, A, B, C, D, z, dt_bias)
    grid = (batch, triton.cdiv(channels, BLOCK_D))
    with torch.cuda.device_of(u):  # Triton launches on the current device, whatever the tensors' own
        _forward_kernel[grid](*inputs, out, states, length, channels, width, **_sizes(A, softplus))
    return out, states


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
    """Gradients du, ddt, dA, dB, dC, dD, dz and ddt_bias from the output's gradient, [B, L, D].

    Those of A, D and dt_bias are float32, the others have their input's dtype; an input that is None has None.

    Args:
        grad: gradient of `forward`'s output.
        u, dt, A, B, C, D, z, dt_bias, softplus: as given to `forward`.
        states: as returned by it.
    """
    (batch, length, channels), width = u.shape, A.shape[1]
    grid = (batch, triton.cdiv(channels, BLOCK_D))
    sizes = _sizes(A, softplus)

    def floats(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=u.device)

    scratch = floats(*grid, CHUNK, BLOCK_D, sizes["WIDTH"])
    du = torch.empty_like(u, memory_format=torch.contiguous_format)
    ddt = torch.empty_like(dt, memory_format=torch.contiguous_format)
    dz = None if z is None else torch.empty_like(z, memory_format=torch.contiguous_format)
    dA = floats(batch, channels, width)
    dB, dC = floats(grid[1], batch, length, width), floats(grid[1], batch, length, width)
    dD = None if D is None else floats(batch, channels)
    ddt_bias = None if dt_bias is None else floats(batch, channels)

    inputs = _contiguous(grad, u, dt, A, B, C, D, z, dt_bias, states)
    outputs = (du, ddt, dA, dB, dC, dD, dz, ddt_bias)
    with torch.cuda.device_of(u):
        _backward_kernel[grid](*inputs, scratch, *outputs, length, channels, width, **sizes)
    return (
        du,
        ddt,
        dA.sum(0),
        dB.sum(0).to(B.dtype),
        dC.sum(0).to(C.dtype),
        None if dD is None else dD.sum(0),
        dz,
        None if ddt_bias is None else ddt_bias.sum(0),
    )
