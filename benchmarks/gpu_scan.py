"""`python benchmarks/gpu_scan.py output=FILE.json [tiny=true]`: the selective scan on a GPU, both ways apart.

Ours (Triton), mamba-ssm where it is installed, and, where it is bearable, the published loop; beside each the time that
the bytes which must be read and written would take at the speed of a measured copy. D = 768, S = 16.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from measuring import CUDA, DEVICE, Record, copied_bytes_per_s, peak_mib, timed
from selective_scan import published_loop
from torch import Tensor

from zoo.ops.selective_scan import choose, selective_scan

CHANNELS, STATES = 768, 16
LOOPED = 8 * 129
"""Tokens of all sequences up to which the published loop is measured."""


def inputs(size: int, length: int, channels: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Leaves of one scan: what a mixer gives it under autocast, A, D and bias in float32."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    token = (size, length, channels)
    made = {"u": draw(*token), "dt": draw(*token), "z": draw(*token)}
    made |= {name: draw(size, length, STATES) for name in ("B", "C")}
    made = {name: tensor.to(dtype) for name, tensor in made.items()}
    made |= {
        "A": -torch.arange(1.0, STATES + 1).repeat(channels, 1),
        "D": draw(channels),
        "dt_bias": draw(channels) - 2,
    }
    return {name: tensor.to(DEVICE).requires_grad_() for name, tensor in made.items()}


def contenders(leaves: dict[str, Tensor]) -> Iterator[tuple[str, Callable[..., Tensor], dict[str, Tensor]]]:
    """Scans by name with what they are given; the fused one first."""
    fused = choose(DEVICE, torch.float32)
    yield fused, lambda **leaves: selective_scan(**leaves, backend=fused), leaves
    if fused == "triton":
        from zoo.ops import scan_triton

        resident, (size, length, channels) = scan_triton.RESIDENT, leaves["u"].shape
        span = scan_triton.span_of(size, length, channels, scan_triton.processors_of(DEVICE))
        if span * scan_triton.CHUNK < length:
            scan_triton.RESIDENT = 0  # until the next one is asked for: a program walks a whole sequence
            yield "triton, sequences uncut", lambda **leaves: selective_scan(**leaves, backend=fused), leaves
            scan_triton.RESIDENT = resident
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        pass
    else:
        yield "mamba_ssm by the zoo", lambda **leaves: selective_scan(**leaves, backend="mamba_ssm"), leaves
        # Its own layout, channels before tokens, so that nothing is turned within the time.
        turned = {
            name: leaf.detach().mT.contiguous().requires_grad_() if leaf.ndim == 3 else leaf
            for name, leaf in leaves.items()
        }
        yield "mamba_ssm", partial(_published_kernel, selective_scan_fn), turned
    if leaves["u"].shape[0] * leaves["u"].shape[1] <= LOOPED:
        yield "published loop", looped, leaves


def _published_kernel(kernel: Callable[..., Tensor], dt: Tensor, dt_bias: Tensor, **leaves: Tensor) -> Tensor:
    return kernel(delta=dt, delta_bias=dt_bias, delta_softplus=True, **leaves)


def looped(**leaves: Tensor) -> Tensor:
    """The published loop, which computes in float32 whatever it is given."""
    return published_loop(**{name: leaf.float() for name, leaf in leaves.items()})


def moved(size: int, length: int, channels: int, itemsize: int) -> dict[str, int]:
    """Bytes that any scan must read and write: forward u, dt, z, B, C and the output; backward those, the gradient of
    the output, and five gradients."""
    token, shared = size * length * channels, size * length * STATES
    return {"forward": (4 * token + 2 * shared) * itemsize, "backward": (7 * token + 4 * shared) * itemsize}


def main() -> None:
    """Measure and print."""
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    tiny = words.get("tiny") == "true"
    lengths, sizes, channels = ((5, 9), (1, 2), 8) if tiny else ((129, 1025, 4096), (1, 8, 96), CHANNELS)
    speed = copied_bytes_per_s(1 if tiny else 1024)
    record = Record(Path(words["output"]), channels=channels, states=STATES, copied_gb_per_s=speed / 1e9)
    for dtype in (torch.float32, torch.bfloat16):
        for length in lengths:
            for size in sizes:
                least = moved(size, length, channels, dtype.itemsize)
                limits = {f"{way}_limit_ms": 1000 * count / speed for way, count in least.items()}
                leaves = inputs(size, length, channels, dtype)
                for name, scan, given in contenders(leaves):
                    about = {"B": size, "L": length, "dtype": str(dtype).removeprefix("torch."), "scan": name}
                    record.attempt(about | limits, measured, scan, given)


def measured(scan: Callable[..., Tensor], leaves: dict[str, Tensor]) -> dict[str, float | None]:
    """Forward and backward in milliseconds, and the memory that both take."""
    out = scan(**leaves)
    grad = torch.ones_like(out)

    def back() -> None:
        torch.autograd.grad(out, list(leaves.values()), grad, retain_graph=True)

    def both() -> None:
        torch.autograd.grad(scan(**leaves), list(leaves.values()), grad)

    limit = 2.0 if CUDA else 0.2
    found = {"forward_ms": timed(lambda: scan(**leaves), limit_s=limit)["median_ms"]}
    found["backward_ms"] = timed(back, limit_s=limit)["median_ms"]
    return {**found, "peak_mib": peak_mib(both)}


if __name__ == "__main__":
    main()
