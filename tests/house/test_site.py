"""The documentation site: everything has a page, every page a place, every link a target, nothing comes from outside.

Without mkdocs these look at the Markdown; with the extra `docs` a slow test builds the site and looks at its HTML.
"""

import importlib
import importlib.util
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

import pytest
import yaml

from zoo.command_line import OPTIONS
from zoo.recipe import compose
from zoo.shell.commands import commands

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import choice  # noqa: E402
import generate  # noqa: E402

CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
WRITTEN = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}


generated = cache(generate.pages)


@cache
def pages() -> dict[str, str]:
    """Every page as it is built, by path."""
    written = {
        path: generate.relink((DOCS / path).read_text(encoding="utf-8"), f"docs/{path}", path) for path in WRITTEN
    }
    return written | generated()


def listed(nav: Any) -> list[str]:
    """Pages of a navigation."""
    match nav:
        case str():
            return [nav]
        case dict():
            return [page for value in nav.values() for page in listed(value)]
        case _:
            return [page for entry in nav for page in listed(entry)]


def anchors(markdown: str) -> set[str]:
    """Names of a page's headings, as Markdown's `toc` makes them."""
    heads = re.findall(r"^#+ (.*)$", generate.FENCED.sub("", markdown), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", re.sub(r"\]\([^)]*\)", "", head)).strip().lower() for head in heads]
    return {re.sub(r"[-\s]+", "-", head) for head in plain}


def test_every_page_stands_once_in_the_navigation_and_every_entry_is_a_page() -> None:
    found = listed(generate.navigation(CONFIG["nav"], generated()))
    assert sorted(found) == sorted(pages())


def test_every_command_recipe_adapter_and_method_has_a_page() -> None:
    made = generated()
    assert {f"commands/{name}.md" for name in commands()} <= set(made)
    assert {f"recipes/{name}.md" for name in compose.available()} <= set(made)
    assert {f"adapters/{path.parent.name}.md" for path in ROOT.glob("zoo/pretrained/*/README.md")} <= set(made)
    checks = {path.stem for path in ROOT.glob("data_modules/*.py") if "import check_command" in path.read_text("utf-8")}
    assert checks
    assert all(f"[`data_modules.{name}`]" in made["commands/index.md"] for name in checks)
    methods = {path.stem for path in (ROOT / "zoo" / "methods").glob("[!_]*.py")}
    assert {f"api/zoo.methods.{name}.md" for name in methods} <= set(made)


@pytest.mark.parametrize("name", commands())
def test_the_page_of_a_command_says_what_its_help_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"zoo.{name}")
    with pytest.raises(SystemExit):
        module.main(["--help"])
    page = " ".join(generated()[f"commands/{name}.md"].split()).lower()
    for line in (module.__doc__ or "").replace("python -m zoo.", "zoo ").splitlines()[1:]:
        assert " ".join(line.split()).lower() in page, line
    # Indented lines are a block of the page, the first ones too.
    assert [line for line in (module.__doc__ or "").splitlines() if line.startswith("    ")] == [
        line for line in generated()[f"commands/{name}.md"].splitlines() if line.startswith("    ")
    ]
    words = re.findall(r"^ {2,4}([a-z_.]+=|--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    assert {word for word in words if word not in OPTIONS and word not in page} == set()


def test_every_link_leads_to_a_page_a_heading_or_a_file() -> None:
    broken = []
    for page, markdown in pages().items():
        for _, target in re.findall(generate.LINK.pattern.replace("(?<!!)", ""), generate.FENCED.sub("", markdown)):
            file, _, anchor = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            path = normpath(join(dirname(page), file)) if file else page
            known = path in pages() or (DOCS / path).is_file()
            if not known or (anchor and anchor not in anchors(pages().get(path, ""))):
                broken.append(f"{page}: {target}")
    assert broken == []


def test_a_link_between_files_of_the_repository_leads_to_pages_on_the_site() -> None:
    text = "[a](zoo/methods/lora.py), [b](model_cards/mantis.md), [c](zoo/train.py), [d](zoo/errors.py), [e](#f)"
    assert generate.relink(text, "CONTRIBUTING.md", "contributing.md") == (
        "[a](api/zoo.methods.lora.md), [b](recipes/mantis.md), [c](commands/train.md), d, [e](#f)"
    )
    assert generate.relink("```md\n[a](zoo/errors.py)\n```\n", "README.md", "index.md").count("](zoo") == 1


def test_what_is_said_of_controls_follows_the_intervals() -> None:
    from zoo.catalog import holdings

    entries = {entry.name: entry for entry in holdings.read_catalog().recipes}
    said = choice.advice([entries["mantis"], entries["scale_earth"]])
    assert "beats the method in [`mantis`](mantis.md);" in said
    assert "beats all its controls in [`scale_earth`](scale_earth.md)." in said
    assert "not clearly worse than the method in `mantis`." in said


def test_pages_ask_no_other_server_for_anything() -> None:
    assert CONFIG["theme"]["font"] is False
    assert not [entry for key in ("extra_css", "extra_javascript") for entry in CONFIG.get(key, []) if "//" in entry]
    for page, markdown in pages().items():
        assert not re.search(r"!\[[^\]]*\]\(https?:|<(script|iframe|link)\b", generate.FENCED.sub("", markdown)), page


class Loaded(HTMLParser):
    """Addresses that a page makes a browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio"):
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") != "canonical":
            self.found.append(values.get("href") or "")


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mkdocstrings"), reason="the extra docs is not installed")
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "site").rglob("*.html"):
        loaded = Loaded()
        loaded.feed(path.read_text(encoding="utf-8"))
        assert [address for address in loaded.found if re.match(r"(https?:)?//", address)] == [], path
    for path in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", path.read_text(encoding="utf-8")), path
