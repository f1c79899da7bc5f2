"""Types of a recipe's values: whether a value has the type that an annotation names, and the annotation in words.

Annotations are source text (`Annotated[int, '>= 1'] | None`), as `zoo.recipe.schema` reads them; nothing is evaluated.
"""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

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
    annotation = re.sub(r"Callable\[\.\.\., [\w.]+\]", "a block with _target_", annotation)
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
    if name == "Callable":  # a block with a target, which is no plain value
        return False
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
