"""What CONTRIBUTING says of adding a method, a backbone, a benchmark and a task is followed word by word.

Every file that it shows is written into a copy of the tree, every command that it shows is run there.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"\n## Add a (\w+)\n(.*?)(?=\n## Add a |\n## House rules)", TEXT, re.DOTALL))
FILE = re.compile(r"^`([\w/.]+)`:\n\n(`{3,4})\w+\n(.*?)^\2$", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"^Add to `ORIGINS`:\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NEW = {"method": 4, "backbone": 3, "benchmark": 3, "task": 3}
"""Files that a section shows; cards are shown once."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The tree as links to its files, so that new ones can stand beside them; of the README a copy."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for path in ROOT.iterdir():
        if path.is_dir() and path.name != "runs" and (path.name == ".ci" or not path.name.startswith(".")):
            shutil.copytree(path, tmp_path / path.name, copy_function=os.symlink, ignore=ignored)
        elif path.is_file() and path.name not in ("README.md", ".git"):
            (tmp_path / path.name).symlink_to(path)
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def follow(section: str, tree: Path) -> str:
    """Write the files of a section and run its commands; what the last one says."""
    for name, _, content in FILE.findall(section):
        assert not (tree / name).exists(), name
        (tree / name).write_text(content, encoding="utf-8")
    for line in LINE.findall(section):
        table = tree / "zoo" / "backbones" / "origins.py"
        text = table.read_text(encoding="utf-8").replace("ORIGINS = {\n", f"ORIGINS = {{\n{line}", 1)
        table.unlink()
        table.write_text(text, encoding="utf-8")
    said = ""
    # A file that stands at the root of another package would be found before the tree's own.
    environment = os.environ | {"PYTHONPATH": str(tree)}
    for command in COMMANDS.findall(section)[-1].splitlines():
        program, *words = shlex.split(command)
        assert program == "python"
        done = subprocess.run(
            [sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}\n{said}"
    return said


def test_every_section_shows_its_files_and_commands() -> None:
    assert {name: len(FILE.findall(section)) for name, section in SECTIONS.items()} == NEW
    assert all(COMMANDS.findall(section) for section in SECTIONS.values())


def test_the_code_shown_is_in_the_style_of_the_house(tree: Path) -> None:
    names = []
    for section in SECTIONS.values():
        for name, _, content in FILE.findall(section):
            (tree / name).write_text(content, encoding="utf-8")
            names += [name] * name.endswith(".py")
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *words, *names], cwd=tree, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", NEW)
def test_a_section_can_be_followed_word_by_word(name: str, tree: Path) -> None:
    said = follow(SECTIONS[name], tree)
    if name == "task":
        report = {path.name for path in (tree / "runs" / "verification" / "report").iterdir()}
        assert report == {"curves.png", "clouds.png"}
        lines = [json.loads(line) for line in (tree / "verdicts.jsonl").read_text().splitlines()]
        assert {line["verdict"] for line in lines} <= {"chair", "not chair"}
        assert len(list((tree / "drawn").rglob("*.png"))) == len(lines)
    assert "passed" in said or name == "backbone"
