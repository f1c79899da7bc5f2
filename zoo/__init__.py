"""Parameter-efficient fine-tuning of frozen multimodal backbones: a recipe pairs backbones, one method and one task.

import zoo
zoo.list_adapters()                      # what there is, without importing torch
model = zoo.load("mantis-dales")         # a name, a folder or "hf://USER/REPO"
model.predict("scan.laz").label          # a path, array, tensor, picture, list or folder
both = zoo.together(["mantis-dales", "runs/mine/adapter"])  # on one frozen backbone in memory; both.switch(...)
run = zoo.train("mantis", smoke=True)    # as `python -m zoo.train recipe=mantis --smoke`

`Pairing` and the samples `Picture`, `Cloud`, `Clip` are for loops of one's own.
"""

import importlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.version import __version__ as __version__

if TYPE_CHECKING:
    from zoo.api.model import Model as Model
    from zoo.api.models import Models as Models
    from zoo.api.training import TrainedRun
    from zoo.batch import Clip as Clip
    from zoo.batch import Cloud as Cloud
    from zoo.batch import Picture as Picture
    from zoo.batch import Question as Question
    from zoo.catalog.entries import Entry
    from zoo.pairing import Pairing as Pairing

LATER = {
    "Model": "zoo.api.model",
    "Models": "zoo.api.models",
    "Pairing": "zoo.pairing",
    **dict.fromkeys(("Clip", "Cloud", "Picture", "Question"), "zoo.batch"),
}
"""Names that are imported once they are asked for, as torch takes seconds."""


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    return getattr(importlib.import_module(LATER[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})


def list_adapters() -> "list[Entry]":
    """Facts of every bundled and installed adapter; `python -m zoo.list` names any that cannot be read."""
    from zoo.catalog.holdings import read_catalog

    return read_catalog().adapters


def list_recipes() -> "list[Entry]":
    """Facts of every recipe."""
    from zoo.catalog.holdings import read_catalog

    return read_catalog().recipes


def load(name: str | Path, *, device: str | None = None, force: bool = False, unquantized: bool = False) -> "Model":
    """A trained model: `predict`, `evaluate`, `export`, `save`, `push`; its `pairing` is the `torch.nn.Module`.

    Args:
        name: of a bundled or installed adapter, its folder, or hf://USER/REPO, which is installed first; `a+b` adds the
            updates of several.
        device: to predict on; the first GPU by default, where there is one.
        force: load onto other backbones than it was trained on; `model.pairing.forced` then says what differs.
        unquantized: load what was trained in four bits onto whole weights in bfloat16; `forced` says that as well.

    Warns:
        UserWarning: its data were prepared in another way than this version prepares them.

    Raises:
        CatalogError: there is no such adapter.
        AdapterError: it is altered, or does not fit these backbones.
        SettingError: adapters that cannot be added up.
        WeightsError: the weights of a backbone cannot be had.
    """
    from zoo.api.loading import load as loaded

    model = loaded(str(name), device=device, force=force, unquantized=unquantized)
    for note in model.pairing.notes:
        warnings.warn(note, stacklevel=2)
    return model


def together(adapters: Sequence[str | Path] | Mapping[str, str | Path], *, device: str | None = None) -> "Models":
    """Several trained models on one frozen backbone in memory: `switch`, `attach`, `detach`, and predictions in which
    every input has an adapter of its own.

    Args:
        adapters: as `load` takes each; a mapping gives them names of one's own.
        device: to predict on; the first GPU by default, where there is one.

    Raises:
        SettingError: one is of another backbone than the first, or it is one name instead of a list.
        UserError: as `load`.
    """
    from zoo.api.models import Models
    from zoo.errors import SettingError

    if isinstance(adapters, str | Path):
        raise SettingError(f"together: expected a list of adapters, or a mapping, got {adapters!r}; zoo.load takes one")
    models = Models(device=device)
    for name, adapter in adapters.items() if isinstance(adapters, Mapping) else ((None, each) for each in adapters):
        models.attach(adapter, name=name)
    return models


def train(recipe: str | Path | None = None, **changes: Any) -> "TrainedRun":
    """Train a recipe with changes, e.g. `zoo.train("mantis", trainer={"max_epochs": 3}, **{"method.rank": 8})`.

    See `zoo.api.training.train` for `smoke`, `resume`, `init`, `runs`, `into` and `test`.
    """
    from zoo.api.training import train as run

    return run(recipe, **changes)
