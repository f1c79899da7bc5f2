"""Short names of methods, tasks, backbones and data: `method=lora` for `zoo.methods.lora.LoRA`.

A recipe may write `method: lora`, or `method: {_target_: lora, rank: 8}`; a command `method=lora method.rank=8`. The
names are those of the files in a room, or of the classes where a file has several (`clip_vision`); packages add their
own by entry points (`zoo.recipe.plugins`). Nothing is imported, and nothing is registered. A recipe that a run writes
down has the dotted path.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from zoo import wording
from zoo.files import PACKAGE
from zoo.recipe import plugins, schema
from zoo.recipe.schema import TARGET, SchemaError

ROOMS = {
    "method": ("zoo.methods", {"Method"}),
    "task": ("zoo.tasks", {"Task"}),
    "backbones": ("zoo.backbones", {"Backbone", "TextEncoder"}),
    "data": ("data_modules", {"DataModule"}),
}
"""Where the classes of a kind stand and what they derive from, by the key of a recipe."""


def kind_of(key: str) -> str:
    """The kind of block that a key of a recipe holds, `backbones` of `backbones.vision`; empty where it holds none."""
    top, _, stream = key.partition(".")
    fits = top in ROOMS and bool(stream) == (top == "backbones") and "." not in stream
    return top if fits else ""


def known(kind: str) -> dict[str, str]:
    """Dotted paths by short name; where a package has a name of the zoo's, it is the zoo's."""
    return {**plugins.installed().classes[kind], **_own(kind)}


def resolve(kind: str, word: str) -> str | None:
    """The dotted path of a short name, or of a class's own name, whatever its case, `-` and `_`."""
    for names in (_own(kind), plugins.installed().classes[kind]):
        for name, target in names.items():
            if _plain(word) in (_plain(name), _plain(target.rpartition(".")[2])):
                return target
    return None


def spelled(values: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """A recipe, or one of its layers, with all short names written out.

    Args:
        values: as YAML gives them, or one word of the command line; keys may be dotted.
        problems: gets a line an unknown name; its value stays.
    """
    found = dict(values)
    for key, value in values.items():
        key = str(key)
        holder, _, last = key.rpartition(".")
        if kind := kind_of(key):
            found[key] = _block(kind, key, value, problems)
        elif last == TARGET and (kind := kind_of(holder)):
            found[key] = _target(kind, key, value, problems)
        elif key == "backbones" and isinstance(value, Mapping):
            found[key] = {name: _block(key, f"{key}.{name}", block, problems) for name, block in value.items()}
        elif key == "smoke" and isinstance(value, Mapping):
            found[key] = spelled(value, problems)
        elif key == "variants" and isinstance(value, Mapping):
            found[key] = {
                name: spelled(layer, problems) if isinstance(layer, Mapping) else layer for name, layer in value.items()
            }
    return found


def _block(kind: str, key: str, value: Any, problems: list[str]) -> Any:
    if isinstance(value, str):
        target = _target(kind, key, value, problems)
        return {TARGET: target} if target != value else value
    if not isinstance(value, Mapping):
        return value
    block = dict(value)
    if TARGET in block:
        block[TARGET] = _target(kind, f"{key}.{TARGET}", block[TARGET], problems)
    # A method around another one names it in a block of its own.
    nested = {name: inner for name, inner in block.items() if isinstance(inner, Mapping) and TARGET in inner}
    return block | {name: _block(kind, f"{key}.{name}", inner, problems) for name, inner in nested.items()}


def _target(kind: str, key: str, word: Any, problems: list[str]) -> Any:
    if not isinstance(word, str) or not word or "." in word:
        return word
    if target := resolve(kind, word):
        return target
    problems.append(unknown(kind, key, word))
    return word


def unknown(kind: str, key: str, word: str) -> str:
    """One line about a short name that there is none of."""
    names = sorted(known(kind))
    own = "; your own files are data=folder" if kind == "data" else ""
    return f"{key}: unknown name {word!r}.{wording.close(word, names)} Known: {', '.join(names)}{own}"


# --- the zoo's own ----------------------------------------------------------------------------------------------------


@cache
def _own(kind: str) -> dict[str, str]:
    module, bases = ROOMS[kind]
    lineages: dict[str, dict[str, ast.ClassDef]] = {}
    for path in sorted(PACKAGE.parent.joinpath(*module.split(".")).glob("*.py")):
        for name in re.findall(r"^class ([A-Za-z]\w*)\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            lineage = dict(_lineage(target := f"{module}.{path.stem}.{name}"))
            if path.stem != "base" and bases & {node.name for node in lineage.values()}:
                lineages[target] = lineage
    shared = {base for target, lineage in lineages.items() for base in lineage if _file(base) != _file(target)}
    files: dict[str, list[str]] = {}
    for target, lineage in lineages.items():
        if target not in shared or _is_whole(lineage.values()):
            files.setdefault(_file(target), []).append(target)
    found = {
        stem if len(targets) == 1 else _short(stem, target.rpartition(".")[2]): target
        for stem, targets in files.items()
        for target in targets
    }
    return dict(sorted(found.items()))


def _file(target: str) -> str:
    return target.split(".")[-2]


def _short(stem: str, name: str) -> str:
    """`tb_ava` of TBAVA in tb_ava.py, `clip_vision` of CLIPVision in clip.py, `clip_folder` of ClipFolder."""
    plain = _plain(stem)
    if name.lower().startswith(plain):
        rest = name[len(plain) :].lower()
        return f"{stem}_{rest}" if rest else stem
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def _is_whole(lineage: Iterable[ast.ClassDef]) -> bool:
    """Whether a class, which others derive from, leaves none of its methods to them."""
    written: dict[str, bool] = {}
    for node in lineage:
        for method in (n for n in node.body if isinstance(n, ast.FunctionDef)):
            # By any of them: of two bases, the contract may come with the first and what it asks for with the second.
            here = ast.unparse(method.body[-1]) != "raise NotImplementedError"
            written[method.name] = here or written.get(method.name, False)
    return all(written.values())


def _lineage(target: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Dotted path and source of a class and its bases, nearest first, as far as they are the zoo's."""
    try:
        node, tree = schema.definition(target)
    except SchemaError:
        return
    if not isinstance(node, ast.ClassDef):
        return
    yield target, node
    module = target.rpartition(".")[0]
    for base in map(ast.unparse, node.bases):
        origin = schema.imported(tree, base.partition("[")[0]) or f"{module}.{base.partition('[')[0]}"
        if origin.startswith(schema.OURS):
            yield from _lineage(origin)
