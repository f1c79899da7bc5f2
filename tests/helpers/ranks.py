"""Runs a function in several processes that are the ranks of one run, as Lightning's own launcher would start them."""

import multiprocessing
import os
import socket
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        *("pytest", "torch.utils.tensorboard", "tiny", "point_tiny", "tiny_data"),
        *("zoo.training.fit", "zoo.evaluate", "zoo.report.run_pictures", "zoo.catalog.card"),
    ]
)
HELPERS = str(Path(__file__).parent)


def run(function: Callable[..., None], count: int, *args: Any, machines: int = 1, timeout: float = 240) -> list[int]:
    """Exit codes of `function(*args)` in `count` processes; whoever is left when the time is over is killed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:  # a server is not told the paths of this process before Python 3.14
        patch.setenv("PYTHONPATH", HELPERS, prepend=os.pathsep)
        forkserver.ensure_running()
    started = [
        context.Process(target=_rank, args=(function, rank, count, machines, port, args)) for rank in range(count)
    ]
    deadline = time.monotonic() + timeout
    try:
        for process in started:
            process.start()
        for process in started:
            process.join(max(0.0, deadline - time.monotonic()))
        return [process.exitcode if process.exitcode is not None else -1 for process in started]
    finally:
        for process in started:
            process.kill()


def _rank(
    function: Callable[..., None], rank: int, count: int, machines: int, port: int, args: tuple[Any, ...]
) -> None:
    devices = count // machines
    place = {"NODE_RANK": rank // devices, "LOCAL_RANK": rank % devices, "WORLD_SIZE": count, "RANK": rank}
    os.environ |= {name: str(value) for name, value in place.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    function(*args)
