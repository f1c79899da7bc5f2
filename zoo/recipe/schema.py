"""The schema of a recipe block is the typed signature of the class or function that its `_target_` names.

Signatures are read from source files with `ast`: nothing is imported, so a mistake is reported in about a second and
before torch, weights or data are touched.
"""

import ast
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from zoo.wording import nearest

MISSING = "???"

TARGET = "_target_"

OURS = ("zoo.", "data_modules.")


class SchemaError(Exception):
    """A `_target_` cannot be found."""


@dataclass(frozen=True)
class Parameter:
    """One key of a block: its annotation, default (both as source text) and meaning from the docstring.

    A default that is a constant of its module is given as that constant's value.
    """

    name: str
    annotation: str
    default: str | None
    meaning: str

    @property
    def value(self) -> Any:
        """The default as a plain value, or its source text where it is none."""
        try:
            return ast.literal_eval(self.default or "None")
        except ValueError:
            return self.default

    @property
    def awaits(self) -> bool:
        """Whether the value is called by who receives it, with further arguments of his own."""
        return self.annotation.startswith("Callable[")

    def shown(self, block: Mapping[str, Any]) -> str:
        """`key=value` as a recipe would write it: the block's value, else the default."""
        value = block.get(self.name, self.value)
        if isinstance(value, str):
            return f"{self.name}={value}"
        return f"{self.name}={json.dumps(value).replace(chr(34), '')}"


@cache
def signature(target: str, supplied: int | None = None) -> dict[str, Parameter]:
    """Parameters that a recipe may set on `package.module.Name`.

    Args:
        target: the dotted path.
        supplied: how many of the first the program supplies; None by our own convention: those before a `*`, of which
            a signature without one has none.

    Raises:
        SchemaError: no such module or name; the message suggests the nearest.
    """
    found, tree = definition(target)
    if isinstance(found, ast.FunctionDef):
        return _parameters(found, _meanings(ast.get_docstring(found)), tree, supplied)
    return _class(found, tree, supplied)


def definition(target: str) -> tuple[ast.ClassDef | ast.FunctionDef, ast.Module]:
    """Source of a class or function, found also where a module only imports it, and the module that it stands in.

    Raises:
        SchemaError: no such module or name; the message suggests the nearest.
    """
    module, _, name = target.rpartition(".")
    tree = _tree(module, target)
    found = _definition(tree, name)
    if found is None:
        origin = imported(tree, name)
        if origin:
            return definition(origin)
        names = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name[0] != "_"]
        raise SchemaError(f"module {module} has no '{name}'.{nearest(name, names)}")
    return found, tree


@cache
def attributes(target: str) -> dict[str, Any]:
    """Plain values that a class assigns in its body (`kind = "classification"`), its bases' before its own.

    Raises:
        SchemaError: no such module or name.
    """
    node, tree = definition(target)
    return _attributes(node, tree)


def constant(path: str) -> Any:
    """Plain value of a module's constant, `data_modules.ave.DISTRIBUTOR` for instance; None where there is none.

    Raises:
        SchemaError: no such module.
    """
    module, _, name = path.rpartition(".")
    value = _constant(_tree(module, path), name)
    return ast.literal_eval(value) if value else None


def _attributes(node: ast.ClassDef | ast.FunctionDef, tree: ast.Module) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for base in map(ast.unparse, node.bases if isinstance(node, ast.ClassDef) else []):
        origin = imported(tree, base) or ""
        if origin.startswith(OURS):
            values |= attributes(origin)
        elif parent := _definition(tree, base):
            values |= _attributes(parent, tree)
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        if isinstance(target, ast.Name) and isinstance(value := getattr(line, "value", None), ast.Constant):
            values[target.id] = value.value
    return values


def _class(node: ast.ClassDef, tree: ast.Module, supplied: int | None) -> dict[str, Parameter]:
    meanings = _meanings(ast.get_docstring(node))
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        return _parameters(init, meanings, tree, supplied)
    inherited: dict[str, Parameter] = {}
    for base in node.bases:
        name = ast.unparse(base)
        parent = _definition(tree, name)
        if isinstance(parent, ast.ClassDef):
            inherited |= _class(parent, tree, supplied)
        elif origin := imported(tree, name):
            try:
                inherited |= signature(origin, supplied)
            except SchemaError:  # a base of another package, e.g. torch's: it has no settings of ours
                continue
    decorated = any("dataclass" in ast.unparse(d) for d in node.decorator_list)
    fields = (
        [n for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)] if decorated else []
    )
    own = {
        field.target.id: Parameter(
            field.target.id,
            ast.unparse(field.annotation),
            ast.unparse(field.value) if field.value else None,
            meanings.get(field.target.id, ""),
        )
        for field in fields
        if isinstance(field.target, ast.Name)
    }
    return inherited | own


def _parameters(
    node: ast.FunctionDef, meanings: Mapping[str, str], tree: ast.Module, supplied: int | None
) -> dict[str, Parameter]:
    spec = node.args
    named = list(zip(spec.kwonlyargs, spec.kw_defaults, strict=True))
    plain = [a for a in [*spec.posonlyargs, *spec.args] if a.arg not in ("self", "cls")]
    pairs = list(zip(plain, [None] * (len(plain) - len(spec.defaults)) + list(spec.defaults), strict=True))
    if supplied is not None:
        pairs = [*pairs[supplied:], *named]
    elif named:
        pairs = named
    return {
        a.arg: Parameter(
            a.arg,
            ast.unparse(_Spelled(tree).visit(a.annotation)) if a.annotation else "Any",
            ast.unparse(_constant(tree, ast.unparse(default)) or default) if default else None,
            meanings.get(a.arg, ""),
        )
        for a, default in pairs
    }


class _Spelled(ast.NodeTransformer):
    """Aliases of a `Literal` in an annotation, written out: defined in the module or imported from another one."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The alias's own definition, or the name as it is."""
        value = _constant(self.tree, node.id)
        return value if value and ast.unparse(value).startswith("Literal[") else node


def _meanings(docstring: str | None) -> dict[str, str]:
    """The `Args:` section of a docstring, by name, each on one line."""
    found: dict[str, str] = {}
    inside, name = False, ""
    for line in (docstring or "").splitlines():
        if line.strip() == "Args:":
            inside = True
        elif inside and line.startswith("    ") and line.strip():
            head, colon, text = line.strip().partition(":")
            if colon and not line.startswith("     ") and head.isidentifier():
                name = head
                found[name] = text.strip()
            elif name:
                found[name] += " " + line.strip()
        elif inside and line.strip():
            break
    return found


def _definition(tree: ast.Module, name: str) -> ast.ClassDef | ast.FunctionDef | None:
    nodes = (n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef))
    return next((n for n in nodes if n.name == name), None)


def imported(tree: ast.Module, name: str) -> str | None:
    """Dotted path of what a name stands for by `from module import ... [as name]`."""
    for node in (n for n in tree.body if isinstance(n, ast.ImportFrom)):
        for alias in node.names:
            if name == (alias.asname or alias.name):
                return f"{node.module}.{alias.name}"
    return None


def _constant(tree: ast.Module, name: str) -> ast.expr | None:
    """The value that a module assigns to a name, or imports from another of our modules."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value
    origin = imported(tree, name) or ""
    module, _, original = origin.rpartition(".")
    return _constant(_tree(module, origin), original) if origin.startswith(OURS) else None


def _tree(module: str, target: str) -> ast.Module:
    if not module or not all(part.isidentifier() for part in target.split(".")):
        raise SchemaError(f"{target!r} is no dotted path such as zoo.methods.tb_ava.TBAVA")
    return tree(module)


@cache
def tree(module: str) -> ast.Module:
    """A module's source, parsed.

    Raises:
        SchemaError: there is no such module, or it has no source.
    """
    path = _file(module)
    if path.suffix != ".py" or not path.is_file():  # "frozen" and "built-in" are origins, too
        raise SchemaError(f"module '{module}' has no source to read; expected a class of the zoo or of your own file")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise SchemaError(f"{path} is no Python source: {error}") from None


@cache
def _file(module: str) -> Path:
    """Source file of a module; of its parents only the top one is looked up, and none is imported."""
    top, *rest = module.split(".")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError):
        spec = None
    if spec is None:
        raise SchemaError(f"no module '{top}' is installed.{nearest(top, ['zoo', 'data_modules'])}")
    if not rest and spec.origin:
        return Path(spec.origin)
    folders = [Path(p) for p in spec.submodule_search_locations or []]
    for folder in folders:
        base = folder.joinpath(*rest)
        for path in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if path.is_file():
                return path
    known = sorted(p.stem for folder in folders for p in folder.joinpath(*rest[:-1]).glob("*.py"))
    raise SchemaError(f"no module '{module}'.{nearest(rest[-1], [k for k in known if k[0] != '_'])}")
