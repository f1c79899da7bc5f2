"""The pages of the site that nobody writes: commands, the API, recipes, cards, benchmarks. Imports no mkdocs, no torch.

`pages()` gives them by their path in the site. They are made from docstrings, which are read as text and never run,
from recipes, model cards and their evidence. `relink` turns links between files of the repository into links between
pages, so that a document's links hold in the repository and on the site.
"""

import ast
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from posixpath import normpath, relpath
from typing import Any

from choice import advice

from zoo.catalog import holdings, tables
from zoo.catalog.entries import Entry
from zoo.recipe import keys

ROOT = Path(__file__).resolve().parents[1]

API: dict[str, Sequence[str]] = {
    "Front door": ("zoo", "zoo.api.model", "zoo.api.training", "zoo.tasks.results", "zoo.pairing", "zoo.batch"),
    "Methods": ("zoo/methods/*.py",),
    "Tasks": ("zoo/tasks/*.py",),
    "Backbones": ("zoo/backbones/*.py",),
    "Training": (
        "zoo.prefix",
        "zoo.training.module",
        "zoo.training.loaders",
        "zoo.training.optimizer",
        "zoo.training.trainer",
        "zoo.training.fit",
        "zoo.training.measure",
        "zoo.ops.familiarity",
        "zoo.recipe.compose",
        "zoo.recipe.build",
    ),
    "Data": ("data_modules/*.py",),
}
"""Modules of the reference by heading: dotted names, or the files of a folder."""

READ = {"CONTRIBUTING.md": "contributing.md", "benchmarks/README.md": "benchmarks.md", "CHANGELOG.md": "changelog.md"}
"""Documents of the repository that are pages as they stand."""

SECTIONS = {
    "README.md#recipes": "recipes/index.md",
    "README.md#your-own-data": "own_data.md",
    "README.md": "index.md",
    "LICENSE": "",
}
"""Where a link to a document that is no page leads; the empty word keeps its text alone."""

LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")

FENCED = re.compile(r"^(`{3,}).*?^\1", re.DOTALL | re.MULTILINE)


def pages() -> dict[str, str]:
    """Markdown of every generated page by its path."""
    return {**_commands(), **_api(), **_recipes(), **_documents()}


# --- commands ---------------------------------------------------------------------------------------------------------

RECIPE_KEYS = """
Every key of the recipe may follow, such as `trainer.max_epochs=3`: `--help` beside `recipe=NAME` lists them.
"""

COMMANDS = """# Commands

These pages are made from the commands' own texts: `--help` prints the same.

| command | what it does |
| --- | --- |
"""

CHECKS = """
## Is my copy of the data complete?

`python -m NAME --check DIR` opens every file of a data set and says what is missing, damaged or too much.

| data | what they are |
| --- | --- |
"""


@cache
def commands() -> dict[str, tuple[str, ast.Module]]:
    """Docstring and syntax tree of every module that is a command, by dotted name."""
    found = {}
    for path in sorted([*ROOT.glob("zoo/*.py"), *ROOT.glob("data_modules/*.py")]):
        text = path.read_text(encoding="utf-8")
        document = ast.get_docstring(tree := ast.parse(text)) or ""
        if document.startswith("`") and 'if __name__ == "__main__"' in text:
            found[_dotted(path)] = (document, tree)
    return found


def _commands() -> dict[str, str]:
    index, made = COMMANDS, {}
    for name, (document, tree) in commands().items():
        usage, summary, body = _described(document)
        text = f"# {name}\n\n```text\n{usage}\n```\n\n{summary}\n\n{body}\n"
        if own := _literal(tree, "EXTRA"):
            text += "\n## Arguments of its own\n\n| key | meaning |\n| --- | --- |\n"
            text += "".join(f"| `{key}=` | {_cell(meaning)} |\n" for key, meaning in own.items()) + RECIPE_KEYS
        made[f"commands/{name}.md"] = text
        index += f"| [`{name}`]({name}.md) | {_cell(summary)} |\n"
    index += CHECKS
    for name in modules()["Data"]:
        text = _file(name).read_text(encoding="utf-8")
        if 'if __name__ == "__main__"' in text and "check_command(" in text:
            index += f"| [`{name}`](../api/{name}.md) | {_cell(_said(name))} |\n"
    return {"commands/index.md": index, **made}


def _described(document: str) -> tuple[str, str, str]:
    """Usage, one sentence, and the rest of a command's docstring: `` `USAGE`: sentence.``, then paragraphs."""
    first, _, rest = document.partition("\n")
    usage, _, summary = first.rpartition("`")
    usage, summary, rest = usage.strip("`").replace("`, or `", " | "), summary.strip(":. "), rest.strip()
    if not summary:
        summary, _, rest = re.sub(r"\.\s+", ".\0", rest, count=1).partition(".\0")
    return usage, f"{summary[:1].upper()}{summary[1:]}".rstrip(".?") + ("?" if "?" in summary[-1:] else "."), rest


def _literal(tree: ast.Module, name: str) -> dict[str, str]:
    """A dictionary of the module that is written out."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == [name]:
            value: dict[str, str] = ast.literal_eval(node.value)
            return value
    return {}


# --- the API ----------------------------------------------------------------------------------------------------------


@cache
def modules() -> dict[str, list[str]]:
    """Modules of the reference by heading; commands have pages of their own."""
    return {heading: list(_named(patterns)) for heading, patterns in API.items()}


def _named(patterns: Sequence[str]) -> Iterator[str]:
    for pattern in patterns:
        if "/" not in pattern:
            yield pattern
            continue
        for path in sorted(ROOT.glob(pattern)):
            if not path.name.startswith("_") and _dotted(path) not in API["Front door"]:
                yield _dotted(path)


def _file(name: str) -> Path:
    path = ROOT / f"{name.replace('.', '/')}.py"
    return path if path.is_file() else path.with_suffix("") / "__init__.py"


def _said(name: str) -> str:
    """The first paragraph of a module's docstring."""
    return (ast.get_docstring(ast.parse(_file(name).read_text(encoding="utf-8"))) or "").partition("\n\n")[0]


def _api() -> dict[str, str]:
    index, made = ["# API reference", "", "Made from signatures and docstrings; private names are left out.", ""], {}
    for heading, names in modules().items():
        index += [f"## {heading}", "", "| module | what it is |", "| --- | --- |"]
        for name in names:
            index.append(f"| [`{name}`]({name}.md) | {_cell(_said(name))} |")
            made[f"api/{name}.md"] = f"# {name}\n\n::: {name}\n"
        index.append("")
    return {"api/index.md": "\n".join(index), **made}


# --- recipes, cards, benchmarks ---------------------------------------------------------------------------------------


def _recipes() -> dict[str, str]:
    catalog = holdings.read_catalog()
    bundled = [entry for entry in catalog.adapters if entry.where == "bundled"]
    table = tables.markdown(catalog.recipes, bundled)
    table = re.sub(r"^\| `([\w-]+)` \|", r"| [`\1`](../adapters/\1.md) |", table, flags=re.MULTILINE)
    table = re.sub(r"\(model_cards/(\w+)\.md\)", r"(\1.md)", table)
    made = {"recipes/index.md": f"# Recipes and adapters\n\n{advice(catalog.recipes)}\n\n## All recipes\n\n{table}\n"}
    for entry in catalog.recipes:
        made[f"recipes/{entry.name}.md"] = _card(ROOT / "model_cards" / f"{entry.name}.md", entry)
    for entry in bundled:
        made[f"adapters/{entry.name}.md"] = _card(Path(entry.path) / "README.md", None, f"# {entry.name}\n\n")
    return made


def _card(path: Path, recipe: Entry | None, head: str = "") -> str:
    """A card without its front matter, which programs read; of a recipe with its file and keys."""
    body = path.read_text(encoding="utf-8").partition("\n---\n")[2].strip() if path.is_file() else ""
    body = re.sub(r"<!--.*?-->\n?", "", body)
    if head:
        body = re.sub(r"\A# (.*)", r"**\1**", body)
    if recipe is None:
        return f"{head}{body}\n"
    body = body or f"# {recipe.name}\n\n{recipe.about}"
    file = Path(recipe.path).read_text(encoding="utf-8").strip()
    known = keys.describe(recipe.name)
    return (
        f"{relink(body, f'model_cards/{path.name}', f'recipes/{path.name}')}\n\n## The recipe\n\n"
        f"```yaml\n{file}\n```\n\n## Every key\n\n"
        f"`KEY=VALUE` on the command line changes one; pieces named under `include:` have set some.\n\n"
        f"```text\n{known.strip()}\n```\n"
    )


def _documents() -> dict[str, str]:
    return {
        page: relink((ROOT / source).read_text(encoding="utf-8"), source, page)
        for source, page in READ.items()
        if (ROOT / source).is_file()
    }


# --- links and navigation ---------------------------------------------------------------------------------------------


def relink(text: str, source: str, page: str) -> str:
    """Links to files of the repository lead to their pages; where a file has none, the text alone stays.

    Args:
        text: Markdown; what stands in fenced blocks is left alone.
        source: path of the document in the repository.
        page: its path on the site.
    """
    parts, last = [], 0
    for block in FENCED.finditer(text):
        parts += [_relinked(text[last : block.start()], source, page), block[0]]
        last = block.end()
    return "".join([*parts, _relinked(text[last:], source, page)])


def _relinked(text: str, source: str, page: str) -> str:
    def replace(match: re.Match[str]) -> str:
        said, target = match.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return match[0]
        file, hashmark, anchor = target.partition("#")
        path = normpath(os.path.join(os.path.dirname(source), file))
        found = SECTIONS.get(f"{path}#{anchor}") if anchor else None
        if found is None:
            found, end = _page_of(path), hashmark + anchor
        else:
            end = ""
        return f"[{said}]({relpath(found, os.path.dirname(page) or '.')}{end})" if found else said

    return LINK.sub(replace, text)


def _page_of(path: str) -> str:
    """The page of a file of the repository; empty where it has none."""
    if path in SECTIONS or path in READ:
        return SECTIONS.get(path, "") or READ.get(path, "")
    name = path.removesuffix(".py").replace("/", ".")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("model_cards/") and path.endswith(".md"):
        return f"recipes/{path.removeprefix('model_cards/')}"
    if path.endswith(".py") and name in commands():
        return f"commands/{name}.md"
    if path.endswith(".py") and any(name in names for names in modules().values()):
        return f"api/{name}.md"
    return ""


def navigation(nav: Sequence[Any], made: Mapping[str, str]) -> list[Any]:
    """The site's navigation with each entry `FOLDER/*` replaced by the generated pages of that folder."""
    found: list[Any] = []
    for entry in nav:
        match entry:
            case str() if entry == "api/*":
                found += [{heading: [f"api/{name}.md" for name in names]} for heading, names in modules().items()]
            case str() if entry.endswith("/*"):
                folder = entry.removesuffix("*")
                found += [page for page in made if page.startswith(folder) and page != f"{folder}index.md"]
            case dict():
                found.append({t: navigation(v, made) if isinstance(v, list) else v for t, v in entry.items()})
            case _:
                found.append(entry)
    return found


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
