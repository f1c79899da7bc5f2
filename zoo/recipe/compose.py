"""Find, compose, check and instantiate a recipe.

A recipe is one YAML file. `include:` names shared pieces (below `recipes/`, or beside the file), merged in order before
the file itself. Layers follow: the `smoke:` block if requested, one of `variants:`, and the command line's
`key=value`. A layer that gives a block another `_target_` starts that block afresh, for its old keys belonged to the
old class. Classes may be named in short, `method: lora` (`zoo.recipe.short_names`). All mistakes are reported at once,
before torch is imported.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from zoo import wording
from zoo.errors import UserError
from zoo.files import PACKAGE
from zoo.recipe import annotations, former_names, own_data, plugins, schema, short_names, sources
from zoo.recipe.check import KEYS, check, unknown
from zoo.recipe.former_names import LOADERS
from zoo.recipe.own_data import WORD
from zoo.recipe.schema import TARGET, SchemaError
from zoo.recipe.strict_yaml import StrictLoader
from zoo.wording import MEANT


class RecipeError(UserError):
    """Everything that is wrong with a recipe and its overrides; `problems` has one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def folder() -> Path:
    """The shipped recipes: beside the package in a checkout, inside it in a wheel."""
    inside = PACKAGE / "recipes"
    return inside if inside.is_dir() else inside.parents[1] / "recipes"


def shipped() -> dict[str, str]:
    """The zoo's own recipes and the first line of their headers."""
    return {path.stem: next(iter(header(path)), "") for path in sorted(folder().glob("*.yaml"))}


def available() -> dict[str, str]:
    """Shipped recipes and those of installed packages, with the first line of their headers."""
    added = {name: next(iter(header(path)), "") for name, path in plugins.installed().recipes.items()}
    return shipped() | {name: line for name, line in sorted(added.items()) if not (folder() / f"{name}.yaml").is_file()}


def header(path: Path) -> list[str]:
    """The comment lines of a recipe file, without their mark."""
    return [line.lstrip("# ") for line in path.read_text("utf-8", "replace").splitlines() if line.startswith("#")]


def find(name: str) -> Path:
    """Path of a shipped recipe, of one that a package brings, or of a user's own YAML file.

    Raises:
        RecipeError: none exists; the nearest name is suggested.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if Path(name).is_file():
            return Path(name)
        raise RecipeError([f"recipe file '{name}' does not exist"])
    path = folder() / f"{name}.yaml"
    if path.is_file():
        return path
    if added := plugins.installed().recipes.get(name):
        return added
    raise RecipeError([f"unknown recipe '{name}'.{wording.nearest(name, available())}"])


def compose(name: str, overrides: Sequence[str] = (), *, smoke: bool = False, variant: str | None = None) -> DictConfig:
    """A checked configuration.

    Args:
        name: a recipe that is shipped or installed, or a YAML file.
        overrides: `a.b.c=value` words.
        smoke: apply the recipe's `smoke:` block: a run of seconds on a CPU.
        variant: apply one of the recipe's `variants:`.

    Raises:
        RecipeError: with every mistake found.
    """
    problems: list[str] = []
    base = read(find(name), problems)
    if problems:
        raise RecipeError(problems)
    smoke_layer, layers = base.get("smoke") or {}, base.get("variants") or {}
    if variant is not None and variant not in layers:
        raise RecipeError([f"unknown variant '{variant}'.{wording.nearest(variant, layers)}"])
    config = _layer(base, smoke_layer) if smoke else base
    if variant is not None:
        config = _layer(config, layers[variant])
    config = _words(config, overrides, problems)
    checked = check(config, problems, name)
    for label, layer in {"smoke": smoke_layer, **{f"variants.{v}": layers[v] for v in layers}}.items():
        known = set(problems)
        found: list[str] = []
        check(_layer(base, layer), found, name)
        problems += [f"{label}: {p}" for p in found if p not in known and not p.startswith("missing value")]
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
    return checked


def variants(name: str) -> list[str]:
    """Names of a recipe's `variants:`."""
    return list(read(find(name), []).get("variants") or {})


def to_yaml(config: DictConfig) -> str:
    """The resolved recipe, which `compose` reads back to the same configuration."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    kept = {key: value for key, value in values.items() if key not in ("include", "smoke", "variants")}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)


def stored(path: Path) -> dict[str, Any]:
    """A resolved recipe that a run wrote down, by today's names, to be compared with what `to_yaml` gives."""
    return _with_loader(former_names.today(yaml.safe_load(path.read_text(encoding="utf-8"))))


def _with_loader(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe whose block `loader` names what it is; nothing else makes loaders, so recipes need not."""
    block = values.get("loader") or {}
    return {**values, "loader": {TARGET: LOADERS, **block} if isinstance(block, dict) else block}


# --- composing --------------------------------------------------------------------------------------------------------


def read(path: Path, problems: list[str], seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """One YAML file with what it includes; mistakes are appended to `problems`."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        problems.append(f"{path}: {' '.join(str(error).split())}")
        return {}
    if not isinstance(values, dict):
        problems.append(f"{path}: expected a mapping of {', '.join(KEYS)}")
        return {}
    unknown_names: list[str] = []
    values = sources.beside(short_names.spelled(former_names.today(values), unknown_names), path.parent)
    problems += [f"{path}: {line}" for line in unknown_names]
    merged: dict[str, Any] = {}
    for piece in values.get("include") or []:
        places = [path.parent / f"{piece}.yaml", folder() / f"{piece}.yaml"]
        found = next((p for p in places if p.is_file()), None)
        if found is None:
            pieces = [p.relative_to(folder()).with_suffix("").as_posix() for p in folder().glob("*/*.yaml")]
            problems.append(f"{path}: include '{piece}' does not exist.{wording.nearest(str(piece), pieces)}")
        elif found.resolve() in seen:
            problems.append(f"{path}: include '{piece}' includes itself")
        else:
            merged = _merge(merged, read(found, problems, (*seen, path.resolve(), found.resolve())))
    whole: dict[str, Any] = _merge(merged, {k: v for k, v in values.items() if k != "include"})
    return whole if seen else _with_loader(whole)


def _merge(old: Any, new: Any) -> Any:
    """Mappings merge key by key; anything else replaces; another `_target_` replaces the whole block."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    if TARGET in new and TARGET in old and new[TARGET] != old[TARGET]:
        return new
    return {**old, **{k: _merge(old[k], v) if k in old else v for k, v in new.items()}}


def _layer(config: dict[str, Any], layer: Any) -> dict[str, Any]:
    """Apply a mapping whose keys may be dotted; targets first, so that other keys meet the new class."""
    if not isinstance(layer, dict):
        return config
    for key in sorted(layer, key=lambda k: not str(k).endswith(TARGET)):
        config = _put(config, str(key).split("."), layer[key])
    return config


def _put(config: Any, path: list[str], value: Any) -> dict[str, Any]:
    nested: Any = value
    for key in reversed(path):
        nested = {key: nested}
    # A dictionary-valued setting (`method.sites`) is replaced, not merged, by a later layer.
    if isinstance(value, dict) and len(path) > 1 and TARGET not in value and path[0] != "backbones":
        holder = config
        for key in path[:-1]:
            holder = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(holder.get(path[-1]), dict) and TARGET in holder:
            config = _merge(config, _put({}, path[:-1], {path[-1]: None}))
    merged: dict[str, Any] = _merge(config, nested)
    return merged


def _words(config: dict[str, Any], overrides: Sequence[str], problems: list[str]) -> dict[str, Any]:
    """Apply `a.b=value` words."""
    pairs: dict[str, str] = {}
    for word in overrides:
        key, equals, raw = word.partition("=")
        key = former_names.KEYS.get(key, key)
        if not equals or not all(key.split(".")):
            problems.append(f"'{word}' is no key=value")
        elif key in pairs:
            problems.append(f"'{key}' is given twice")
        else:
            pairs[key] = raw
    # Words for whole blocks before those for their keys.
    for key in sorted(pairs, key=lambda k: (not k.endswith(TARGET), "." in k)):
        path = key.split(".")
        if path[0] not in KEYS or path[0] in ("include", "smoke", "variants"):
            problems.append(unknown(config, key))
        elif (key, pairs[key]) == WORD:
            config = own_data.substitute(config, problems)
        elif key == "data" and not _is_data(value := _value(config, path, pairs[key])):
            near = wording.close(str(value), [WORD[1], *short_names.known("data")])
            own = not near or WORD[1] in near
            meant = f"{MEANT}data=folder, your own files?" if own else near
            problems.append(f"data={pairs[key]}: no such data.{meant}")
            config = own_data.substitute(config, []) if own else config  # so that their other settings are checked
        else:
            value = _value(config, path, pairs[key])
            wrong: list[str] = []
            block = short_names.spelled({key: value}, wrong)[key]
            problems += wrong
            if not wrong:
                config = _put(config, path, _chosen(config, path, block) if isinstance(value, str) else block)
    return config


def _is_data(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, str) and short_names.resolve("data", value) is not None)


def _chosen(config: dict[str, Any], path: list[str], block: Any) -> Any:
    """The block that a short name stands for. Where it takes the place of another class, and a variant of the recipe
    has one of this class, it is the variant's: its settings were chosen for these backbones."""
    if not isinstance(block, dict) or _at(config, path).get(TARGET) == block[TARGET]:
        return block
    others = [_at(_layer(config, layer), path) for layer in (config.get("variants") or {}).values()]
    return next((other for other in others if other.get(TARGET) == block[TARGET]), block)


def _at(config: Any, path: list[str]) -> dict[str, Any]:
    """The block at a key; empty where there is none."""
    for key in path:
        config = config.get(key) if isinstance(config, dict) else None
    return config if isinstance(config, dict) else {}


def with_blocks(config: dict[str, Any], overrides: Sequence[str], problems: list[str]) -> dict[str, Any]:
    """A recipe with the words of a command that name whole blocks: `method=lora`, `data=folder`."""
    whole = [word for word in overrides if "=" in word and short_names.kind_of(word.partition("=")[0])]
    return _words(config, whole, problems)


def _value(config: dict[str, Any], path: list[str], raw: str) -> Any:
    """A word of the command line as a value of the type its key has."""
    try:
        parsed = yaml.load(raw, Loader=StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        parsed = raw
    holder: Any = config
    for key in path[:-1]:
        holder = holder.get(key) if isinstance(holder, dict) else None
    if path[-1] == TARGET:
        return raw
    if not isinstance(holder, dict) or not isinstance(holder.get(TARGET), str):
        return parsed
    try:
        known = schema.signature(holder[TARGET]).get(path[-1])
    except SchemaError:
        return parsed
    if known is None:
        return parsed
    if parsed is None and annotations.mismatch(None, known.annotation) is None:
        return None
    if annotations.text_only(known.annotation) or annotations.mismatch(parsed, known.annotation):
        return raw if annotations.mismatch(raw, known.annotation) is None else parsed
    return parsed
