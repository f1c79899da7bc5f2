"""Names that the recipe of an adapter may use, so that an untrusted adapter runs no code of its maker's choice.

A recipe's `_target_` is imported and called; `subprocess.run` would be as welcome there as a method. So an adapter may
name classes that the zoo's own rooms define, and nothing else: no function, nothing that a module merely imports. Three
things are yours to allow. For adapters that were not pulled (they lie outside the cache), a method of your own may lie
directly in the folder you run from, and a package that you installed may declare its classes (`zoo.recipe.plugins`):
those very classes, not all that the package holds. And `$ZOO_TRUST` lists further packages, separated by commas.

Why a pulled adapter needs `$ZOO_TRUST` for an installed package too: who installs it trusts its code, as their own
recipes call it. A pulled recipe calls the same classes with values of a stranger's choice, a path or a URL of
weights for instance. The zoo's classes are written for that (they read safetensors, and weights only from declared
sources); whether those of another package are, its installation does not say.

What matters in training alone is another thing: to load an adapter nobody should have to trust, or to install, the
package of an optimizer or a callback. So an adapter's recipe names PyTorch's own optimizers and schedules, by a list,
and nothing else of the kind; what its training used besides (`stripped`) stands word by word in `metrics.json`,
`manifest.left_out`, which nothing runs: whoever trusts it writes it back into a recipe of his own.
"""

import ast
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from zoo.errors import UserError
from zoo.files import PACKAGE, cache_dir
from zoo.recipe import plugins
from zoo.recipe.former_names import LOADERS, TARGETS
from zoo.recipe.schema import TARGET
from zoo.recipe.strict_yaml import StrictLoader

OURS = ("zoo", "data_modules")

ROOMS = ("zoo.backbones.", "zoo.methods.", "zoo.tasks.", "data_modules.")

SETTINGS = (*TARGETS, *TARGETS.values(), LOADERS, "zoo.prefix.PrefixCache")

OPTIMIZERS = (
    *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop"),
    "SGD",
)

SCHEDULES = (
    *("ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR", "LinearLR"),
    *("MultiStepLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "StepLR"),
)

TRAINING = (
    *(f"torch.optim.{name}" for name in OPTIMIZERS),
    *(f"torch.optim.lr_scheduler.{name}" for name in SCHEDULES),
)
"""Targets below `optimizer`: they compute with numbers, and take nothing that is called."""

DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)

CALLBACKS = "callbacks"

RESOLVED_AWAY = ("include", "smoke", "variants")

LARGEST_NUMBER = 2**20
"""In an adapter's recipe. Of a width of 10^8 a single layer takes hundreds of gigabytes."""

LENGTHS = ("max_steps", "save_every", "val_check_interval", "total_steps", "step_size", "T_max", "total_iters")
"""Keys whose numbers count steps of a training."""

LARGEST = 2**20
"""Bytes of a recipe; the zoo's are below 10 kB."""


class TrustError(UserError):
    """An adapter's recipe names what an adapter may not."""


def check(folder: Path, *, pulled: bool | None = None) -> None:
    """Read the `recipe.yaml` of an adapter directory as plain text values and check what it names. Imports nothing.

    Args:
        folder: an adapter directory.
        pulled: whether it was fetched; by default, whether it is in the cache.

    Raises:
        TrustError: naming what it names, or that it is no resolved recipe.
    """
    path = folder / "recipe.yaml"
    if path.stat().st_size > LARGEST:
        raise TrustError(f"{path} has {path.stat().st_size:,} bytes; a recipe has at most {LARGEST:,}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise TrustError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise TrustError(f"{path} is no recipe: expected a mapping")
    # What a recipe composes from (other files, layers, interpolations that read the environment or build blocks out
    # of text) is gone once it is resolved; what a look at the values cannot see has no place in an adapter.
    if hidden := [key for key in RESOLVED_AWAY if key in values]:
        raise TrustError(f"{path} has the key '{hidden[0]}': an adapter's recipe is resolved and stands alone")
    if CALLBACKS in values:
        raise TrustError(f"{path} has the key '{CALLBACKS}': an adapter runs none, and names them in its manifest")
    if pulled is None:
        pulled = folder.resolve().is_relative_to(cache_dir().resolve())
    for key, value in _walk(values, path, set()):
        if isinstance(value, str) and "${" in value:
            raise TrustError(f"{path}: {value!r} is an interpolation; an adapter's recipe is resolved")
        # Widths and ranks determine memory; only a seed may be any number.
        counts = "seed" in str(key) or key in LENGTHS
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER and not counts:
            raise TrustError(f"{path}: {key or 'a list'} holds {value:,}; expected numbers up to {LARGEST_NUMBER:,}")
        if key == TARGET and not (
            _defined_here(value) or _allowed(value) or (not pulled and (_declared(value) or _own(value, folder)))
        ):
            raise TrustError(
                f"{path} names {value!r}, which is no backbone, method, task or data module of this zoo: it is not "
                f"run. {_advice(value, pulled)}"
            )


def stripped(config: DictConfig) -> tuple[DictConfig, dict[str, Any]]:
    """A run's recipe as its adapter has it, and by dotted key the blocks that were left out, as plain values."""
    values: Any = OmegaConf.to_container(config, resolve=True)
    left_out = {CALLBACKS: callbacks} if (callbacks := values.pop(CALLBACKS, None)) else {}
    for key, block in list(values.get("optimizer", {}).items()):
        if isinstance(block, dict) and block.get(TARGET) not in TRAINING:
            left_out[f"optimizer.{key}"] = values["optimizer"].pop(key)
    return OmegaConf.create(values), left_out


def _walk(values: dict[Any, Any] | list[Any], path: Path, seen: set[int]) -> Iterator[tuple[Any, Any]]:
    """Every key and plain value, however deep; list items have the key None."""
    if id(values) in seen:  # a few lines of aliases of aliases expand to gigabytes
        raise TrustError(f"{path} uses YAML aliases; an adapter's recipe is written out")
    seen.add(id(values))
    for key, value in values.items() if isinstance(values, dict) else ((None, item) for item in values):
        yield None, key
        if isinstance(value, dict | list) and key != TARGET:
            yield from _walk(value, path, seen)
        else:
            yield key, value


def _defined_here(target: Any) -> bool:
    """Whether a room of the zoo defines this class (it may import many others)."""
    if target in SETTINGS or target in TRAINING:
        return True
    if not isinstance(target, str) or not target.startswith(ROOMS) or not DOTTED.fullmatch(target):
        return False
    module, _, name = target.rpartition(".")
    path = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        return False
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in tree.body)


def _allowed(target: Any) -> bool:
    listed = {word.strip() for word in os.environ.get("ZOO_TRUST", "").split(",")} - {""}
    return isinstance(target, str) and target.partition(".")[0] in listed - set(OURS)


def _declared(target: Any) -> bool:
    """Whether an installed package declares this class for recipes."""
    return isinstance(target, str) and target in plugins.installed().targets()


def _own(target: Any, folder: Path) -> bool:
    """Whether the module lies directly in the folder one runs from, is what an import would find, and did not come
    with the adapter."""
    if not isinstance(target, str) or not DOTTED.fullmatch(target):
        return False
    top, here = target.partition(".")[0], Path.cwd()
    if top in OURS:  # a checkout of the zoo is a folder to run from as well
        return False
    file = next((f for f in (here / top / "__init__.py", here / f"{top}.py") if f.is_file()), None)
    if file is None or here.is_relative_to(folder.resolve()):
        return False
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:
        return False
    return spec is None or (spec.origin is not None and Path(spec.origin).resolve() == file.resolve())


def _advice(target: Any, pulled: bool) -> str:
    top = str(target).partition(".")[0]
    if top in OURS:
        return "If a newer version made it, upgrade multimodal-peft-zoo"
    trusting = f"set ZOO_TRUST={top} if you know and trust that package"
    return (
        f"To allow it, {trusting}"
        if pulled
        else f"Run from the folder that holds {top} if it is yours, install the package that declares it, or {trusting}"
    )
