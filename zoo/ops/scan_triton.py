"""Mamba's selective scan (S6) in Triton: forward, and a backward that recomputes the states.

One program walks one sequence for a block of channels with all their states in registers. Forward keeps the state in
front of every `CHUNK` tokens; backward goes through the chunks from the last to the first and recomputes the states
inside one into a scratch of `CHUNK` states, so memory grows with L as [B, L / CHUNK, D, S], not as [B, L, D, S].

Where that would leave most of a GPU idle, few sequences being long, each is cut into segments that are walked at once:
first for what comes into each (`zoo.ops.scan_triton_carry`), then as above. Last bits hang on where it is cut, so on
the sizes and the GPU.

Sums over channels or batch elements are written as partial sums and added in a fixed order: no atomics, the same bits
each run. Those over channels (dB and dC) are made a window of tokens at a time, which changes no bit, so that they take
at most `PARTIAL_BYTES`.

Sources: Gu and Dao, "Mamba" (2023), sections 3.2 and 3.3; the semantics are `selective_scan_ref`'s of mamba-ssm.
"""

import torch
import triton
from torch import Tensor

from zoo.ops.scan_triton_carry import add_up, backward_carry, combine, forward_carry
from zoo.ops.scan_triton_walk import backward_kernel, forward_kernel

CHUNK = 16  # tokens between two kept states

BLOCK_D = 16  # channels of one program: 16 x 16 states are 8 registers per thread of the one warp that holds them

RESIDENT = 16  # programs that a multiprocessor holds at once: backward takes up to 128 registers a thread, of 65536

SHORTEST = 4  # chunks of the shortest segment; reckoned, `benchmarks/gpu_scan.py` times sequences cut and uncut

PARTIAL_BYTES = 64 * 2**20  # of partial sums of dB and dC (or one chunk of one sequence, where that is more)

ADDED = 256  # entries that one program of `add_up` adds


def span_of(batch: int, length: int, channels: int, processors: int) -> int:
    """Chunks of one segment; all of a sequence's where the sequences fill the GPU or are short.

    What comes into the segments costs a walk more, so two segments would gain nothing: there are three or more.

    Args:
        batch: B.
        length: L.
        channels: D.
        processors: multiprocessors of the GPU.
    """
    chunks = triton.cdiv(length, CHUNK)
    programs = batch * triton.cdiv(channels, BLOCK_D)
    segments = min(RESIDENT * processors // programs, chunks // SHORTEST)
    return int(triton.cdiv(chunks, segments) if segments > 2 else chunks)


def processors_of(device: torch.device) -> int:
    """Multiprocessors of a GPU."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


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
    states = _floats(u, batch, triton.cdiv(length, CHUNK), channels, width)
    inputs = _contiguous(u, dt, A, B, C, D, z, dt_bias)
    grid, span = _grid(u)
    shape, sizes = (length, channels, width, span), _sizes(A, softplus)
    with torch.cuda.device_of(out):  # Triton launches on the current device, whatever the tensors' own
        starts = None
        if grid[2] > 1:
            starts = _floats(out, batch, grid[2], channels, width)
            totals = _floats(out, batch, grid[2], channels)
            forward_carry[grid](*_contiguous(u, dt, A, B, dt_bias), starts, totals, *shape, **sizes)
            _combine(grid, A, starts, totals, reverse=False)
        forward_kernel[grid](*inputs, starts, out, states, *shape, **sizes)
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
    du, ddt, dB, dC = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (u, dt, B, C))
    dz = None if z is None else torch.empty_like(z, memory_format=torch.contiguous_format)
    grid, span = _grid(u)
    sizes, shape = _sizes(A, softplus), (length, channels, width, span)
    dA, carry = (u.new_zeros((batch, grid[2], channels, width), dtype=torch.float32) for _ in range(2))
    dD, ddt_bias = (u.new_zeros((batch, grid[2], channels), dtype=torch.float32) for _ in range(2))
    rows, window = _window(batch, span, 2 * grid[1] * grid[2] * CHUNK * width * 4)
    partial = _floats(u, 2, grid[1] * rows * grid[2] * window * CHUNK * width)
    scratch = _floats(u, rows, *grid[1:], CHUNK, BLOCK_D, sizes["WIDTH"])
    inputs = _contiguous(grad, u, dt, A, B, C, D, z, dt_bias, states)
    outputs = (du, ddt, dA, *partial, dD, dz, ddt_bias)
    with torch.cuda.device_of(u):
        if grid[2] > 1:
            totals = _floats(u, batch, grid[2], channels)
            needed = _contiguous(grad, dt, A, C, z, dt_bias)
            backward_carry[grid](*needed, carry, totals, *shape, **sizes)
            _combine(grid, A, carry, totals, reverse=True)
        for base in range(0, batch, rows):
            some = (min(rows, batch - base), *grid[1:])
            count = some[0] * grid[2] * window * CHUNK * width
            for low in reversed(range(0, span, window)):
                backward_kernel[some](*inputs, scratch, carry, *outputs, *shape, base, low, window, **sizes)
                for sums, out in zip(partial, (dB, dC), strict=True):
                    place = (count, grid[1], length, width, grid[2], span, base, low, window)
                    add_up[(triton.cdiv(count, ADDED),)](sums, out, *place, CHUNK=CHUNK, BLOCK=ADDED)
    return (
        du,
        ddt,
        dA.sum((0, 1)),
        dB,
        dC,
        None if D is None else dD.sum((0, 1)),
        dz,
        None if dt_bias is None else ddt_bias.sum((0, 1)),
    )


def _window(batch: int, span: int, size: int) -> tuple[int, int]:
    """Batch elements and chunks of every segment whose partial sums of dB and dC are kept at once.

    Args:
        batch: B.
        span: chunks of a segment.
        size: bytes of the partial sums of one chunk of all segments of one batch element.
    """
    rows = min(batch, max(1, PARTIAL_BYTES // size))
    most = max(1, PARTIAL_BYTES // (size * rows))
    return rows, triton.cdiv(span, triton.cdiv(span, most))  # windows of one size


def _combine(grid: tuple[int, int, int], A: Tensor, carry: Tensor, totals: Tensor, *, reverse: bool) -> None:
    channels, width = A.shape
    wide = {"BLOCK_D": BLOCK_D, "WIDTH": triton.next_power_of_2(width), "num_warps": _warps(width)}
    combine[grid[:2]](A.contiguous(), carry, totals, grid[2], channels, width, REVERSE=reverse, **wide)


def _grid(u: Tensor) -> tuple[tuple[int, int, int], int]:
    """Programs by batch element, block of channels and segment; and the chunks of a segment."""
    batch, length, channels = u.shape
    span = span_of(batch, length, channels, processors_of(u.device))
    return (batch, triton.cdiv(channels, BLOCK_D), triton.cdiv(triton.cdiv(length, CHUNK), span)), span


def _floats(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def _contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _warps(width: int) -> int:
    """More states than 16 go to more warps."""
    return int(min(8, max(1, triton.next_power_of_2(width) // 16)))


def _sizes(A: Tensor, softplus: bool) -> dict[str, int | bool]:
    """Compile-time arguments and warps of the kernels that walk."""
    width = A.shape[1]
    wide = {"CHUNK": CHUNK, "BLOCK_D": BLOCK_D, "WIDTH": triton.next_power_of_2(width), "num_warps": _warps(width)}
    return {"SOFTPLUS": softplus, **wide}
