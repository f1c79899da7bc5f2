"""Fixtures shared by all tests, and how tests are shared among processes (`pytest -n`)."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Before torch is imported, and inherited by the commands that tests start: as many threads as there are cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(workers))))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` a file's tests run in one process, as its fixtures expect, where it says nothing else."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real sample files; a clone without them skips the tests that read them."""
    if not SHARED.is_dir():
        pytest.skip(f"the real sample files are not at {SHARED}")
    return SHARED
