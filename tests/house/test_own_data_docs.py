"""The README's section about own data: its commands run as they stand there, and lead to an answer."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Your own data\n")[2].partition("\n## ")[0]
BLOCKS = {
    re.findall(r"data_modules\.examples (\w+)", block)[0]: block.strip().splitlines()
    for block in re.findall(r"```bash\n(.*?)```", SECTION, re.DOTALL)
}
ANSWERED = {"clips": "segments", "clouds": "label", "pictures": "label", "masks": "classes", "questions": "written"}
NEW_HEAD = "clouds"
"""The example whose classes are not those of the adapter that it starts from."""


def test_the_section_has_one_example_of_every_kind() -> None:
    assert set(BLOCKS) == set(ANSWERED)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ANSWERED)
def test_the_commands_about_own_data_run_as_they_stand(tmp_path: Path, kind: str) -> None:
    said = ""
    for line in BLOCKS[kind]:
        if line.startswith("#"):
            continue
        program, *words = shlex.split(line)
        assert program == "python"
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert ANSWERED[kind] in json.loads(said)
    run = tmp_path / "own" / f"{kind}_run"
    manifest = json.loads((run / "metrics.json").read_text())["manifest"]
    assert manifest["data"]["name"] == f"own files ({kind})"
    files = json.loads((run / "splits.json").read_text())["files"]
    assert set(files.values()) == {"train", "val", "test"}
    if "init=" in " ".join(BLOCKS[kind]):
        assert manifest["init"]["taken"] > 0
        assert bool(manifest["init"]["fresh"]) == (kind == NEW_HEAD)
