"""What the tutorials and the first page show runs as it stands there, block by block, in one folder.

`<!-- file NAME -->` before a block writes it to a file, `<!-- slow -->` leaves the rest of the page to the slow tests,
and of the first page only blocks after `<!-- run -->` run: the others install the zoo.
"""

import re
import shlex
import sys
from pathlib import Path

import forked
import pytest

DOCS = Path(__file__).parents[2] / "docs"

PAGES = {"index": True, **dict.fromkeys(("clips", "clouds", "tiles", "method"), False)}
"""Whether a page names the blocks that run."""

SLOW = "<!-- slow -->"

BLOCK = re.compile(r"(?:^<!-- (file \S+|run) -->\n)?^```(bash|python|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

COMMANDS = re.compile(r"python -m |zoo ")


def text(page: str) -> str:
    path = DOCS / f"{page}.md"
    return (path if path.exists() else DOCS / "tutorials" / f"{page}.md").read_text(encoding="utf-8")


def follow(page: str, content: str, folder: Path) -> int:
    """Run the blocks of a page; how many."""
    count = 0
    for mark, language, code in BLOCK.findall(content):
        if mark.startswith("file "):
            (folder / mark.removeprefix("file ")).write_text(code, encoding="utf-8")
        elif language == "python" and (mark or not PAGES[page]):
            count += 1
            (folder / f"probe_{count}.py").write_text(code, encoding="utf-8")
            done = forked.command(f"probe_{count}", [], cwd=folder)
            assert done.returncode == 0, f"{code}\n{done.stderr}"
        elif language == "bash" and (mark or not PAGES[page]) and not code.startswith("# not run"):
            for line in code.splitlines():
                assert COMMANDS.match(line), line
                count += 1
                words = shlex.split(line, comments=True)
                if words[0] == "zoo":  # the same, and its imports are done
                    words = ["python", "-m", f"zoo.{words[1]}", *words[2:]]
                done = forked.run([sys.executable, *words[1:]], cwd=folder)
                assert done.returncode == 0, f"{line}\n{done.stderr}"
    return count


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=pytest.mark.slow) if page == "index" else page
        for page in PAGES
        if BLOCK.search(text(page).partition(SLOW)[0])
    ],
)
def test_a_page_runs_as_it_stands(page: str, tmp_path: Path) -> None:
    assert follow(page, text(page).partition(SLOW)[0], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if SLOW in text(page)])
def test_a_page_runs_as_it_stands_to_its_end(page: str, tmp_path: Path) -> None:
    assert follow(page, text(page), tmp_path)


def test_every_tutorial_is_run() -> None:
    assert {path.stem for path in (DOCS / "tutorials").glob("*.md")} - {"index"} == set(PAGES) - {"index"}
