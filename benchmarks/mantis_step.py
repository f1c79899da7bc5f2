"""`python benchmarks/mantis_step.py [batch=8] [points=1024] [output=step.json]`: one whole Mantis training step.

The paper's setting (Mamba3D of 12 blocks, 128 groups of 32, SAA in every mixer, DSCD's three passes as one batch):
grouping, patch encoder, forward, losses, backward, optimizer. Beside it HF `peft` LoRA on the same backbone and the
linear probe. The share of the scan is the profiler's time inside the operator and its backward: the GPU's time where
there is one, the processor's elsewhere.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from measuring import CUDA, DEVICE, Record, loss_of, peak_mib, timed
from torch.profiler import ProfilerActivity, profile

from zoo.backbones.mamba3d import Mamba3D
from zoo.batch import Batch
from zoo.methods.base import Method
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.mantis import Mantis
from zoo.ops import selective_scan
from zoo.pairing import Pairing, count_parameters
from zoo.quiet import quiet
from zoo.tasks.classification import Classification

STEPS, CLASSES = 4, 15
SCAN = ("zoo::selective_scan", "zoo::selective_scan_backward")
KERNELS = ("forward_carry", "backward_carry", "combine", "forward_kernel", "backward_kernel", "add_up")
"""Of Triton's scan, as a profiler calls them."""


def made(size: int, points: int) -> Batch:
    """A random batch."""
    clouds = torch.nn.functional.normalize(torch.randn(size, 1, points, 3), dim=-1)
    return Batch(
        ids=[str(i) for i in range(size)],
        inputs={"points": clouds},
        target={"label": torch.arange(size) % CLASSES},
    ).to(DEVICE)


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
    )
    pairing.to(DEVICE).train()
    optimizer = torch.optim.AdamW([p for p in pairing.parameters() if p.requires_grad])
    taken = timed(lambda: step(pairing, optimizer, batch), rounds=STEPS, limit_s=60)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if CUDA else [])]
    # A profiler sees operators; a kernel that is called without one, as where no gradient is wanted, it does not.
    with mock.patch.object(selective_scan, "_directly", return_value=False), profile(activities=activities) as seen:
        step(pairing, optimizer, batch)
    trainable, total = count_parameters(pairing)
    state = pairing.trainable_state()
    return {
        "trainable": trainable,
        "share_of_parameters": trainable / total,
        "step_s": taken["median_ms"] / 1000,
        "peak_mib": peak_mib(lambda: step(pairing, optimizer, batch)),
        "share_in_scan": share_in_scan(seen.key_averages(), gpu=CUDA),
        "adapter_bytes": sum(t.numel() * t.element_size() for t in state.values()),
    }


def share_in_scan(events: Iterable[Any], *, gpu: bool) -> float:
    """Part of the profiler's time that lies in the scan and its backward.

    Args:
        events: averaged by name; on a GPU those of its kernels are told apart from the operators that started them.
        gpu: take the time of the GPU.
    """
    spent: dict[str, float] = {}
    for event in events:
        if not gpu:
            spent[event.key] = event.self_cpu_time_total
        elif event.device_type.name == "CUDA":
            spent[event.key] = event.self_device_time_total
    names = [key for key in spent if key in SCAN or key.startswith(KERNELS) or "zoo_selective_scan" in key]
    return sum(spent[name] for name in names) / sum(spent.values())


def main() -> None:
    """Measure and print."""
    quiet()
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    batch = made(int(words.get("batch", "8")), int(words.get("points", "1024")))
    lora = LoRA(rank=8, alpha=16.0, targets={"points": ["mixer.in_proj", "mixer.out_proj"]})
    methods = {"mantis": Mantis(), "mantis without dscd": Mantis(dscd=False), "lora": lora, "linear probe": Frozen()}
    record = Record(Path(words.get("output", "step.json")), batch=len(batch))
    for name, method in methods.items():
        record.attempt({"method": name}, measure, method, batch)


if __name__ == "__main__":
    main()
