"""How a benchmark times and records: CUDA events on a GPU, processor clocks elsewhere, and rows that are kept at once.

A GPU is lent for minutes, and a section may be cut off: every row stands in its file before the next is measured.
"""

import datetime
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.batch import Batch
from zoo.files import write_whole
from zoo.pairing import Pairing
from zoo.records.provenance import git_state, hardware, versions

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CUDA = DEVICE.type == "cuda"
WARM = 3


def state() -> dict[str, Any]:
    """Commit, date, hardware and versions, by which a number can be found again.

    A machine that was given files knows no commit, or an older one: BENCHMARK_COMMIT names the clean one that they are
    of.
    """
    named = os.environ.get("BENCHMARK_COMMIT")
    commit = {"commit": named, "dirty": False} if named else git_state()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"commit": commit, "date": date, "hardware": hardware(), "versions": versions()}


class Record:
    """A JSON file of rows that grows with every one.

    Args:
        path: of the file; an older one is replaced.
        **about: facts that hold for every row.
    """

    def __init__(self, path: Path, **about: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.content: dict[str, Any] = {**state(), **about, "rows": []}
        self._write()

    def add(self, **row: Any) -> None:
        """Keep a row and say it."""
        self.content["rows"].append(row)
        self._write()
        print(json.dumps(row), flush=True)

    def attempt(self, row: dict[str, Any], measure: Callable[..., dict[str, Any]], *given: Any, **further: Any) -> None:
        """Keep a row with what `measure` finds, or with why it found nothing: the next row is measured all the same."""
        try:
            self.add(**row, **measure(*given, **further))
        except (ImportError, RuntimeError, ValueError, OSError) as error:  # out of memory is a RuntimeError
            self.add(**row, error=f"{type(error).__name__}: {' '.join(str(error).split())[:400]}")
        if CUDA:
            torch.cuda.empty_cache()

    def _write(self) -> None:
        write_whole(self.path, json.dumps(self.content, indent=1) + "\n")


def timed(work: Callable[[], Any], *, rounds: int = 10, limit_s: float = 5.0) -> dict[str, Any]:
    """Milliseconds of one call, after warm-up: median and least of so many rounds, or of fewer that take `limit_s`."""
    for _ in range(WARM if CUDA else 1):
        work()
    wait()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < rounds and (not taken or time.perf_counter() - begun < limit_s):
        taken.append(_once(work))
    return {"median_ms": statistics.median(taken), "least_ms": min(taken), "rounds": len(taken)}


def _once(work: Callable[[], Any]) -> float:
    if not CUDA:
        start = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - start)
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    work()
    last.record()
    torch.cuda.synchronize()
    return float(first.elapsed_time(last))


def peak_mib(work: Callable[[], Any]) -> float | None:
    """Most memory of the GPU during one call, beyond what was held before; None on a CPU."""
    if not CUDA:
        return None
    wait()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    wait()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def loss_of(pairing: Pairing, batch: Batch) -> Tensor:
    """What a training step descends, without a trainer: the task's terms and the method's own."""
    return torch.stack([*pairing.losses(batch).values()]).sum()


def wait() -> None:
    """Until the GPU has done what it was told."""
    if CUDA:
        torch.cuda.synchronize()


def copied_bytes_per_s(mib: int = 1024) -> float:
    """Bytes read and written in a second by copying a tensor of so many MiB: what no kernel moves faster."""
    source = torch.empty(mib * 2**18, device=DEVICE)
    target = torch.empty_like(source)
    seconds: float = timed(lambda: target.copy_(source))["least_ms"] / 1000
    return 2 * mib * 2**20 / seconds


def matmul_flops_per_s(dtype: torch.dtype, *, tf32: bool = False, side: int = 8192) -> float:
    """Floating-point operations in a second of one large matrix product: the peak that training steps are held to."""
    precision(tf32=tf32)
    a, b = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
    seconds: float = timed(lambda: a @ b)["least_ms"] / 1000
    return 2 * side**3 / seconds


def precision(*, tf32: bool) -> None:
    """Whether products of float32 matrices may take the 19-bit TF32 path."""
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
