"""Triton's farthest points are the CPU's, ties included.

In Triton's interpreter, a process of its own (this file run as a script), as in `test_scan_triton.py`.
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor


def clouds() -> dict[str, tuple[Tensor, int]]:
    """Clouds [B, N, 3] and how many of their points to take."""
    random = torch.Generator().manual_seed(0)
    lattice = torch.randint(-2, 3, (3, 50, 3), generator=random).float()
    normal = torch.randn(2, 70, 3, generator=random)
    return {
        "random": (normal, 40),
        "a power of two": (normal[:, :64], 64),
        "ties": (lattice, 50),
        "ties on a sphere": (torch.nn.functional.normalize(lattice + 0.5, dim=-1), 50),
        "one point": (normal[:, :1], 1),
        "one point taken": (normal, 1),
        "equal points": (torch.ones(2, 5, 3), 5),
        "far from the origin": (1e4 + normal, 20),
        "not contiguous": (normal.mT.contiguous().mT, 20),
        "without a gradient": (normal.clone().requires_grad_(), 20),
    }


@pytest.fixture(scope="module")
def interpreted() -> dict[str, list[list[list[int]]]]:
    """{cloud: [indices, indices of a compiled graph]} from one interpreter process."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton exists for Linux only")
    if tuple(map(int, importlib.metadata.version("triton").split(".")[:2])) < (3, 6):
        pytest.skip("the interpreter of this Triton ends no loop at a number that NumPy 2.4 gives it")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", clouds())
def test_the_indices_are_those_of_the_cpu(name: str, interpreted: dict[str, list[list[list[int]]]]) -> None:
    from zoo.ops.points import farthest_points

    direct, compiled = interpreted[name]
    assert direct == compiled == farthest_points(*clouds()[name]).tolist()


def test_clouds_on_a_gpu_take_the_kernel_and_larger_ones_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    points_triton = pytest.importorskip("zoo.ops.points_triton", exc_type=ImportError)
    from zoo.ops import points

    class OnGPU(Tensor):
        device = torch.device("cuda")

    taken = []
    monkeypatch.setattr(points_triton, "farthest", lambda *_: taken.append("kernel"))
    monkeypatch.setattr(points, "_farthest_loop", lambda *_: taken.append("loop"))
    for size in (1024, points_triton.LARGEST, points_triton.LARGEST + 1):
        points.farthest_points(torch.zeros(1, size, 3).as_subclass(OnGPU), 4)
    assert taken == ["kernel", "kernel", "loop"]


if __name__ == "__main__":
    from zoo.ops.points_triton import farthest

    compiled = torch.compile(farthest, backend="eager", fullgraph=True)
    found = {}
    for name, (points, count) in clouds().items():
        given = points.detach().float()
        found[name] = [farthest(given, count).tolist(), compiled(given, count).tolist()]
    print(json.dumps(found))
