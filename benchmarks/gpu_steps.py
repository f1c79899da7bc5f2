"""`python benchmarks/gpu_steps.py output=FILE.json [tiny=true] [cases=a,b]`: whole training steps at the papers' sizes.

Random weights of the true architectures, and the recipe's own batch, repeated to the size that is measured. Each method
stands beside HF `peft` LoRA on the same backbone, in float32, TF32 and bfloat16, eager
and compiled. The floating-point operations are those of matrix products and convolutions, as PyTorch counts them; the
peak is that of one large product, measured here. `tiny=true` takes the recipes' smoke blocks.
"""

import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from measuring import CUDA, DEVICE, Record, loss_of, matmul_flops_per_s, peak_mib, precision, timed
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(
    0, str(Path(__file__).parents[1] / "tests" / "helpers")
)  # whose helpers write small files in the true layouts

from zoo.backbones.fingerprint import fingerprints_of_format
from zoo.batch import Batch
from zoo.pairing import Pairing, count_parameters
from zoo.quiet import quiet
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate
from zoo.training.build import build_loaders

QWEN: dict[str, Any] = {
    "text_config": {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "vision_config": {"depth": 8, "out_hidden_size": 2048, "deepstack_visual_indexes": [2, 4, 6]},
}
"""The layers of Qwen3-VL-2B, eight of its twenty-eight, so that drawing random weights takes seconds."""
LANGUAGE_LORA = (
    "method={_target_: zoo.methods.lora.LoRA, rank: 48, alpha: 96, "
    "targets: {language: [self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj]}}"
)


@dataclass(frozen=True)
class Case:
    """A recipe at the size that is measured.

    Attributes:
        about: what is measured, as a table says it.
        recipe: whose smoke block makes it tiny.
        files: `module.function` of the tests' helpers that writes its data.
        size: samples in a batch.
        lora: the recipe's variant, or the `method=` that takes the place of its own.
        words: of the full size, beside the recipe's own.
        checkpoints: the setting that computes activations again, where the recipe has it on.
        in_four_bits: the weights lie on the disk, for only such are quantised.
    """

    about: str
    recipe: str
    files: str
    size: int
    lora: str
    words: list[str]
    checkpoints: str = ""
    in_four_bits: bool = False


CASES = {
    "mantis": Case(
        "Mamba3D, clouds in three orders",
        "mantis_scanobjectnn_hardest",
        "cloud_files.scanobjectnn",
        32,
        "lora",
        ["backbones.points.source=random:0"],
    ),
    "tb_ava": Case(
        "SigLIP2-B and BEATs, ten segments",
        "tb_ava_ave",
        "av_files.ave",
        4,
        "lora",
        [f"backbones.{name}.source=random:0" for name in ("vision", "audio", "text")],
    ),
    "dinov3_l": Case(
        "DINOv3-L",
        "scale_aware_eurosat",
        "picture_files.eurosat",
        64,
        "method={_target_: zoo.methods.lora.LoRA, rank: 24, alpha: 24, last: {vision: 12}, "
        "targets: {vision: [attn.qkv, mlp.fc1]}}",
        ["backbones.vision.source=random:0"],
    ),
    "qwen3_vl": Case(
        "Qwen3-VL of eight layers, bfloat16",
        "scale_earth_geoscale_vqa",
        "question_files.geoscale",
        2,
        LANGUAGE_LORA,
        [
            "backbones.vlm.source=random:0",
            "backbones.vlm.quantize=none",
            *(f"backbones.vlm.config.{part}={json.dumps(sizes)}" for part, sizes in QWEN.items()),
        ],
        "backbones.vlm.checkpointing",
    ),
    "qwen3_vl_4bit": Case(
        "Qwen3-VL of eight layers, four bits",
        "scale_earth_geoscale_vqa",
        "question_files.geoscale",
        2,
        LANGUAGE_LORA,
        [],
        "backbones.vlm.checkpointing",
        in_four_bits=True,
    ),
}


def prepared(case: Case, folder: Path, *, lora: bool, tiny: bool, also: tuple[str, ...] = ()) -> tuple[Pairing, Batch]:
    """A pairing on this machine's device, and one of its training batches, repeated to the case's size.

    Args:
        case: what is measured.
        folder: for made-up data.
        lora: LoRA in the place of the recipe's method.
        tiny: the recipe's smoke block, and its own batch.
        also: further words of the recipe.
    """
    module, _, function = case.files.partition(".")
    folder.mkdir()
    words = [f"data.root={getattr(importlib.import_module(module), function)(folder)}"]
    words += [*also, *([] if tiny else [*case.words, "loader.num_workers=0"])]
    words += _quantized(folder / "weights", tiny=tiny) if case.in_four_bits else []
    replaced = lora and case.lora.startswith("method=")
    words += [case.lora] if replaced else []
    variant = case.lora if lora and not replaced else None
    config = compose(case.recipe, words, smoke=tiny, variant=variant)
    data = instantiate(config.data)
    data.seed = 0
    data.setup("fit")
    with fingerprints_of_format(2):  # whose random weights torch draws: minutes faster than those equal on all machines
        pairing = build_pairing(config, data.classes, cached=False)
    batch = next(iter(build_loaders(config, data, pairing).train_dataloader()))
    pairing = pairing.to(DEVICE).train()
    batch = batch.to(DEVICE)
    return pairing, batch if tiny else repeated(batch, case.size)


def _quantized(folder: Path, *, tiny: bool) -> list[str]:
    """Words of a recipe for a Qwen3-VL that is written here and read in four bits."""
    vlm_files, vlm_tiny = (importlib.import_module(name) for name in ("vlm_files", "vlm_tiny"))
    marks = {name: number for name, number in vlm_tiny.QWEN.items() if name.endswith("_token_id")}
    sizes = {} if tiny else {"config": QWEN | marks, "dtype": "bfloat16"}
    with fingerprints_of_format(2):
        vlm_files.qwen("qwen3_vl", folder, **sizes)
    return [
        f"backbones.vlm.{word}" for word in (f"source=file:{folder}", "config=null", "quantize=4bit", "dtype=bfloat16")
    ]


def repeated(batch: Batch, size: int) -> Batch:
    """The rows of a batch over and over, until there are so many; batches of packed samples stay as they are."""
    tensors = [*batch.inputs.values(), *batch.target.values(), *batch.conditions.values()]
    if not all(isinstance(one, torch.Tensor) and len(one) == len(batch) for one in tensors):
        return batch
    rows = [k % len(batch) for k in range(size)]

    def take(part: dict[str, Any]) -> dict[str, Any]:
        return {name: tensor[rows] for name, tensor in part.items()}

    return replace(
        batch,
        ids=[f"{batch.ids[row]}/{k}" for k, row in enumerate(rows)],
        keys=[],
        inputs=take(batch.inputs),
        target=take(batch.target),
        conditions=take(batch.conditions),
        questions=[batch.questions[row] for row in rows] if batch.questions else [],
    )


def step_of(pairing: Pairing, batch: Batch, *, half: bool) -> Callable[[], None]:
    """One training step, as the training module takes it, without a trainer."""
    optimizer = torch.optim.AdamW([p for p in pairing.parameters() if p.requires_grad], lr=1e-5)

    def step() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=half):
            loss = loss_of(pairing, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()}")

    return step


def measured(pairing: Pairing, batch: Batch, peak: float, *, half: bool, compiled: bool = False) -> dict[str, Any]:
    """Milliseconds of a step, its memory, and how much of the device's peak it reaches; the first step is not timed.

    Args:
        pairing: in training, on the device.
        batch: there too.
        peak: floating-point operations in a second.
        half: compute in bfloat16.
        compiled: as `trainer.compile` has it; on a processor the step is traced, and not compiled.
    """
    step = step_of(pairing, batch, half=half)
    with FlopCounterMode(display=False) as counter:  # of the step as it is written: it cannot see into compiled ones
        step()
    flops = counter.get_total_flops()
    if compiled:
        method: Any = pairing.method
        method.forward = torch.compile(method.forward, backend="inductor" if CUDA else "eager")
    seconds = timed(step, rounds=8, limit_s=4.0 if CUDA else 0.5)
    reached = flops / (seconds["median_ms"] / 1000)
    return {**seconds, "peak_mib": peak_mib(step), "tflop": flops / 1e12, "of_peak": reached / peak}


def main() -> None:
    """Measure and print."""
    quiet()
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    tiny = words.get("tiny") == "true"
    side = 256 if tiny else 8192
    kinds = {"fp32": (torch.float32, False), "tf32": (torch.float32, True), "bf16": (torch.bfloat16, False)}
    peaks = {name: matmul_flops_per_s(dtype, tf32=tf32, side=side) for name, (dtype, tf32) in kinds.items()}
    record = Record(Path(words["output"]), tiny=tiny, peak_tflop_per_s={name: p / 1e12 for name, p in peaks.items()})
    chosen = words["cases"].split(",") if "cases" in words else list(CASES)
    for name in chosen:
        for method in ("recipe", "lora"):
            about = {"case": name, "method": method}
            record.attempt(about, one, record, about, peaks, tiny=tiny)
    for name in chosen:  # last: the compiler takes longer than all that was measured of a case
        record.attempt({"case": name, "method": "recipe", "kind": "bf16, compiled"}, compiled, name, peaks, tiny=tiny)


def one(record: Record, about: dict[str, Any], peaks: dict[str, float], *, tiny: bool) -> dict[str, Any]:
    """A case in every precision, one row each; returns what is trained."""
    lora = about["method"] == "lora"
    with tempfile.TemporaryDirectory() as folder:
        pairing, batch = prepared(CASES[about["case"]], Path(folder) / "data", lora=lora, tiny=tiny)
    about = {**about, "batch": len(batch)}
    for kind in peaks if not tiny else ("fp32",):
        precision(tf32=kind != "fp32")
        record.attempt(about | {"kind": kind}, measured, pairing, batch, peaks[kind], half=kind == "bf16")
    trainable, total = count_parameters(pairing)
    return {"trainable": trainable, "parameters": total}


def compiled(name: str, peaks: dict[str, float], *, tiny: bool) -> dict[str, Any]:
    """A recipe's case through the compiler, in bfloat16."""
    case = CASES[name]
    also = (f"{case.checkpoints}=false",) if case.checkpoints else ()  # which the compiler of graphs does not take
    with tempfile.TemporaryDirectory() as folder:
        pairing, batch = prepared(case, Path(folder) / "data", lora=False, tiny=tiny, also=also)
    precision(tf32=True)
    return {"batch": len(batch), **measured(pairing, batch, peaks["bf16"], half=True, compiled=True)}


if __name__ == "__main__":
    main()
