"""What the documents say can be done."""

import importlib.util
import re
from pathlib import Path

import pytest

from zoo.recipe import compose

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_runs_the_test_command_of_the_readme_and_of_the_contribution_guide() -> None:
    command = README.partition("# install and run the tests\n")[2].splitlines()[0]
    assert command.endswith("-m pytest -n auto")
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert command in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "document", ["README.md", "docs/scaling.md", *(f"model_cards/{name}.md" for name in compose.available())]
)
def test_every_command_names_a_module_and_a_recipe_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    commands = re.findall(r"^(?:\S*/)?python -m (\S+)(.*)$", text, re.MULTILINE)
    assert commands
    for module, words in commands:
        assert importlib.util.find_spec(module), module
        for name in re.findall(r"recipe=(\w+)", words):
            assert name in compose.available()


def test_the_readme_lists_every_recipe_and_links_to_files_that_exist() -> None:
    assert all(f"[`{name}`](model_cards/{name}.md)" in README for name in compose.available())
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []
