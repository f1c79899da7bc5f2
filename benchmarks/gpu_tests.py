"""`python benchmarks/gpu_tests.py output=FILE.json [tiny=true]`: `pytest -m gpu`, a row kept after every test.

Kernels against the oracle first, then every recipe that needs no download trained, cut off and resumed. Without a GPU
every test is skipped, and its row says so.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from measuring import Record

TESTS = Path(__file__).parents[1] / "tests"
FILES = (
    "ops/test_scan_triton.py",
    "ops/test_points.py",
    "methods/test_methods_on_devices.py",
    "training/test_gpu_runs.py",
)

WORKERS = 8
"""Processes that share the GPU, where pytest-xdist is: tiny trainings wait for the processor, and nothing is timed."""


class Keep:
    """Adds a row to a record for every test that ends.

    Args:
        record: the file of rows.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    def pytest_collectreport(self, report: Any) -> None:
        """A file that cannot even be read."""
        if report.failed:
            error = " ".join(report.longreprtext.split())[-400:]
            self.record.add(test=report.nodeid.partition("tests/")[2], outcome="failed", seconds=0.0, error=error)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test's own part, or what went wrong before or after it."""
        if report.when != "call" and report.passed:
            return
        name = report.nodeid.partition("tests/")[2] or report.nodeid
        row = {"test": name, "outcome": report.outcome, "seconds": round(report.duration, 2)}
        if report.failed:
            row["error"] = " ".join(report.longreprtext.split())[-400:]
        self.record.add(**row)


def main() -> int:
    """Run the tests; exit code as pytest's."""
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    record = Record(Path(words["output"]))
    settings = ["-p", "no:cacheprovider", "-m", "gpu", "-q", "--tb=short"]
    settings += ["-n", str(WORKERS)] if find_spec("xdist") and words.get("tiny") != "true" else []
    return int(pytest.main([*settings, *(str(TESTS / file) for file in FILES)], plugins=[Keep(record)]))


if __name__ == "__main__":
    sys.exit(main())
