"""`python -m zoo.foreign adapter=NAME|DIR [folders=DIR] [data.root=DIR] [--update-card]`: is foreign input detected?

Measures how often an adapter flags input as unlike its training: on its own test split (false alarms), and on every
folder in `folders=`, whose files are read as by zoo.predict. An adapter without this detector fits one on the frozen
features of its training and validation splits; trained tensors do not change.

    folders=DIR     a folder of folders, each a foreign set named after its folder
    data.root=DIR   folder of the adapter's own data
    --update-card   add detector and numbers to the adapter and its card; from a clean commit only
"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.adapter import directory, places, public_record
from zoo.catalog import card, evidence
from zoo.catalog.card import CardError
from zoo.command_line import fail, parse_arguments, user_errors
from zoo.quiet import quiet
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate
from zoo.records import provenance
from zoo.report import tables

if TYPE_CHECKING:
    from zoo.training.loaders import Loaders


def measure(loaders: "Loaders", folders: list[Path]) -> dict[str, Any]:
    """Shares of flagged samples: `fires` and `n` of the test split, and of every folder in `foreign`.

    Args:
        loaders: of the adapter's pairing, which learns the signal if it has none, and its own data, set up.
        folders: of files.

    Raises:
        AdapterError: it cannot be learnt.
    """
    import torch

    from zoo.inference.foreign import distances
    from zoo.training.familiarity import false_alarms
    from zoo.training.measure import fires, single_trainer

    own, pairing = false_alarms(loaders, single_trainer("auto")), loaders.pairing
    pairing.to("cuda" if torch.cuda.is_available() else "cpu")
    foreign = {folder.name: fires(list(distances(pairing, loaders.data, folder))) for folder in folders}
    return own | {"foreign": foreign}


def main(argv: list[str] | None = None) -> int:
    """Measure; exit code 2 on a mistake in the command, 1 on one in the adapter, the data or the folders."""
    arguments, overrides = parse_arguments(
        argv, __doc__ or "", required=("adapter",), optional=("folders",), flags=("--update-card",), free=True
    )
    if other := [word for word in overrides if not word.startswith(("data.", "data="))]:
        fail([f"'{word}': only data.* may be changed" for word in other])
    root = Path(arguments["folders"]).expanduser() if "folders" in arguments else None
    folders = sorted(path for path in root.iterdir() if path.is_dir()) if root and root.is_dir() else []
    if root and not folders:
        fail([f"folders={root}: expected a folder of folders, one a foreign set"])
    quiet()
    from zoo.adapter.learnt import learnt
    from zoo.training.build import build_loaders
    from zoo.training.initialise import plain
    from zoo.training.measure import described

    start = time.perf_counter()
    with user_errors():
        folder = places.find_adapter(arguments["adapter"])
        directory.verify(folder)
        if "--update-card" in arguments and not evidence.publishable({"manifest": provenance.git_state()}):
            raise CardError("--update-card: a number enters a card from a clean commit only")
        config = compose(str(folder / "recipe.yaml"), overrides)
        _, pairing = directory.load(folder, cached=True)
        data = instantiate(config.data)
        data.seed = config.seed
        data.setup("fit")
        found = measure(build_loaders(config, data, pairing), folders)
        tables.show(tables.foreign(data.name, found))
        if "--update-card" in arguments:
            manifest = provenance.manifest(seconds=round(time.perf_counter() - start, 1), data=described(data))
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            metrics["familiarity"] = found | {"manifest": manifest}
            public = public_record.record(metrics, plain(config), pairing.classes)
            metrics["familiarity"] = public["familiarity"]
            directory.replace(folder, metrics, card=card.for_adapter, beside=learnt(pairing))
            print(f"updated: {folder / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
