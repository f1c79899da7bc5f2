"""`python benchmarks/side_cost.py root=DIR [pictures=32] [output=side_cost.json]`: Ladder Side Tuning beside LoRA.

DINOv2-S at 224 pixels on pictures of RSSCN7, batches of 16: the same pictures, encoder, head and optimizer, methods in
turn within each round, so that a slow minute of the machine hits all of them. An epoch reads the frozen tokens that the
first one kept, checks their sums, and trains, as every epoch of a run but its first does. LoRA on every block has the
embedding for a prefix; that on the last four has the eight blocks before them. Processor seconds are those of one
thread where OMP_NUM_THREADS=1, which other work on a machine leaves alone; peak memory is of a process of its own.
Ratios are LoRA's seconds over those of a method: how many times as many steps it takes in the same time.
"""

import itertools
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measuring import DEVICE, Record, loss_of, wait

from zoo.pairing import Pairing, count_parameters
from zoo.quiet import quiet
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate
from zoo.training.callbacks import peak_memory
from zoo.training.loaders import Loaders

ROUNDS, BATCH = 3, 16
LORA = "{_target_: lora, targets: {vision: [attn.qkv, attn.proj]}, rank: 8, alpha: 8%s}"
METHODS = {
    "lora": LORA % "",
    "lora, last 4 blocks": LORA % ", last: {vision: 4}",
    "side": "{_target_: side}",
    "side, mean tokens": "{_target_: side, tokens: mean}",
    "head alone": "{_target_: frozen}",
}


class Run:
    """A pairing, its optimizer and the pictures that it trains on.

    Args:
        method: block of a recipe.
        root: folder of RSSCN7.
        pictures: how many, spread over the training split.
        cache: folder of frozen tokens.
    """

    def __init__(self, method: str, root: str, pictures: int, cache: str) -> None:
        settings = [f"data.root={root}", "backbones.vision.image_size=224", f"cache.folder={cache}"]
        config = compose("scale_earth_rsscn7", [*settings, f"method={method}"])
        data = instantiate(config.data)
        data.setup("fit")
        torch.manual_seed(0)
        self.pairing: Pairing = build_pairing(config, data.classes).to(DEVICE).train()
        self.loaders = Loaders(data, self.pairing, batch_size=BATCH)
        self.samples = data.sets["train"]
        self.chosen = torch.linspace(0, len(self.samples) - 1, pictures).round().int().tolist()
        self.optimizer = torch.optim.AdamW([p for p in self.pairing.parameters() if p.requires_grad], lr=1e-3)

    def epoch(self, steps: int | None = None) -> dict[str, float]:
        """Seconds of a step, reading and checking its tokens included: on the clock, and of the processor."""
        clock, processor, taken = time.perf_counter(), time.process_time(), 0
        for batch in itertools.islice(self.loaders.loader(self.samples, sampler=self.chosen), steps):
            loss = loss_of(self.pairing, batch.to(DEVICE))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            taken += 1
        wait()
        return {"s": (time.perf_counter() - clock) / taken, "cpu_s": (time.process_time() - processor) / taken}


def peak(given: tuple[str, str, int, str], out: Any) -> None:
    """Peak resident memory of a process that trains two steps from the cache."""
    quiet()
    run = Run(*given)
    run.epoch(2)
    out.put(peak_memory())


def main() -> None:
    """Measure and print."""
    quiet()
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    root, pictures = words["root"], int(words.get("pictures", "32"))
    record = Record(Path(words.get("output", "side_cost.json")), pictures=pictures, batch=BATCH, rounds=ROUNDS)
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: Run(method, root, pictures, f"{folder}/{name}") for name, method in METHODS.items()}
        first = {name: run.epoch() for name, run in runs.items()}
        later: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                later[name].append(run.epoch())
        found = {
            name: {key: statistics.median(each[key] for each in rounds) for key in ("s", "cpu_s")}
            for name, rounds in later.items()
        }
        context = multiprocessing.get_context("spawn")
        for name, method in METHODS.items():
            queue = context.Queue()
            process = context.Process(target=peak, args=((method, root, pictures, f"{folder}/{name}"), queue))
            process.start()
            memory = queue.get()
            process.join()
            kept = sum(file.stat().st_size for file in Path(folder, name).glob("??/*.safetensors"))
            record.add(
                method=name,
                trainable=count_parameters(runs[name].pairing)[0],
                first_step_s=first[name]["s"],
                step_s=found[name]["s"],
                step_cpu_s=found[name]["cpu_s"],
                times_lora=found["lora"]["s"] / found[name]["s"],
                times_lora_cpu=found["lora"]["cpu_s"] / found[name]["cpu_s"],
                times_lora_last_4_cpu=found["lora, last 4 blocks"]["cpu_s"] / found[name]["cpu_s"],
                peak_mib=memory / 2**20,
                cached_mib_a_picture=kept / pictures / 2**20,
            )


if __name__ == "__main__":
    main()
