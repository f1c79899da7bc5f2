"""Parameter-efficient fine-tuning of frozen multimodal backbones: a recipe pairs backbones, one method and one task.

import zoo
zoo.list_adapters()                # what there is, without importing torch
pairing = zoo.load("tb_ava-grid")  # a torch.nn.Module in eval mode, with the transforms of its backbones
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.version import __version__ as __version__

if TYPE_CHECKING:
    from zoo.catalog.entries import Entry
    from zoo.pairing import Pairing


def list_adapters() -> list["Entry"]:
    """Facts of every bundled and installed adapter; `python -m zoo.list` names any that cannot be read."""
    from zoo.catalog.holdings import read_catalog

    return read_catalog().adapters


def load(name: str | Path, *, force: bool = False) -> "Pairing":
    """A trained pairing, ready for `pairing.batch(samples)` and `pairing.predict(batch)`.

    Args:
        name: of a bundled or installed adapter, or its folder.
        force: load onto other backbones than it was trained on; `pairing.forced` then says what differs.

    Warns:
        UserWarning: its data were prepared in another way than this version prepares them.

    Raises:
        CatalogError: there is no such adapter.
        AdapterError: it is altered, or does not fit these backbones.
        WeightsError: the weights of a backbone cannot be had.
    """
    from zoo.adapter import directory, places

    pairing = directory.load(places.find_adapter(str(name)), force=force)[1]
    for note in pairing.notes:
        warnings.warn(note, stacklevel=2)
    return pairing
