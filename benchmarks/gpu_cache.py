"""`python benchmarks/gpu_cache.py output=FILE.json [tiny=true]`: an epoch that computes frozen features, and one that
reads them from the cache.

The recipe `scale_aware_eurosat` (random weights; the last 12 of 24 blocks train), 400 made-up pictures; forward and
backward of every batch, loading included.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import DEVICE, Record, loss_of, wait

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # whose helpers write small files in the true layouts

import picture_files  # type: ignore[import-not-found]

from zoo import recipe
from zoo.build import build_pairing, connect
from zoo.command import quiet
from zoo.pairing import Pairing

RECIPE = "scale_aware_eurosat"


def prepared(folder: Path, *, tiny: bool) -> tuple[Pairing, Any]:
    """The recipe with an empty cache in a folder, and its data."""
    root = picture_files.eurosat(folder / "data", each=1 if tiny else 40)
    words = [f"data.root={root}", "data.resample=[]", "data.test_resample=[1.0]"]
    words += [f"cache={{_target_: zoo.prefix.PrefixCache, folder: {folder / 'cache'}}}"]
    words += [] if tiny else ["backbones.vision.source=random:0", "data.num_workers=0"]
    config = recipe.compose(RECIPE, words, smoke=tiny)
    data = recipe.instantiate(config.data)
    data.seed = 0
    data.setup("fit")
    pairing = build_pairing(config, data.classes)
    connect(data, pairing, seed=0)
    return pairing.to(DEVICE).train(), data


def epoch(pairing: Pairing, data: Any) -> float:
    """Seconds of one pass over the training split, with gradients."""
    wait()
    start = time.perf_counter()
    for batch in data.train_dataloader():
        moved = pairing.transfer_batch_to_device(batch, DEVICE, 0)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            loss = loss_of(pairing, moved)
        loss.backward()
        pairing.zero_grad()
    wait()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    quiet()
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    tiny = words.get("tiny") == "true"
    record = Record(Path(words["output"]), recipe=RECIPE, tiny=tiny)
    with tempfile.TemporaryDirectory() as folder:
        pairing, data = prepared(Path(folder), tiny=tiny)
        record.add(epoch="empty cache", samples=len(data.sets["train"]), seconds=epoch(pairing, data))
        for _ in range(2):
            record.add(epoch="from the cache", samples=len(data.sets["train"]), seconds=epoch(pairing, data))
        pairing.cache = None
        data.wrap = None
        connect(data, pairing, seed=0)
        record.add(epoch="without a cache", samples=len(data.sets["train"]), seconds=epoch(pairing, data))


if __name__ == "__main__":
    main()
