"""An output file holds answers of one setting of the method, and of one list of classes."""

from pathlib import Path
from typing import Any

import pytest

from zoo.adapter import places
from zoo.inference import job
from zoo.inference.output import OutputError

RANK = ({}, {"rank": 2})
CLASSES = ({"classes": "cat|dog"}, {})


@pytest.mark.parametrize(
    ("first", "then", "differs"),
    [
        (RANK, ({}, {"rank": 4}), r"method \{'rank': 2\} there, \{'rank': 4\} here"),
        (RANK, ({}, {}), r"method \{'rank': 2\} there, None here"),
        (({}, {}), RANK, r"method None there, \{'rank': 2\} here"),
        (CLASSES, ({}, {}), r"classes cat\|dog there, None here"),
    ],
)
def test_answers_with_another_setting_are_not_added_to(
    tmp_path: Path, first: tuple[dict[str, str], Any], then: tuple[dict[str, str], Any], differs: str
) -> None:
    adapter, output = places.find_adapter("mantis-furniture"), {"output": str(tmp_path / "out.jsonl")}

    def begun(words: dict[str, str], settings: Any) -> None:
        file = job.open_output(words | output, [adapter], settings)
        assert file is not None
        with file:
            file.begin([])
            file.close()

    begun(*first)
    begun(*first)
    with pytest.raises(OutputError, match=differs):
        begun(*then)
