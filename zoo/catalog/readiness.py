"""Which recipes can run on this machine, and what is missing for the others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from zoo import wording
from zoo.backbones import weights
from zoo.catalog.entries import Entry
from zoo.errors import absent_of, install
from zoo.recipe import data_roots, packages, schema, sources
from zoo.recipe.compose import RecipeError, compose
from zoo.recipe.data_roots import ROOTS
from zoo.recipe.schema import MISSING, TARGET
from zoo.records import machine
from zoo.records.machine import Machine
from zoo.report.tables import Pairs

CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds for processors alone."""

HUBS = ("hf", "timm", "open_clip")
"""Kinds of sources that a hub serves."""


@dataclass
class Verdict:
    """Whether a recipe can run here.

    Attributes:
        recipe: its name.
        missing: what is in the way; it can run where this is empty.
        made_for: the graphics card that it is made for and that is not here; it is slow without.
        cached: weights that have been fetched.
        fetches: weights that are fetched by themselves at first use.
        get: where what is missing, or comes with a licence of its own, is obtained; by its name.
    """

    recipe: str
    missing: list[str] = field(default_factory=list)
    made_for: str = ""
    cached: list[str] = field(default_factory=list)
    fetches: list[str] = field(default_factory=list)
    get: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> str:
        """In one word."""
        return "no" if self.missing else "slowly" if self.made_for else "yes"

    def reasons(self) -> str:
        """In one line."""
        parts = {
            "needs": self.missing,
            "made for": [self.made_for] if self.made_for else [],
            "fetches": self.fetches,
            "cached:": self.cached,
        }
        return "; ".join(f"{word} {', '.join(dict.fromkeys(what))}" for word, what in parts.items() if what)


def examine(entry: Entry, config: Mapping[str, Any], here: Machine) -> Verdict:
    """The requirements of a recipe that this machine does not meet.

    Args:
        entry: of the recipe.
        config: the recipe; what a user has yet to give stands as `???`.
        here: the machine.
    """
    verdict = Verdict(entry.name)
    if not here.torch or here.unmet:
        verdict.missing.append("packages (see above)")
    needed = packages.needed(config)
    for package in absent_of(*needed):
        verdict.missing.append(package)
        verdict.get[package] = install(package)
    if here.torchaudio and {"peft", "torchaudio", "transformers"} & {*needed}:
        verdict.missing.append("no torchaudio, or another (see above)")
    _data(entry, config["data"], verdict)
    for key, block in config["backbones"].items():
        for setting, source in sources.weight_sources(block).items() if block else ():
            _weights(f"backbones.{key}.{setting}", source, here, verdict)
        if block and block.get("quantize") == "4bit" and machine.version("bitsandbytes") is None:
            verdict.missing.append("bitsandbytes (4-bit weights)")
            verdict.get["bitsandbytes"] = install("bitsandbytes")
    if "GPU" in entry.hardware and not here.cuda:
        verdict.made_for = entry.hardware
    return verdict


def _data(entry: Entry, block: Mapping[str, Any], verdict: Verdict) -> None:
    target = block[TARGET]
    module = target.rpartition(".")[0]
    for key, known in schema.signature(target).items():
        value = block.get(key)
        unset = key in data_roots.unset(block)
        if key not in ROOTS or value is None or (not unset and Path(value).expanduser().is_dir()):
            continue
        verdict.missing.append(f"data.{key}=DIR" if unset else f"data.{key} (there is no folder {value})")
        words = (data_roots.distributor(block, key) if key == "root" else known.meaning.rstrip(".")) + "\n"
        name = f"{entry.data.partition(' (')[0]}, data.{key}"
        verdict.get[name] = f"{words}layout and check: python -m {module} --check DIR".lstrip()


def _weights(key: str, source: str, here: Machine, verdict: Verdict) -> None:
    kind, known = weights.parse(source).kind, weights.origin(source)
    name = known.name if known else source
    if weights.here(source):
        verdict.cached += [name] if kind in ("pypi", "https", "torchaudio", *HUBS) else []
        return
    absent = len(verdict.missing)
    if kind == "file":
        verdict.missing.append(source)
    elif kind in HUBS and here.hub != "reachable":
        verdict.missing.append(f"{name} (not cached, and the hub is {here.hub.partition(' (')[0]})")
    elif not here.cache_writable:
        verdict.missing.append(f"a writable cache for {name} (set ZOO_CACHE)")
    else:
        verdict.fetches.append(f"{name} ({known.megabytes:,} MB)" if known and known.megabytes else name)
    if known and known.page and (known.file or len(verdict.missing) > absent):
        file = known.file or "where the hub is reachable it comes by itself"
        verdict.get.setdefault(name, f"{known.license}: {known.page}\n{file}; then {key}=file:PATH")


def composed(name: str, words: Sequence[str]) -> dict[str, Any]:
    """A recipe with a user's words; folders of data that are yet to be given stay `???`.

    Raises:
        RecipeError: all that is wrong, or missing beside those folders.
    """
    try:
        config = compose(name, words)
    except RecipeError as error:
        matches = [re.match(r"missing value '(data\.(?:root|train_root))'", problem) for problem in error.problems]
        missing = [found[1] for found in matches if found]
        if len(missing) < len(error.problems):
            raise RecipeError([p for p, found in zip(error.problems, matches, strict=True) if not found]) from None
        config = compose(name, [*words, *(f"{key}=DIR" for key in missing)])
        for key in missing:
            config.data[key.removeprefix("data.")] = MISSING
    values: Any = OmegaConf.to_container(config)
    return dict(values)


def facts(here: Machine) -> dict[str, str]:
    """The machine, for a reader."""
    built = f"built for CUDA {here.torch_cuda}" if here.torch_cuda else "a build for processors alone"
    extras = {
        f"extra [{extra}]": ", ".join(f"{name} {version or 'not installed'}" for name, version in packages.items())
        for extra, packages in here.extras.items()
    }
    return {
        "python": f"{here.python} on {here.system}",
        "torch": f"{here.torch}, {built}{_without_card(here)}" if here.torch else "not installed",
        "other packages": "; ".join(here.unmet) or "all that the zoo requires",
        **({"torchaudio": here.torchaudio} if here.torchaudio else {}),
        **extras,
        "graphics cards": "; ".join(here.gpus) or "none",
        "processor": f"{here.cores} cores, {wording.size(here.memory)} of memory",
        "cache": f"{here.cache}, {'writable' if here.cache_writable else 'NOT writable: set ZOO_CACHE'}, "
        f"{wording.size(here.free)} free",
        "hub": here.hub,
    }


def _without_card(here: Machine) -> str:
    """Hint that a CUDA build of torch is not needed here, and how to replace it."""
    if not here.torch_cuda or here.gpus:
        return ""
    return (
        "\na CUDA build of torch without a card: most of its gigabytes lie idle; one for processors serves as well\n"
        f"python -m pip install --force-reinstall --index-url {CPU_WHEELS} torch=={here.torch.partition('+')[0]} "
        "torchvision"
    )


def page(here: Machine, verdicts: Sequence[Verdict]) -> Group:
    """All of it for a terminal."""
    recipes = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    recipes.add_column("recipe", no_wrap=True)
    recipes.add_column("runs here")
    recipes.add_column("why, and what it takes", overflow="fold")
    for verdict in verdicts:
        style = {"yes": "green", "slowly": "yellow", "no": "red"}[verdict.runs]
        recipes.add_row(verdict.recipe, Text(verdict.runs, style=style), Text(verdict.reasons()))
    get = {name: how for verdict in verdicts for name, how in verdict.get.items()}
    title = Text("where to get it" if get else "", style="bold")
    return Group(Pairs(facts(here)), recipes, title, Pairs(get))
