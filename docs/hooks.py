"""What mkdocs calls while it builds the site: generated pages join the written ones, links are turned into theirs."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]  # the site is this checkout's, whatever is installed

import generate  # noqa: E402

made: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Generate the pages, and put them into the navigation."""
    made.update(generate.pages())
    config.nav = generate.navigation(config.nav or [], made)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links of a written page to files of the repository lead to their pages."""
    path = page.file.src_uri
    return markdown if path in made else generate.relink(markdown, f"docs/{path}", path)
