"""Farthest point sampling on a GPU: one Triton kernel, in which a program has one cloud in its registers.

As a loop of torch's operations every index costs a dozen kernels, each longer in starting than at work. Sums and
squares are rounded one by one, as on a processor (no fused multiply-add), so that the indices are the same.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

LARGEST = 16384
"""Points of a cloud that fit: four numbers each, in the registers of 32 warps."""

POINTS_OF_A_WARP = 512
"""At most so many, 16 of each thread."""


@triton.jit  # type: ignore[untyped-decorator]
def _farthest_kernel(points, chosen, size, count, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    cloud = tl.program_id(0).to(tl.int64)
    points += cloud * size * 3
    i = tl.arange(0, WIDTH)
    there = i < size
    x = tl.load(points + i * 3, there, 0.0)
    y = tl.load(points + i * 3 + 1, there, 0.0)
    z = tl.load(points + i * 3 + 2, there, 0.0)
    distances = tl.where(there, float("inf"), -2.0)  # what is not there is never the farthest
    last = tl.zeros([], tl.int32)
    tl.store(chosen + cloud * count, last.to(tl.int64))
    for step in range(1, count):
        dx = x - tl.load(points + last * 3)
        dy = y - tl.load(points + last * 3 + 1)
        dz = z - tl.load(points + last * 3 + 2)
        squared = dx * dx + dy * dy + dz * dz
        distances = tl.where(there & (squared < distances), squared, distances)
        distances = tl.where(i == last, -1.0, distances)  # never again
        last = tl.argmax(distances, 0, tie_break_left=True).to(tl.int32)
        tl.store(chosen + cloud * count + step, last.to(tl.int64))


def farthest(points: Tensor, count: int) -> Tensor:
    """int64 indices [B, count] as `zoo.ops.points.farthest_points` defines them, into float32 clouds [B, N, 3].

    Args:
        points: of at most `LARGEST` points a cloud.
        count: from 1 to N.
    """
    # A graph that is compiled knows an operator; the first call of one imports the compiler of graphs.
    kernel = _operator if torch.compiler.is_compiling() else _launch
    chosen: Tensor = kernel(points, count)
    return chosen


def _launch(points: Tensor, count: int) -> Tensor:
    points = points.contiguous()
    batch, size, _ = points.shape
    chosen = torch.empty((batch, count), dtype=torch.int64, device=points.device)
    width = triton.next_power_of_2(size)
    warps = max(4, width // POINTS_OF_A_WARP)
    with torch.cuda.device_of(points):
        _farthest_kernel[(batch,)](points, chosen, size, count, WIDTH=width, num_warps=warps, enable_fp_fusion=False)
    return chosen


@torch.library.custom_op("zoo::farthest_points", mutates_args=())
def _operator(points: Tensor, count: int) -> Tensor:
    return _launch(points, count)


@_operator.register_fake
def _(points, count):  # type: ignore[no-untyped-def]
    return points.new_empty((points.shape[0], count), dtype=torch.int64)
