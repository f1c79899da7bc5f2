"""What the documents say can be done."""

import importlib.util
import re
from pathlib import Path

import pytest

from zoo.adapter import places
from zoo.recipe import compose

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_test_command_of_the_readme_and_of_the_contribution_guide() -> None:
    command = README.partition("# install and run the tests\n")[2].splitlines()[0]
    assert command.endswith("-m pytest -n auto")
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert command in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


DOCUMENTS = (
    "README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))),
    *(f"model_cards/{name}.md" for name in compose.available()),
)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_names_a_module_a_recipe_and_an_adapter_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    commands = re.findall(r"(?:^(?:\S*/)?|`)(python -m |zoo )([a-z_]+(?:\.[a-z_0-9]+)*)([^`\n]*)", text, re.MULTILINE)
    assert commands or document in ("docs/concepts.md", "docs/tutorials/index.md")
    for way, name, words in commands:
        assert importlib.util.find_spec(f"zoo.{name}" if way == "zoo " else name), name
        for recipe in re.findall(r"recipe=([a-z]\w*)(?![\w./])", words):
            assert recipe in compose.available()
        for adapter in re.findall(r"(?:adapter|init)=([a-z][\w-]*)(?![\w/-])", words):
            assert adapter in places.bundled()


def test_the_readme_lists_every_recipe_and_links_to_files_that_exist() -> None:
    assert all(f"[`{name}`](model_cards/{name}.md)" in README for name in compose.available())
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []
