"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real sample files; a clone without them skips the tests that read them."""
    if not SHARED.is_dir():
        pytest.skip(f"the real sample files are not at {SHARED}")
    return SHARED
