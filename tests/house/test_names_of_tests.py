"""Files of tests have names of their own: pytest knows them by these alone, and collects no second one."""

from collections import Counter
from pathlib import Path


def test_no_two_files_of_tests_have_one_name() -> None:
    counted = Counter(path.name for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert [name for name, count in counted.items() if count > 1] == []
