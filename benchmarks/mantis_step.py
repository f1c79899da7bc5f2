"""`python benchmarks/mantis_step.py [batch=8] [points=1024] [output=FILE.json]`: one whole Mantis training step.

The paper's setting (Mamba3D of 12 blocks, 128 groups of 32, SAA in every mixer, DSCD's three passes as one batch):
grouping, patch encoder, forward, losses, backward, optimizer. Beside it HF `peft` LoRA on the same backbone and the
linear probe. The share of the scan is the profiler's time inside the operator and its backward.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from measuring import loss_of
from torch.profiler import ProfilerActivity, profile

from zoo.backbones.mamba3d import Mamba3D
from zoo.batch import Batch
from zoo.methods.base import Method
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.mantis import Mantis
from zoo.pairing import Pairing, count_parameters
from zoo.quiet import quiet
from zoo.records.provenance import git_state, hardware
from zoo.tasks.classification import Classification

STEPS, CLASSES = 4, 15
SCAN = ("zoo::selective_scan", "zoo::selective_scan_backward")


def made(size: int, points: int) -> Batch:
    """A random batch."""
    clouds = torch.nn.functional.normalize(torch.randn(size, 1, points, 3), dim=-1)
    return Batch(
        ids=[str(i) for i in range(size)],
        inputs={"points": clouds},
        target={"label": torch.arange(size) % CLASSES},
    )


def step(pairing: Pairing, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """As `TrainingModule.training_step`, without a trainer."""
    loss = loss_of(pairing, batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measure(method: Method, batch: Batch) -> dict[str, Any]:
    """Seconds of a step, its share in the scan, and what is trained."""
    torch.manual_seed(0)
    hidden = () if isinstance(method, Frozen) else (256, 256)
    pairing = Pairing(
        {"points": Mamba3D(source="random:0")}, method, Classification(hidden=hidden), classes=["c"] * CLASSES
    ).train()
    optimizer = torch.optim.AdamW([p for p in pairing.parameters() if p.requires_grad])
    seconds = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        step(pairing, optimizer, batch)
        seconds.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step(pairing, optimizer, batch)
    events = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    names = [key for key in events if key in SCAN or "zoo_selective_scan" in key]
    trainable, total = count_parameters(pairing)
    state = pairing.trainable_state()
    return {
        "trainable": trainable,
        "share_of_parameters": trainable / total,
        "step_s": statistics.median(seconds[1:]),
        "share_in_scan": sum(events[name] for name in names) / sum(events.values()),
        "adapter_bytes": sum(t.numel() * t.element_size() for t in state.values()),
    }


def main() -> None:
    """Measure and print."""
    quiet()
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    batch = made(int(words.get("batch", "8")), int(words.get("points", "1024")))
    lora = LoRA(rank=8, alpha=16.0, targets={"points": ["mixer.in_proj", "mixer.out_proj"]})
    rows = {
        "mantis": measure(Mantis(), batch),
        "mantis without dscd": measure(Mantis(dscd=False), batch),
        "lora": measure(lora, batch),
        "linear probe": measure(Frozen(), batch),
    }
    result = {"commit": git_state(), "hardware": hardware(), "batch": len(batch), "methods": rows}
    text = json.dumps(result, indent=2)
    print(text)
    if output := words.get("output"):
        Path(output).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
