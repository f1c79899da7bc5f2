"""`python benchmarks/gpu_cache.py output=FILE.json [tiny=true]`: an epoch that computes frozen features, and one that
reads them from the cache.

The recipe `scale_aware_eurosat` (random weights; the last 12 of 24 blocks train), 400 made-up pictures; forward and
backward of every batch, loading included.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
from measuring import DEVICE, Record, loss_of, wait

sys.path.insert(
    0, str(Path(__file__).parents[1] / "tests" / "helpers")
)  # whose helpers write small files in the true layouts

import picture_files  # type: ignore[import-not-found]

from zoo.quiet import quiet
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate
from zoo.training.build import build_loaders
from zoo.training.loaders import Loaders

RECIPE = "scale_aware_eurosat"


def prepared(folder: Path, *, tiny: bool) -> Loaders:
    """Batches of the recipe with an empty cache in a folder, and its pairing on the device."""
    root = picture_files.eurosat(folder / "data", each=1 if tiny else 40)
    words = [f"data.root={root}", "data.resample=[]", "data.test_resample=[1.0]"]
    words += [f"cache={{_target_: zoo.prefix.PrefixCache, folder: {folder / 'cache'}}}"]
    words += [] if tiny else ["backbones.vision.source=random:0", "loader.num_workers=0"]
    config = compose(RECIPE, words, smoke=tiny)
    data = instantiate(config.data)
    data.seed = 0
    data.setup("fit")
    pairing = build_pairing(config, data.classes)
    return build_loaders(config, data, pairing.to(DEVICE).train())


def epoch(loaders: Loaders) -> float:
    """Seconds of one pass over the training split, with gradients."""
    pairing = loaders.pairing
    wait()
    start = time.perf_counter()
    for batch in loaders.train_dataloader():
        moved = batch.to(DEVICE)
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
        loaders = prepared(Path(folder), tiny=tiny)
        samples = len(loaders.data.sets["train"])
        record.add(epoch="empty cache", samples=samples, seconds=epoch(loaders))
        for _ in range(2):
            record.add(epoch="from the cache", samples=samples, seconds=epoch(loaders))
        loaders.pairing.cache = None
        record.add(epoch="without a cache", samples=samples, seconds=epoch(loaders))


if __name__ == "__main__":
    main()
