"""`python benchmarks/peft_cost.py [output=FILE.json]`: TB-AVA's cost beside HF `peft` LoRA's; what the cache saves.

One run, one machine, the same frozen backbones (DINOv2-S, aiSFX), the same batch, methods in turn within each round so
that a slow minute of the machine hits both. Peak memory is of a process of its own that takes its frozen tokens from
the cache, as every epoch but the first does. Ratios are TB-AVA / LoRA and uncached / cached; no test asserts them.
"""

import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from zoo.batch import Batch
from zoo.pairing import Pairing, count_parameters
from zoo.quiet import quiet
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate
from zoo.records.provenance import git_state, hardware
from zoo.training.callbacks import peak_memory
from zoo.training.loaders import Loaders

ROUNDS, CLIPS = 12, 8
SMALL = [f"data.train_clips={CLIPS}", "data.val_clips=1", "data.test_clips=1"]


def prepare(variant: str | None, cache: str) -> Loaders:
    """A pairing and batches of its data, from the recipe `tb_ava`."""
    config = compose("tb_ava", [*SMALL, cache], variant=variant)
    data = instantiate(config.data)
    data.setup("fit")
    pairing = build_pairing(config, data.classes)
    return Loaders(data, pairing, batch_size=CLIPS)


def step(pairing: Pairing, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """Seconds of one training step on a batch whose prefix is known."""
    start = time.perf_counter()
    loss = torch.stack([*pairing.losses(batch).values()]).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - start


def ready(variant: str | None, folder: str) -> tuple[Pairing, torch.optim.Optimizer, Batch]:
    """A pairing, its optimizer and one batch with its prefix, which is kept in (or taken from) a cache folder."""
    loaders = prepare(variant, f"cache.folder={folder}")
    pairing, batch = loaders.pairing, next(iter(loaders.train_dataloader()))
    batch.prefix = pairing.prefix(batch)
    optimizer = torch.optim.AdamW([p for p in pairing.parameters() if p.requires_grad])
    return pairing, optimizer, batch


def peak(variant: str | None, folder: str, out: Any) -> None:
    """Peak resident memory of a process that trains three steps."""
    pairing, optimizer, batch = ready(variant, folder)
    for _ in range(3):
        step(pairing, optimizer, batch)
    out.put(peak_memory())


def epochs() -> dict[str, float]:
    """Seconds of reading one training epoch: first with an empty cache, then from it."""
    with tempfile.TemporaryDirectory() as folder:
        loaders = prepare(None, f"cache.folder={folder}")
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            for batch in loaders.train_dataloader():
                with torch.no_grad():
                    loaders.pairing(batch)
            seconds.append(time.perf_counter() - start)
    return {"uncached_epoch_s": seconds[0], "cached_epoch_s": seconds[1], "ratio": seconds[0] / seconds[1]}


def main() -> None:
    """Measure and print."""
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        result = methods_in_turn(folder)
    result["cache"] = epochs()
    text = json.dumps({"commit": git_state(), "hardware": hardware(), **result}, indent=2)
    print(text)
    output = dict(word.partition("=")[::2] for word in sys.argv[1:]).get("output")
    if output:
        Path(output).write_text(text + "\n", encoding="utf-8")


def methods_in_turn(folder: str) -> dict[str, Any]:
    """Cost of TB-AVA and of LoRA, and their ratios."""
    methods = {"tb_ava": ready(None, folder), "lora": ready("lora", folder)}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for round_ in range(ROUNDS + 2):
        for name, parts in methods.items():
            taken = step(*parts)
            if round_ >= 2:
                seconds[name].append(taken)
    context = multiprocessing.get_context("spawn")
    result: dict[str, Any] = {}
    for name, (pairing, _, _) in methods.items():
        queue = context.Queue()
        process = context.Process(target=peak, args=(None if name == "tb_ava" else name, folder, queue))
        process.start()
        memory = queue.get()
        process.join()
        state = pairing.trainable_state()
        result[name] = {
            "trainable": count_parameters(pairing)[0],
            "step_s": statistics.median(seconds[name]),
            "peak_memory_mib": memory / 2**20,
            "adapter_bytes": sum(t.numel() * t.element_size() for t in state.values()),
        }
    result["tb_ava / lora"] = {key: result["tb_ava"][key] / result["lora"][key] for key in result["lora"]}
    return result


if __name__ == "__main__":
    main()
