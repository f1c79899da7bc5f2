"""Check a composed recipe against the signatures that its blocks name; every mistake gets a line that says what to do.

Nothing is imported for it, and no file of the data is looked at.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo import wording
from zoo.recipe import annotations, data_roots, own_data, schema
from zoo.recipe.data_roots import ROOTS
from zoo.recipe.schema import MISSING, TARGET, Parameter, SchemaError
from zoo.wording import MEANT

CALLBACKS = "callbacks"
"""A list of blocks; Lightning's callbacks, or a user's own."""

BLOCKS = ("data", "loader", "method", "task", "optimizer", "trainer", "cache")

SEED = f"Annotated[int, '>= 0', '<= {2**32 - 1}']"  # what NumPy and PyTorch take

KEYS = (
    *("include", "seed", "data", "loader", "backbones", "method", "task", "optimizer", "trainer", "cache"),
    *(CALLBACKS, "smoke", "variants"),
)

REQUIRED = ("data", "backbones", "method", "task", "optimizer", "trainer")


def check(config: Mapping[str, Any], problems: list[str], name: str) -> DictConfig:
    """The recipe as a configuration.

    Args:
        config: a recipe, all its layers applied.
        problems: gets a line a mistake.
        name: of the recipe, as commands take it.
    """
    for key in config:
        if key not in KEYS:
            problems.append(unknown(config, str(key)))
    problems += [f"missing block '{key}'" for key in REQUIRED if not config.get(key)]
    try:
        result = OmegaConf.create({"seed": 0, **{k: v for k, v in config.items() if k in KEYS}})
        values: Any = OmegaConf.to_container(result, resolve=True)
    except (OmegaConfBaseException, ValueError, TypeError, RecursionError) as error:
        problems.append(f"the recipe cannot be resolved: {str(error).splitlines()[0]}")
        return OmegaConf.create({})
    if wrong := annotations.mismatch(values["seed"], "int") or annotations.mismatch(values["seed"], SEED):
        problems.append(f"seed: {wrong}")
    if isinstance(values.get("backbones"), dict | None):
        of = _Checker(values, problems, name)
        for path, block in _blocks(values):
            of.block(block, path)
        if not isinstance(values.get(CALLBACKS), list | None):
            problems.append(f"{CALLBACKS}: expected a list of blocks with {TARGET}, got {values[CALLBACKS]!r}")
    else:
        problems.append(f"backbones: expected a mapping of stream to block, got {values['backbones']!r}")
    return result


def mistakes(block: Any, path: str) -> list[str]:
    """A line for every mistake in one block that stands outside of a recipe, at `path` of its file."""
    problems: list[str] = []
    _Checker({}, problems, "").block(block, path)
    return problems


def unknown(config: Mapping[str, Any], key: str) -> str:
    """Message about an unknown top-level key of a recipe or of the command line."""
    top = key.partition(".")[0]
    return f"unknown key '{key}'.{elsewhere(config, key) or wording.nearest(top, KEYS[1:-2])}"


def elsewhere(config: Mapping[str, Any], key: str) -> str:
    """` Did you mean 'method.rank'?` of `rank`: the settings of all blocks whose last part is that of the key."""
    last = key.rpartition(".")[2]
    found = []
    for path, block in _blocks(config):
        try:
            known = schema.signature(block[TARGET]) if isinstance(block, Mapping) else {}
        except (SchemaError, SyntaxError, KeyError, TypeError, AttributeError):
            continue  # the check of its own block reports it
        found += [f"'{path}.{last}'"] if last in known else []
    return f"{MEANT}{' or '.join(found)}?" if found else ""


def _blocks(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every block that a recipe has, by its key."""
    for key in BLOCKS:
        if config.get(key) is not None:
            yield key, config[key]
    encoders = config.get("backbones")
    for name, block in encoders.items() if isinstance(encoders, Mapping) else ():
        if block is not None:
            yield f"backbones.{name}", block
    callbacks = config.get(CALLBACKS)
    for number, block in enumerate(callbacks if isinstance(callbacks, list) else ()):
        yield f"{CALLBACKS}.{number}", block


class _Checker:
    """Checks blocks of one recipe.

    Args:
        config: of the whole recipe, where a key may belong that stands in the wrong block.
        problems: gets a line a mistake.
        name: of the recipe.
    """

    def __init__(self, config: Mapping[str, Any], problems: list[str], name: str) -> None:
        self.config, self.problems, self.name = config, problems, name

    def block(self, block: Any, path: str, supplied: int | None = None, outer: Collection[str] = ()) -> None:
        """Its keys, their types, and what is missing.

        Args:
            block: what stands in the recipe.
            path: where.
            supplied: as `schema.signature` takes it; of a callback nothing is.
            outer: settings of the block around it, which hands them on where they have the same name.
        """
        if not isinstance(block, dict):
            hint = "; your own files are data=folder" if path == "data" else ""
            self.problems.append(f"{path}: expected a block with {TARGET}, got {block!r}{hint}")
            return
        if not isinstance(block.get(TARGET), str):
            self.problems.append(f"missing value '{path}.{TARGET}': which class or function?")
            return
        try:
            supplied = 0 if path.startswith(f"{CALLBACKS}.") else supplied
            known = schema.signature(block[TARGET], supplied)
        except (SchemaError, SyntaxError) as error:
            self.problems.append(f"{path}.{TARGET}: {error}")
            return
        known = {name: parameter for name, parameter in known.items() if name not in outer}
        for key, value in block.items():
            if key == TARGET:
                continue
            if key not in known:
                self.problems.append(f"unknown key '{path}.{key}'.{self._hint(block, path, str(key), known)}")
            elif isinstance(value, dict) and TARGET in value:
                awaits = known[key].awaits  # it is called with one thing, and by keyword
                self.block(value, f"{path}.{key}", *(1, known.keys()) if awaits else ())
            elif value != MISSING and (wrong := annotations.mismatch(value, known[key].annotation)):
                hint = "; write true or false" if known[key].annotation == "bool" else ""
                self.problems.append(f"{path}.{key}: {wrong}{hint}")
        for name, parameter in known.items():
            if block.get(name, MISSING) == MISSING and (name in block or parameter.default is None):
                problem = f"missing value '{path}.{name}' ({annotations.readable(parameter.annotation)})"
                if path == "data" and name in ROOTS:
                    self.problems.append(f"{problem}: {data_roots.hint(block, name, self.name)}")
                else:
                    self.problems.append(f"{problem}: {parameter.meaning}" if parameter.meaning else problem)

    def _hint(self, block: Mapping[str, Any], path: str, key: str, known: Mapping[str, Parameter]) -> str:
        if path == "data" and key in own_data.settings(block):
            return f" It belongs to your own files: say data=folder as well, data=folder data.{key}=..."
        near = wording.nearest(key, known)
        return near if near.startswith(MEANT) else elsewhere(self.config, f"{path}.{key}") or near
