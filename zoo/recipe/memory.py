"""Refuse what this machine's memory cannot hold before it is allocated.

Linux promises memory that it does not have, and kills the process which then uses it, without a word. An adapter from
elsewhere may ask for a hundred layers of a gigabyte, each of which would be promised.
"""

import inspect
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.files import machine_memory

WORTH_ASKING = 1 << 20
"""Bytes of a tensor below which the process's memory is not read: reading costs microseconds."""


class Bounded(TorchDispatchMode):
    """Inside, no tensor is made that would not fit beside what the process holds.

    Args:
        limit: bytes for the process; by default the machine's memory, or its container's where that is less.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = machine_memory() if limit is None else limit

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One operation of torch.

        Raises:
            MemoryError: it would make a tensor of a given shape that does not fit.
        """
        kwargs = kwargs or {}
        if args and isinstance(args[0], list | tuple) and all(isinstance(length, int) for length in args[0]):
            wanted = math.prod(args[0]) * (kwargs.get("dtype") or torch.get_default_dtype()).itemsize
            on_cpu = torch.device(kwargs.get("device") or "cpu").type == "cpu"
            if on_cpu and wanted > WORTH_ASKING and held() + wanted > self.limit:
                raise MemoryError(f"cannot allocate {_gib(wanted)} beside the {_gib(held())} already held")
        return func(*args, **kwargs)


def held() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.is_file() else 0


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


# PyTorch keeps its compiler out of every such mode by a wrapper that imports the compiler at the first call. That takes
# longer than loading most adapters, and nothing is compiled while a pairing is built.
Bounded.__torch_dispatch__ = inspect.unwrap(Bounded.__torch_dispatch__)  # type: ignore[method-assign]
