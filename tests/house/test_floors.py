"""The house: every module has a room, imports run downwards only, and what must start fast imports nothing slow."""

from pathlib import Path

import check_floors
import pytest

ROOT = Path(__file__).parents[2]


def test_imports_run_downwards_in_no_circle_and_what_must_start_fast_does() -> None:
    problems, arrows = check_floors.judged(check_floors.parsed(ROOT))
    assert not problems, "\n".join(problems)
    assert ("zoo pairing", "zoo methods") in arrows


def test_every_room_says_in_its_first_line_what_it_is_for_and_imports_nothing() -> None:
    for path in [*(ROOT / "zoo").glob("*/__init__.py"), *(ROOT / "data_modules").glob("*/__init__.py")]:
        text = path.read_text()
        assert text.startswith('"""'), path
        assert text.count('"""') == 2, path
        assert text.rstrip().endswith('"""'), path


FAULTS = {
    "upwards": {"zoo/tasks/a.py": "from zoo.report.tables import x\n", "zoo/report/tables.py": "x = 1\n"},
    "sideways": {
        "zoo/tasks/a.py": "def f():\n    from zoo.methods.b import x\n    return x\n",
        "zoo/methods/b.py": "x = 1\n",
    },
    "circle of files": {
        "zoo/ops/a.py": "from zoo.ops.b import y\nx = y\n",
        "zoo/ops/b.py": "from zoo.ops.a import x\ny = x\n",
    },
    "has no room": {"zoo/cellar/a.py": "x = 1\n"},
    "hidden by the folder": {"zoo/report.py": "x = 1\n", "zoo/report/a.py": "x = 1\n"},
    "imports a command": {"zoo/train.py": "from zoo.list import x\ny = x\n", "zoo/list.py": "x = 1\n"},
    "slow to start": {
        "zoo/pairing.py": "from zoo.prefix import x\ny = x\n",
        "zoo/prefix.py": "import lightning as x\ny = x\n",
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(tmp_path: Path, fault: str) -> None:
    for name, text in FAULTS[fault].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    problems, _ = check_floors.judged(check_floors.parsed(tmp_path))
    assert any(problem.startswith(fault) for problem in problems), problems


def test_a_tree_without_faults_has_none(tmp_path: Path) -> None:
    for name, text in {"zoo/report/a.py": "from zoo.ops.b import x\ny = x\n", "zoo/ops/b.py": "x = 1\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert check_floors.judged(check_floors.parsed(tmp_path)) == ([], {("zoo report", "zoo ops")})
