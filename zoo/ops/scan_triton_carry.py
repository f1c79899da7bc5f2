"""What Triton's selective scan needs beside its walk: what comes into a segment of tokens, and sums in a fixed order.

A sequence is cut into segments, which programs walk at once. What a segment makes of nothing (`forward_carry`,
`backward_carry`) and how much of what comes in is left at its other end, exp(A times the sum of its steps), give what
comes into all of them, one after the other (`combine`). The idea is that of every parallel scan (Blelloch 1990).
"""

import triton
import triton.language as tl

from zoo.ops.scan_triton_walk import advance, load, step_size


@triton.jit(do_not_specialize=["span"])  # type: ignore[untyped-decorator]
def forward_carry(  # type: ignore[no-untyped-def]
    u,
    dt,
    A,
    B,
    dt_bias,
    carry,
    totals,
    length,
    channels,
    width,
    span,
    SOFTPLUS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """The state that each segment ends with where it began with none [B, segments, D, S], and its sum of steps."""
    batch = tl.program_id(0).to(tl.int64)
    segment = tl.program_id(2)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    s = tl.arange(0, WIDTH)
    in_d = d < channels
    in_s = s < width
    tile = d[:, None] * width + s[None, :]
    in_tile = in_d[:, None] & in_s[None, :]
    own = batch * tl.num_programs(2) + segment

    a = load(A, tile, in_tile)
    bias = tl.zeros([BLOCK_D], tl.float32)
    if dt_bias is not None:
        bias = load(dt_bias, d, in_d)
    h = tl.zeros([BLOCK_D, WIDTH], tl.float32)
    total = tl.zeros([BLOCK_D], tl.float32)
    for t in range(segment * span * CHUNK, tl.minimum((segment + 1) * span * CHUNK, length)):
        row = batch * length + t
        delta, _ = step_size(load(dt, row * channels + d, in_d) + bias, SOFTPLUS)
        h, _ = advance(h, a, load(B, row * width + s, in_s), load(u, row * channels + d, in_d), delta)
        total += delta
    tl.store(carry + own * channels * width + tile, h, in_tile)
    tl.store(totals + own * channels + d, total, in_d)


@triton.jit(do_not_specialize=["span"])  # type: ignore[untyped-decorator]
def backward_carry(  # type: ignore[no-untyped-def]
    grad,
    dt,
    A,
    C,
    z,
    dt_bias,
    carry,
    totals,
    length,
    channels,
    width,
    span,
    SOFTPLUS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """d loss / d state in front of each segment by way of its own tokens [B, segments, D, S], and its sum of steps."""
    batch = tl.program_id(0).to(tl.int64)
    segment = tl.program_id(2)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    s = tl.arange(0, WIDTH)
    in_d = d < channels
    in_s = s < width
    tile = d[:, None] * width + s[None, :]
    in_tile = in_d[:, None] & in_s[None, :]
    own = batch * tl.num_programs(2) + segment

    a = load(A, tile, in_tile)
    bias = tl.zeros([BLOCK_D], tl.float32)
    if dt_bias is not None:
        bias = load(dt_bias, d, in_d)
    g = tl.zeros([BLOCK_D, WIDTH], tl.float32)
    total = tl.zeros([BLOCK_D], tl.float32)
    for t in range(tl.minimum((segment + 1) * span * CHUNK, length) - 1, segment * span * CHUNK - 1, -1):
        row = batch * length + t
        delta, _ = step_size(load(dt, row * channels + d, in_d) + bias, SOFTPLUS)
        dy = load(grad, row * channels + d, in_d)
        if z is not None:
            z_t = load(z, row * channels + d, in_d)
            dy = dy * z_t * tl.sigmoid(z_t)
        g = (g + dy[:, None] * load(C, row * width + s, in_s)[None, :]) * tl.exp(delta[:, None] * a)
        total += delta
    tl.store(carry + own * channels * width + tile, g, in_tile)
    tl.store(totals + own * channels + d, total, in_d)


@triton.jit(do_not_specialize=["segments"])  # type: ignore[untyped-decorator]
def combine(  # type: ignore[no-untyped-def]
    A,
    carry,
    totals,
    segments,
    channels,
    width,
    REVERSE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """In place: what each segment made of nothing becomes what comes into it; grid [B, blocks of channels]."""
    batch = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    s = tl.arange(0, WIDTH)
    in_d = d < channels
    tile = d[:, None] * width + s[None, :]
    in_tile = in_d[:, None] & (s < width)[None, :]
    a = load(A, tile, in_tile)
    state = tl.zeros([BLOCK_D, WIDTH], tl.float32)
    for i in range(segments):
        segment = i
        if REVERSE:
            segment = segments - 1 - i
        own = batch * segments + segment
        made = load(carry, own * channels * width + tile, in_tile)
        tl.store(carry + own * channels * width + tile, state, in_tile)
        state = tl.exp(load(totals, own * channels + d, in_d)[:, None] * a) * state + made


@triton.jit(do_not_specialize=["span", "base", "low", "window"])  # type: ignore[untyped-decorator]
def add_up(  # type: ignore[no-untyped-def]
    partial,
    out,
    count,
    blocks,
    length,
    width,
    segments,
    span,
    base,
    low,
    window,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Add partial sums [blocks, elements, segments, window, S] in the order of their blocks, into [B, L, S]."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = i // width
    token = row % (window * CHUNK)
    own = row // (window * CHUNK)
    segment = own % segments
    t = (segment * span + low) * CHUNK + token
    there = (i < count) & (t < tl.minimum((segment + 1) * span * CHUNK, length))
    total = tl.zeros([BLOCK], tl.float32)
    for block in range(blocks):
        total += tl.load(partial + block * count + i, there, 0.0)
    place = ((base + (own // segments).to(tl.int64)) * length + t) * width + i % width
    tl.store(out + place, total, there)
