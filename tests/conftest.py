"""Fixtures shared by all tests, and how tests are shared among processes (`pytest -n`)."""

import os
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Before torch is imported, and inherited by the commands that tests start: as many threads as there are cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(workers))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many processes as there are cores, and as the memory has room for: one grows to 3.4 GiB."""
    from zoo import machine

    return max(1, min(len(os.sched_getaffinity(0)), machine.memory() // (4 << 30)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run in one process, as its fixtures expect; the longest file, `test_runs`, recipe by recipe."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            name, bracket, recipe = test.partition("[")
            if not file.endswith("test_runs.py"):
                return file
            return recipe if bracket and "resumes" not in name else nodeid

    return ByFile(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real sample files; a clone without them skips the tests that read them."""
    if not SHARED.is_dir():
        pytest.skip(f"the real sample files are not at {SHARED}")
    return SHARED
