"""`python benchmarks/selective_scan.py [output=FILE.json]`: the fused scan beside PyTorch loops and mambapy.

Forward and backward of one layer and direction, B=8, D=768, S=16, in one run, backends in turn within each round; the
errors against float64 of the output and of all eight gradients; then longer sequences, each in a process of its own for
its peak memory. mambapy (`pip install mambapy`) has no gate and no softplus of its own: it is given both in PyTorch.
On a GPU the Triton kernel takes the place of Numba's, and mamba-ssm, where installed, stands beside it.
"""

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.ops.selective_scan import choose, selective_scan
from zoo.records.provenance import git_state, hardware
from zoo.training.callbacks import peak_memory

BATCH, CHANNELS, STATES = 8, 768, 16
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FUSED = choose(DEVICE, torch.float32)
LENGTHS, ROUNDS = (129, 1025, 4097), 5


def inputs(length: int) -> dict[str, Tensor]:
    """Leaves of one scan, float32."""
    torch.manual_seed(0)
    token = (BATCH, length, CHANNELS)
    made = {
        "u": torch.randn(token),
        "dt": torch.randn(token),
        "A": -torch.arange(1.0, STATES + 1).repeat(CHANNELS, 1),
        "B": torch.randn(BATCH, length, STATES),
        "C": torch.randn(BATCH, length, STATES),
        "D": torch.randn(CHANNELS),
        "z": torch.randn(token),
        "dt_bias": torch.randn(CHANNELS) - 2,
    }
    return {name: tensor.to(DEVICE).requires_grad_() for name, tensor in made.items()}


def mambapy(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, dt_bias: Tensor) -> Tensor:
    """mambapy's parallel scan, with bias, softplus and gate around it."""
    from mambapy.mamba import MambaBlock

    out: Tensor = MambaBlock.selective_scan(None, u, F.softplus(dt + dt_bias), A, B, C, D) * F.silu(z)
    return out


def published_loop(
    u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, dt_bias: Tensor
) -> Tensor:
    """The reference loop as mamba-ssm and its followers publish it: all decays and inputs [B, L, D, S] made first."""
    delta = F.softplus(dt + dt_bias)
    decay = torch.exp(delta[..., None] * A)
    added = (delta * u)[..., None] * B[:, :, None]
    state, rows = torch.zeros_like(added[:, 0]), []
    for t in range(u.shape[1]):
        state = decay[:, t] * state + added[:, t]
        rows.append(torch.einsum("bds,bs->bd", state, C[:, t]))
    return (torch.stack(rows, dim=1) + D * u) * F.silu(z)


def contenders() -> dict[str, Callable[..., Tensor]]:
    """Scans by name; the fused one first."""
    found: dict[str, Callable[..., Tensor]] = {
        FUSED: lambda **tensors: selective_scan(**tensors, backend=FUSED),
        "our reference loop": lambda **tensors: selective_scan(**tensors, backend="reference"),
        "published loop": published_loop,
        "mambapy": mambapy,
    }
    if FUSED == "triton":
        try:
            import mamba_ssm  # noqa: F401
        except ImportError:
            print("mamba-ssm is not installed: not measured", file=sys.stderr)
        else:
            found["mamba_ssm"] = lambda **tensors: selective_scan(**tensors, backend="mamba_ssm")
    return found


def once(scan: Callable[..., Tensor], leaves: dict[str, Tensor]) -> float:
    """Seconds of one forward and backward pass."""
    _wait()
    start = time.perf_counter()
    torch.autograd.grad(scan(**leaves).sum(), list(leaves.values()))
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def errors(length: int) -> dict[str, float]:
    """Largest difference from float64 over the largest value, of the output and of every gradient."""
    leaves = inputs(length)
    exact = {name: tensor.detach().double().requires_grad_() for name, tensor in leaves.items()}
    scans = contenders()
    out, truth = scans[FUSED](**leaves), scans["our reference loop"](**exact)
    weight = torch.randn_like(out)
    found = torch.autograd.grad((out * weight).sum(), list(leaves.values()))
    wanted = torch.autograd.grad((truth * weight.double()).sum(), list(exact.values()))
    pairs = zip(["output", *leaves], [out, *found], [truth, *wanted], strict=True)
    return {name: ((a.double() - b).abs().max() / b.abs().max()).item() for name, a, b in pairs}


def alone(length: int, backend: str, out: Any) -> None:
    """Seconds and peak memory of a process that runs one backend at one length."""
    leaves = inputs(length)

    def scan(**tensors: Tensor) -> Tensor:
        return selective_scan(**tensors, backend=backend)  # type: ignore[arg-type]

    once(scan, {name: t[:, :8] if t.ndim == 3 else t for name, t in leaves.items()})  # compiled before it counts
    before = peak_memory()
    seconds = [once(scan, leaves) for _ in range(3)]
    out.put((statistics.median(seconds), peak_memory() - before))


def lengths() -> list[dict[str, Any]]:
    """The fused scan by length, and the loop where it is bearable."""
    context, rows = multiprocessing.get_context("spawn"), []
    for length in LENGTHS:
        for backend in (FUSED, "reference") if length == LENGTHS[0] else (FUSED,):
            queue = context.Queue()
            process = context.Process(target=alone, args=(length, backend, queue))
            process.start()
            seconds, memory = queue.get()
            process.join()
            full = BATCH * CHANNELS * length * STATES * 4
            row = {"length": length, "backend": backend, "seconds": seconds, "us_per_token": 1e6 * seconds / length}
            rows.append({**row, "peak_mib": memory / 2**20, "states_mib": full / 2**20})
    return rows


def main() -> None:
    """Measure and print."""
    leaves, scans = inputs(LENGTHS[0]), contenders()
    seconds: dict[str, list[float]] = {name: [] for name in scans}
    for round_ in range(ROUNDS + 1):
        for name, scan in scans.items():
            taken = once(scan, leaves)
            if round_:
                seconds[name].append(taken)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "commit": git_state(),
        "hardware": hardware(),
        "shape": {"B": BATCH, "L": LENGTHS[0], "D": CHANNELS, "S": STATES},
        "seconds": median,
        f"times faster: {FUSED}": {name: value / median[FUSED] for name, value in median.items()},
        "relative error": errors(LENGTHS[0]),
        "by length": lengths(),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if output := dict(word.partition("=")[::2] for word in sys.argv[1:]).get("output"):
        Path(output).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
