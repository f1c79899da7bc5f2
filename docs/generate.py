"""The pages of the site that nobody writes: commands, the API, recipes, cards, benchmarks. Imports no mkdocs, no torch.

`pages()` gives them by their path in the site. They are made from docstrings, which are read as text, from
recipes, model cards and their evidence. `relink` turns links between files of the repository into links between
pages, so that a document's links hold in the repository and on the site.
"""

import ast
import importlib
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
from zoo.shell.commands import GROUPS, commands

ROOT = Path(__file__).resolve().parents[1]

API: dict[str, Sequence[str]] = {
    "Front door": ("zoo", "zoo/api/*.py", "zoo.tasks.results", "zoo.pairing", "zoo.batch"),
    "Methods": ("zoo/methods/*.py",),
    "Tasks": ("zoo/tasks/*.py",),
    "Backbones": ("zoo/backbones/*.py",),
    "Training": (
        "zoo.prefix",
        "zoo.training.look",
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

COMMANDS = """# Commands

`zoo` alone lists them; `zoo COMMAND --help` says what stands on its page, for these are made from the commands' own
texts. `python -m zoo.train` does the same as `zoo train`. In a shell, `zoo completion bash` (zsh, fish) prints the
script that completes them.
"""

CHECKS = """
## Is my copy of the data complete?

`python -m NAME --check DIR` opens every file of a data set and says what is missing, damaged or too much.

| data | what they are |
| --- | --- |
"""

RECIPE_KEYS = """
Every key of the recipe may follow, such as `trainer.max_epochs=3`: `--help` beside `recipe=NAME` lists them.
"""

EXAMPLES = "data_modules.examples"


def _commands() -> dict[str, str]:
    index, made, purposes = COMMANDS, {}, commands()
    groups = {**GROUPS, "example files": (EXAMPLES,)}
    further = [name for name in purposes if not any(name in names for names in groups.values())]
    for group, names in {**groups, "further": further}.items():
        index += f"\n## {group.capitalize()}\n\n| command | what it does |\n| --- | --- |\n" if names else ""
        for name in names:
            module = name if "." in name else f"zoo.{name}"
            usage, purpose, body = _described(ast.get_docstring(_tree(module)) or "")
            made[page := f"commands/{name}.md"] = (
                f"# {_typed(module)}\n\n{purpose}\n\n```text\n{usage}\n```\n\n{body}\n"
            )
            made[page] += _arguments(module)
            index += f"| [`{_typed(module)}`]({name}.md) | {_cell(purpose)} |\n"
    index += CHECKS
    for name in modules()["Data"]:
        if "import check_command" in _file(name).read_text(encoding="utf-8"):
            index += f"| [`{name}`](../api/{name}.md) | {_cell(_said(name))} |\n"
    return {"commands/index.md": index, **made}


def _described(document: str) -> tuple[str, str, str]:
    """Usage, purpose and the rest of a command's docstring: `` `USAGE`: purpose.``, then paragraphs."""
    first, _, rest = re.sub(r"python -m (zoo\.\w+)", lambda match: _typed(match[1]), document).partition("\n")
    usage, _, purpose = first.rpartition("`: ")
    # Of blank lines alone: a block that comes first is indented.
    return usage.strip("`").replace("`, or `", " | "), f"{purpose[:1].upper()}{purpose[1:]}", rest.strip("\n")


def _arguments(module: str) -> str:
    """A table of the keys that a command which trains a recipe has of its own."""
    if "EXTRA" not in _file(module).read_text(encoding="utf-8"):
        return ""
    own: dict[str, str] = importlib.import_module(module).EXTRA
    rows = "".join(f"| `{key}=` | {_cell(meaning)} |\n" for key, meaning in own.items())
    return f"\n## Arguments of its own\n\n| key | meaning |\n| --- | --- |\n{rows}{RECIPE_KEYS}"


def _typed(module: str) -> str:
    """`zoo train` of `zoo.train`."""
    return module.replace(".", " ") if module.startswith("zoo.") else f"python -m {module}"


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


def _tree(name: str) -> ast.Module:
    return ast.parse(_file(name).read_text(encoding="utf-8"))


def _said(name: str) -> str:
    """The first paragraph of a module's docstring."""
    return (ast.get_docstring(_tree(name)) or "").partition("\n\n")[0]


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
    if path.endswith(".py") and name.removeprefix("zoo.") in commands():
        return f"commands/{name.removeprefix('zoo.')}.md"
    if path.endswith(".py") and any(name in names for names in modules().values()):
        return f"api/{name}.md"
    return ""


def navigation(nav: Sequence[Any], made: Mapping[str, str]) -> list[Any]:
    """The site's navigation with each entry `FOLDER/*` replaced by the generated pages of that folder."""
    found: list[Any] = []
    for entry in nav:
        match entry:
            case str() if entry == "api/*":
                found += [{head: [{name: f"api/{name}.md"} for name in names]} for head, names in modules().items()]
            case str() if entry.endswith("/*"):
                names = {page: Path(page).stem for page in made if page.startswith(entry.removesuffix("*"))}
                found += [{name: page} for page, name in names.items() if name != "index"]
            case dict():
                found.append({t: navigation(v, made) if isinstance(v, list) else v for t, v in entry.items()})
            case _:
                found.append(entry)
    return found


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
