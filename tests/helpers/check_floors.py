"""`python tests/helpers/check_floors.py [ROOT]`: do imports run downwards only, and in no circle?

Reads every module of PACKAGES below ROOT (default: the working directory) as text; nothing is imported. A module stands
in the first room of FLOORS whose pattern matches its path. An arrow is an import from one room to another: at the top
of a file, inside a function ("late"), or under TYPE_CHECKING ("typing", listed and not judged). It may only go to a
lower floor; among files there may be no circle of top-level imports. Some files must be quick to
start: what they import at the top, directly or through others, may not contain the packages that WITHOUT names.

Exit code 1: an arrow upwards or sideways, a circle, a module without a room, a folder that hides a file of its name, a
command that another module imports, or a slow import.
"""

import ast
import fnmatch
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("zoo", "data_modules")

BASE = ("errors", "files", "version", "wording", "quiet")
FLOORS: list[dict[str, list[str]]] = [  # from the ground up; a room's one purpose stands in its __init__.py
    {"zoo base": [f"zoo/{name}.py" for name in BASE]},
    {"zoo batch": ["zoo/batch.py"], "zoo ops": ["zoo/ops/*"]},
    {
        "zoo metrics": ["zoo/metrics/*"],
        "data errors": ["data_modules/errors.py"],
    },
    {"zoo backbones": ["zoo/backbones/*"], "data readers": ["data_modules/readers/*"]},
    {
        "zoo methods": ["zoo/methods/*"],
        "zoo tasks": ["zoo/tasks/*"],
        "data base": ["data_modules/base.py", "data_modules/check.py", "data_modules/__init__.py"],
    },
    {
        "zoo pairing": ["zoo/pairing.py", "zoo/prefix.py", "zoo/predictions.py"],
        "data kinds": ["data_modules/kinds/*"],
    },
    {
        "zoo recipe": ["zoo/recipe/*"],
        "data folder": ["data_modules/folder/*"],
        "data synthetic": ["data_modules/synthetic/*"],
    },
    {"zoo records": ["zoo/records/*"], "data sets": ["data_modules/*.py"]},
    {"zoo adapter": ["zoo/adapter/*"]},
    {"zoo report": ["zoo/report/*"]},
    {"zoo catalog": ["zoo/catalog/*"]},
    {"zoo training": ["zoo/training/*"], "zoo inference": ["zoo/inference/*"], "zoo search": ["zoo/search/*"]},
    {"zoo interop": ["zoo/interop/*"], "zoo demos": ["zoo/demos/*"], "zoo cells": ["zoo/cells/*"]},
    {"zoo api": ["zoo/api/*"]},
    {"zoo words": ["zoo/command_line.py"]},
    {"zoo shell": ["zoo/shell/*"]},
    {"zoo commands": ["zoo/*.py"]},
]
COMMANDS = "zoo commands"
API = ("zoo/__init__.py", "zoo/__main__.py")
"""They may import what commands may; what they are imported for (the bare package) is no arrow."""
WITHOUT = {
    "zoo/__init__.py": ("torch", "lightning", "torchmetrics"),
    "zoo/__main__.py": ("torch",),
    "zoo/shell/*": ("torch", "numpy"),
    "zoo/completion.py": ("torch",),
    "zoo/list.py": ("torch",),
    "zoo/show.py": ("torch",),
    "zoo/doctor.py": ("torch",),
    "zoo/train.py": ("torch",),  # --help of a command, and its mistakes, come before torch
    "zoo/evaluate.py": ("torch",),
    "zoo/export.py": ("torch",),
    "zoo/convert.py": ("torch",),
    "zoo/import_peft.py": ("torch",),
    "zoo/demo.py": ("torch",),
    "zoo/predict.py": ("torch",),
    "zoo/foreign.py": ("torch",),
    "zoo/compare.py": ("torch",),
    "zoo/place.py": ("torch",),
    "zoo/sweep.py": ("torch",),
    "zoo/matrix.py": ("torch",),
    "zoo/pull.py": ("torch",),
    "zoo/push.py": ("torch",),
    "zoo/cards.py": ("torch",),
    "zoo/reproduce.py": ("torch",),
    "zoo/inference/*": ("lightning", "torchmetrics"),
    "zoo/pairing.py": ("lightning", "torchmetrics"),
    "zoo/recipe/build.py": ("lightning", "torchmetrics"),
    "zoo/tasks/*": ("lightning", "torchmetrics"),
    "zoo/methods/*": ("lightning", "torchmetrics"),
    "data_modules/*": ("lightning", "torchmetrics"),
}
Name = tuple[str, str]  # file, top-level definition ("" where it is none)


@dataclass
class Module:
    """A parsed file: where each imported name comes from, and what each definition uses."""

    path: str
    lines: int
    uses: list[tuple[str, Name, str, int]] = field(default_factory=list)  # by definition: what, kind of import, line
    spans: Counter[str] = field(default_factory=Counter)  # lines of each definition


def main() -> int:
    """Print a table of rooms, then what is wrong."""
    root = Path(sys.argv[1] if sys.argv[1:] else ".")
    modules = parsed(root)
    problems, arrows = judged(modules)
    print(f"{'floor':>5} {'room':16}{'files':>6}{'lines':>7}{'in':>4}{'out':>5}  imports")
    for number, floor in reversed(list(enumerate(FLOORS))):
        for name in floor:
            own = [module.lines for path, module in modules.items() if room(path) == name]
            into, out = {a for a, b in arrows if b == name}, {b for a, b in arrows if a == name}
            print(f"{number:5} {name:16}{len(own):6}{sum(own):7}{len(into):4}{len(out):5}  {', '.join(sorted(out))}")
    print(f"\n{len(problems)} problems")
    print("\n".join(problems))
    return 1 if problems else 0


def parsed(root: Path) -> dict[str, Module]:
    """Every module below a folder, by its path."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    files = {path.relative_to(root).as_posix(): path for path in paths}
    return {name: parse(name, path, files) for name, path in files.items()}


def judged(modules: dict[str, Module]) -> tuple[list[str], set[tuple[str, str]]]:
    """What is wrong with the imports of a tree, and all arrows between its rooms."""
    problems: list[str] = []
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    between: dict[str, set[str]] = defaultdict(set)
    packages: dict[str, set[str]] = defaultdict(set)
    for here, module in modules.items():
        for _, used, kind, number in module.uses:
            there = used[0]
            if there.startswith("*"):
                packages[here].update({there[1:]} if kind == "top" else ())
                continue
            if here == there or there in API:
                continue
            if kind == "top":
                between[here].add(there)
            a, b, at = room(here), room(there), f"{here}:{number} -> {there} ({used[1] or 'module'})"
            if a and b and a != b and kind != "typing":
                arrows[a, b].append(at)
            elif a == b == COMMANDS and here not in API:
                problems.append(f"imports a command: {at}")
    problems += [f"has no room: {path}" for path in modules if not room(path)]
    folders = {path.rpartition("/")[0] for path in modules}
    problems += [f"hidden by the folder of its name: {path}" for path in modules if path.removesuffix(".py") in folders]
    for start in modules:
        for pattern, unwanted in WITHOUT.items():
            if fnmatch.fnmatch(start, pattern):
                # Said once, of the file nearest to the cause.
                problems += [
                    f"slow to start: {' -> '.join(way)}"
                    for way in ways(start, unwanted, between, packages)
                    if not any(fnmatch.fnmatch(file, pattern) for file in way[1:-1])
                ]
    level = {name: n for n, floor in enumerate(FLOORS) for name in floor}
    for (a, b), found in sorted(arrows.items()):
        if level[b] >= level[a]:
            where = "upwards" if level[b] > level[a] else "sideways"
            problems += [f"{where}: {a} -> {b}: {line}" for line in sorted(set(found))]
    graph: dict[str, set[str]] = defaultdict(set)
    for a, b in arrows:
        graph[a].add(b)
    problems += [f"circle of rooms: {' <-> '.join(group)}" for group in circles(graph)]
    problems += [f"circle of files: {' <-> '.join(group)}" for group in circles(between)]
    return problems, set(arrows)


def room(path: str) -> str:
    """The first room with a pattern for this path; of files at the top, exact names go before `*`."""
    for exact in (True, False):
        for floor in FLOORS:
            for name, patterns in floor.items():
                for pattern in patterns:
                    alike = path == pattern if exact else fnmatch.fnmatch(path, pattern)
                    # A star for files at the top means no folder.
                    if alike and (not pattern.endswith("/*.py") or path.count("/") == pattern.count("/")):
                        return name
    return ""


def parse(name: str, path: Path, files: dict[str, Path]) -> Module:
    """One file: definitions, imports, and which definition uses which import or other definition."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    module = Module(name, text.count("\n"))
    package = name.split("/")[:-1]
    names: dict[str, tuple[Name, str, int]] = {}  # bound at the top: what, kind, line
    own = {}
    for node in tree.body:
        for bound in defined(node):
            own[bound] = node
            module.spans[bound] += (node.end_lineno or 0) - node.lineno + 1 if bound == next(iter(defined(node))) else 0
    for node in tree.body:
        kind = "typing" if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) else "top"
        for inner in node.body if isinstance(node, ast.If) else [node]:
            for bound, target, number in imports(inner, package, files):
                names[bound] = (target, kind, number)
    taken = set()
    for node in tree.body:
        unit = next(iter(defined(node)), "")
        local = dict(names)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import | ast.ImportFrom) and inner is not node:
                for bound, target, number in imports(inner, package, files):
                    kind = names[bound][1] if names.get(bound, ("", ""))[0] == target else "late"
                    local[bound] = (target, "late" if kind == "late" else kind, number)
        for used, attribute, number in mentioned(node):
            if used in local and not isinstance(node, ast.Import | ast.ImportFrom):
                (file, symbol), kind, _ = local[used]
                taken.add(used)
                module.uses.append((unit, (file, symbol or attribute), kind, number))
            elif used in own and used != unit:
                module.uses.append((unit, (name, used), "top", number))
    for bound, (target, kind, number) in names.items():  # imported to be handed on
        if bound not in taken:
            module.uses.append(("", target, kind, number))
    return module


def defined(node: ast.stmt) -> Iterator[str]:
    """Names that a statement at the top of a file defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        for inner in ast.walk(target):
            if isinstance(inner, ast.Name):
                yield inner.id


def imports(node: ast.stmt, package: list[str], files: dict[str, Path]) -> Iterator[tuple[str, Name, int]]:
    """What an import binds, of the packages that are looked at: name, (file, definition), line."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            file = located(alias.name.split("."), files) or "*" + alias.name.split(".")[0]
            yield (alias.asname or alias.name.split(".")[0]), (file, ""), node.lineno
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        base = [*base, *(node.module or "").split(".")] if node.module else base
        for alias in node.names:
            if file := located([*base, alias.name], files):
                yield alias.asname or alias.name, (file, ""), node.lineno
            else:
                file = located(base, files) or "*" + base[0]
                yield alias.asname or alias.name, (file, alias.name), node.lineno


def located(parts: list[str], files: dict[str, Path]) -> str:
    """The file of a dotted path."""
    stem = "/".join(parts)
    return next((name for name in (f"{stem}.py", f"{stem}/__init__.py") if name in files), "")


def mentioned(node: ast.AST) -> Iterator[tuple[str, str, int]]:
    """Names that are read, in code and in annotations that are text; with the attribute that is asked of them."""
    asked: set[int] = set()
    for inner in ast.walk(node):  # an attribute comes before the name that it is asked of
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            asked.add(id(inner.value))
            yield inner.value.id, inner.attr, inner.lineno
        elif isinstance(inner, ast.Name) and id(inner) not in asked:
            yield inner.id, "", inner.lineno
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value.isidentifier():
            yield inner.value, "", inner.lineno


def ways(
    start: str, unwanted: tuple[str, ...], between: dict[str, set[str]], packages: dict[str, set[str]]
) -> Iterator[list[str]]:
    """The shortest way from a file to each unwanted package, through imports at the top of files."""
    came: dict[str, str] = {start: ""}
    queue = [start]
    left = set(unwanted)
    for file in queue:
        for package in sorted(packages[file] & left):
            left.discard(package)
            way = [file]
            while came[way[-1]]:
                way.append(came[way[-1]])
            yield [*reversed(way), package]
        # A module's import runs the __init__.py of its folder first.
        faces = {f"{other.rpartition('/')[0]}/__init__.py" for other in between[file]} & between.keys() - {*API}
        for other in sorted(between[file] | faces):
            if other not in came:
                came[other] = file
                queue.append(other)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


if __name__ == "__main__":
    sys.exit(main())
