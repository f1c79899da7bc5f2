"""What `docs/python.md` shows runs as it stands there, each block in a folder and a namespace of its own."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"

PLACED = {"pretrained=True": "pretrained=False"}
"""What needs the hub, and what stands in its place."""


def blocks() -> dict[str, str]:
    """The blocks of Python, by number and the heading that they stand under."""
    found: dict[str, str] = {}
    for section in re.split(r"\n## ", PAGE.read_text(encoding="utf-8"))[1:]:
        title = section.partition("\n")[0]
        for code in re.findall(r"```python\n(.*?)```", section, re.S):
            found[f"{len(found) + 1} {title}"] = code
    return found


def slowly(code: str) -> bool:
    """Whether a block is left to the slow tests: an export of a scan, two trainings, and what CONTRIBUTING shows as
    well."""
    return any(slow in code for slow in ('.export("exported"', "zoo.together(", "L.Trainer("))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if slowly(code) else n for n, code in blocks().items()]
)
def test_a_block_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks()[name]
    for shown, placed in PLACED.items():
        code = code.replace(shown, placed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # where `python FILE` finds the modules beside it
    exec(code, {"__name__": "__main__"})


def test_there_are_ten_and_more() -> None:
    assert len(blocks()) >= 10
