"""The two Triton kernels that walk the tokens of a selective scan: forward, and a backward that recomputes the states.

A program has one sequence, one block of channels and one segment of the tokens, with all states in registers. What
comes into a segment from its neighbour is given (`zoo.ops.scan_triton_carry` makes it).
"""

import triton
import triton.language as tl


@triton.jit
def load(pointer, offset, mask):  # type: ignore[no-untyped-def]
    """Entries as float32, 0 where masked."""
    return tl.load(pointer + offset, mask, 0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def step_size(x, SOFTPLUS: tl.constexpr):  # type: ignore[no-untyped-def]
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
def advance(h, a, b, u, delta):  # type: ignore[no-untyped-def]
    """States one token on, and the decay that led there: both [BLOCK_D, WIDTH]."""
    decay = tl.exp(delta[:, None] * a)
    return decay * h + (delta * u)[:, None] * b[None, :], decay


@triton.jit(do_not_specialize=["span"])  # type: ignore[untyped-decorator]
def forward_kernel(  # type: ignore[no-untyped-def]
    u,
    dt,
    A,
    B,
    C,
    D,
    z,
    dt_bias,
    starts,
    out,
    states,
    length,
    channels,
    width,
    span,
    SOFTPLUS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Outputs, and the states in front of every chunk; grid [B, blocks of channels, segments of `span` chunks]."""
    batch = tl.program_id(0).to(tl.int64)  # offsets pass 2^31
    segment = tl.program_id(2)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    s = tl.arange(0, WIDTH)
    in_d = d < channels
    in_s = s < width
    tile = d[:, None] * width + s[None, :]
    in_tile = in_d[:, None] & in_s[None, :]
    chunks = tl.cdiv(length, CHUNK)

    a = load(A, tile, in_tile)
    bias = tl.zeros([BLOCK_D], tl.float32)
    if dt_bias is not None:
        bias = load(dt_bias, d, in_d)
    skip = tl.zeros([BLOCK_D], tl.float32)
    if D is not None:
        skip = load(D, d, in_d)

    h = tl.zeros([BLOCK_D, WIDTH], tl.float32)
    if starts is not None:
        h = load(starts, (batch * tl.num_programs(2) + segment) * channels * width + tile, in_tile)
    for chunk in range(segment * span, tl.minimum((segment + 1) * span, chunks)):
        tl.store(states + (batch * chunks + chunk) * channels * width + tile, h, in_tile)
        start = chunk * CHUNK
        for t in range(start, tl.minimum(start + CHUNK, length)):
            row = batch * length + t
            u_t = load(u, row * channels + d, in_d)
            delta, _ = step_size(load(dt, row * channels + d, in_d) + bias, SOFTPLUS)
            h, _ = advance(h, a, load(B, row * width + s, in_s), u_t, delta)
            y = tl.sum(h * load(C, row * width + s, in_s)[None, :], 1) + skip * u_t
            if z is not None:
                z_t = load(z, row * channels + d, in_d)
                y = y * z_t * tl.sigmoid(z_t)
            tl.store(out + row * channels + d, y, in_d)


@triton.jit(do_not_specialize=["span", "base", "low", "window"])  # type: ignore[untyped-decorator]
def backward_kernel(  # type: ignore[no-untyped-def]
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
    carry,
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
    span,
    base,
    low,
    window,
    SOFTPLUS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Gradients of `window` chunks of every segment, from its chunk `low` on, of the batch elements from `base` on;
    grid as forward's.

    `carry` holds d loss / d state by way of all later tokens, and takes it on to earlier ones; dA, dD and ddt_bias hold
    sums over the later tokens of the segment. All are [B, segments, ...]; dB and dC are partial sums
    [blocks, elements, segments, window, S].
    """
    batch = base + tl.program_id(0).to(tl.int64)
    block = tl.program_id(1)
    segment = tl.program_id(2)
    d = block * BLOCK_D + tl.arange(0, BLOCK_D)
    s = tl.arange(0, WIDTH)
    in_d = d < channels
    in_s = s < width
    tile = d[:, None] * width + s[None, :]
    in_tile = in_d[:, None] & in_s[None, :]
    chunks = tl.cdiv(length, CHUNK)
    own = batch * tl.num_programs(2) + segment
    here = tl.program_id(0).to(tl.int64) * tl.num_programs(2) + segment
    kept = tl.arange(0, BLOCK_D)[:, None] * WIDTH + s[None, :]
    kept += (here * tl.num_programs(1) + block) * CHUNK * BLOCK_D * WIDTH
    first = segment * span + low
    last = tl.minimum(tl.minimum(first + window, (segment + 1) * span), chunks)
    partial = (block * tl.num_programs(0) * tl.num_programs(2) + here) * window * CHUNK - first * CHUNK  # of token 0

    a = load(A, tile, in_tile)
    bias = tl.zeros([BLOCK_D], tl.float32)
    if dt_bias is not None:
        bias = load(dt_bias, d, in_d)
    skip = tl.zeros([BLOCK_D], tl.float32)
    if D is not None:
        skip = load(D, d, in_d)

    g = load(carry, own * channels * width + tile, in_tile)
    a_sum = load(dA, own * channels * width + tile, in_tile)
    skip_sum = load(dD, own * channels + d, in_d)
    bias_sum = load(ddt_bias, own * channels + d, in_d)
    for chunk in range(last - 1, first - 1, -1):
        start = chunk * CHUNK
        stop = tl.minimum(start + CHUNK, length)
        # A thread may read what another one wrote: all wait before the scratch is filled and before it is read.
        tl.debug_barrier()
        h = load(states, (batch * chunks + chunk) * channels * width + tile, in_tile)
        for t in range(start, stop):
            tl.store(scratch + kept + (t - start) * BLOCK_D * WIDTH, h)
            row = batch * length + t
            u_t = load(u, row * channels + d, in_d)
            delta, _ = step_size(load(dt, row * channels + d, in_d) + bias, SOFTPLUS)
            h, _ = advance(h, a, load(B, row * width + s, in_s), u_t, delta)
        tl.debug_barrier()
        for t in range(stop - 1, start - 1, -1):
            row = batch * length + t
            u_t = load(u, row * channels + d, in_d)
            delta, slope = step_size(load(dt, row * channels + d, in_d) + bias, SOFTPLUS)
            b = load(B, row * width + s, in_s)
            c = load(C, row * width + s, in_s)
            before = tl.load(scratch + kept + (t - start) * BLOCK_D * WIDTH)
            h, decay = advance(before, a, b, u_t, delta)

            dy = load(grad, row * channels + d, in_d)
            if z is not None:
                z_t = load(z, row * channels + d, in_d)
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

    tl.store(carry + own * channels * width + tile, g, in_tile)
    tl.store(dA + own * channels * width + tile, a_sum, in_tile)
    tl.store(dD + own * channels + d, skip_sum, in_d)
    tl.store(ddt_bias + own * channels + d, bias_sum, in_d)
