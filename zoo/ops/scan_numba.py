"""The selective scan on a CPU: one fused loop forward, one backward (`scan_loops`), compiled by Numba at first use and
kept on disk.

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
from torch import Tensor

from zoo.ops.scan_loops import CHUNK, backward_tasks, forward_tasks, split

__all__ = ["CHUNK", "backward", "forward"]

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
    _on_all_cores(forward_tasks, *arrays, z is not None, softplus, out.numpy(), states.numpy())
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
    blocks, S = split(channels)[0], A.shape[1]
    gu, gdt = _empty(*u.shape), _empty(*u.shape)
    gz = _empty(*(u.shape if z is not None else (1, 1, 1)))
    gA, gD, gbias = _empty(size, S, channels), _empty(size, channels), _empty(size, channels)
    gB, gC = _empty(blocks, size, length, S), _empty(blocks, size, length, S)
    arrays = _arrays(u, dt, A, B, C, D, z, dt_bias)
    gradients = [tensor.numpy() for tensor in (gu, gdt, gA, gB, gC, gD, gz, gbias)]
    incoming = grad.detach().float().contiguous().numpy()
    _on_all_cores(backward_tasks, incoming, *arrays, z is not None, softplus, states.numpy(), *gradients)
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
