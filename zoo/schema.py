"""The schema of a recipe block is the typed signature of the class or function that its `_target_` names.

Signatures are read from source files with `ast`: nothing is imported, so a mistake is reported in about a second and
before torch, weights or data are touched.
"""

import ast
import difflib
import importlib.util
import json
import operator
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MISSING = "???"
TARGET = "_target_"


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

    def shown(self, block: Mapping[str, Any]) -> str:
        """`key=value` as a recipe would write it: the block's value, else the default."""
        value = block.get(self.name, self.default)
        if self.name not in block and self.default is not None:
            try:
                value = ast.literal_eval(self.default)
            except ValueError:
                return f"{self.name}={self.default}"
        if isinstance(value, str):
            return f"{self.name}={value}"
        return f"{self.name}={json.dumps(value).replace(chr(34), '')}"


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or the list of what there is."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(known)}." if known else ""


@cache
def signature(target: str) -> dict[str, Parameter]:
    """Parameters that a recipe may set on `package.module.Name`.

    Keyword-only parameters where the signature has a `*` (what stands before it the program supplies), else all.

    Raises:
        SchemaError: no such module or name; the message suggests the nearest.
    """
    module, _, name = target.rpartition(".")
    tree = _tree(module, target)
    found = _definition(tree, name)
    if found is None:
        origin = _imported(tree, name)
        if origin:
            return signature(f"{origin}.{name}")
        names = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name[0] != "_"]
        raise SchemaError(f"module {module} has no '{name}'.{nearest(name, names)}")
    if isinstance(found, ast.FunctionDef):
        return _parameters(found, _meanings(ast.get_docstring(found)), tree)
    return _class(found, tree)


def _class(node: ast.ClassDef, tree: ast.Module) -> dict[str, Parameter]:
    meanings = _meanings(ast.get_docstring(node))
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        return _parameters(init, meanings, tree)
    inherited: dict[str, Parameter] = {}
    for base in node.bases:
        name = ast.unparse(base)
        parent = _definition(tree, name)
        if isinstance(parent, ast.ClassDef):
            inherited |= _class(parent, tree)
        elif origin := _imported(tree, name):
            try:
                inherited |= signature(f"{origin}.{name}")
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


def _parameters(node: ast.FunctionDef, meanings: Mapping[str, str], tree: ast.Module) -> dict[str, Parameter]:
    constants = {
        n.targets[0].id: n.value for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)
    }
    spec = node.args
    if spec.kwonlyargs:
        pairs = list(zip(spec.kwonlyargs, spec.kw_defaults, strict=True))
    else:
        plain = [a for a in [*spec.posonlyargs, *spec.args] if a.arg not in ("self", "cls")]
        pairs = list(zip(plain, [None] * (len(plain) - len(spec.defaults)) + list(spec.defaults), strict=True))
    return {
        a.arg: Parameter(
            a.arg,
            ast.unparse(_Spelled(tree).visit(a.annotation)) if a.annotation else "Any",
            ast.unparse(constants.get(ast.unparse(default), default)) if default else None,
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
        tree = self.tree
        origin = _imported(tree, node.id)
        if origin and origin.partition(".")[0] in ("zoo", "data_modules"):
            tree = _tree(origin, origin)
        for item in tree.body:
            if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == node.id:
                return item.value if ast.unparse(item.value).startswith("Literal[") else node
        return node


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


def _imported(tree: ast.Module, name: str) -> str | None:
    """Module that `from module import name` names in this file."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any(a.name == name for a in node.names):
            return node.module
    return None


def _tree(module: str, target: str) -> ast.Module:
    if not module:
        raise SchemaError(f"'{target}' is no dotted path such as zoo.methods.tb_ava.TBAVA")
    return ast.parse(_file(module).read_text(encoding="utf-8"))


@cache
def _file(module: str) -> Path:
    """Source file of a module; of its parents only the top one is looked up, and none is imported."""
    top, *rest = module.split(".")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:
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


# --- types ------------------------------------------------------------------------------------------------------------

SIMPLE = {"int": int, "float": float, "bool": bool, "str": str, "Path": str}


BOUNDS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


def mismatch(value: Any, annotation: str) -> str | None:
    """None when `value` has the annotated type and keeps its bounds, else `expected X, got Y`."""
    if _fits(value, ast.parse(annotation, mode="eval").body):
        return None
    return f"expected {readable(annotation)}, got {value!r} ({type(value).__name__})"


def readable(annotation: str) -> str:
    """An annotation for a reader: `Annotated[int, '>= 1']` becomes `int >= 1`."""
    return re.sub(
        r"Annotated\[(\w+), ([^\]]*)\]", lambda m: f"{m[1]} {m[2].replace(', ', ' and ')}".replace("'", ""), annotation
    )


def _fits(value: Any, node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _fits(value, node.left) or _fits(value, node.right)
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # a forward reference
            return _fits(value, ast.parse(node.value, mode="eval").body)
        return value is None if node.value is None else True
    if isinstance(node, ast.Subscript):
        return _fits_generic(value, ast.unparse(node.value).rpartition(".")[2], node.slice)
    name = ast.unparse(node).rpartition(".")[2]
    if name in ("list", "tuple", "Sequence"):
        return isinstance(value, list)
    if name in ("dict", "Mapping"):
        return isinstance(value, dict)
    if name not in SIMPLE:
        return True
    if isinstance(value, bool) or name == "bool":
        return isinstance(value, bool) and name == "bool"
    return isinstance(value, (int, float) if name == "float" else SIMPLE[name])


def _fits_generic(value: Any, name: str, inner: ast.expr) -> bool:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Annotated":
        rules = [p.value for p in parts[1:] if isinstance(p, ast.Constant) and isinstance(p.value, str)]
        return _fits(value, parts[0]) and all(BOUNDS[op](value, float(b)) for op, b in (r.split() for r in rules))
    if name == "Literal":
        return any(isinstance(p, ast.Constant) and type(p.value) is type(value) and p.value == value for p in parts)
    if name == "Optional":
        return value is None or _fits(value, parts[0])
    if name in ("list", "Sequence", "tuple"):
        if not isinstance(value, list):
            return False
        if name == "tuple" and not (isinstance(parts[-1], ast.Constant) and parts[-1].value is ...):
            return len(value) == len(parts) and all(_fits(v, p) for v, p in zip(value, parts, strict=True))
        return all(_fits(v, parts[0]) for v in value)
    if name in ("dict", "Mapping"):
        return isinstance(value, dict) and all(_fits(k, parts[0]) and _fits(v, parts[1]) for k, v in value.items())
    return True


def text_only(annotation: str) -> bool:
    """Whether every value of this type is text (or null): a word such as `no` or `012` then stays as it is typed."""
    parts = {part.strip() for part in annotation.split("|")} - {"None"}
    return all(part in ("str", "Path") or part.startswith("Literal[") for part in parts)
