"""`python benchmarks/capabilities.py [output=FILE.md] [backbone=NAME]`: which method works on which layers.

Every cell was tried: the method is attached to the last block of the backbone, its true architecture with random
weights, most of them at a small size. It takes two steps, and is loaded into a new one from its trained tensors alone;
what it made of frozen layers is folded into them.
"""

import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone
from zoo.batch import Batch, Clip, Cloud, Picture, Question
from zoo.errors import SettingError
from zoo.files import write_whole
from zoo.interop import merged
from zoo.methods.adapt_former import AdaptFormer
from zoo.methods.base import Method
from zoo.methods.bitfit import BitFit
from zoo.methods.bottleneck import Bottleneck
from zoo.methods.conv_lora import ConvLoRA
from zoo.methods.deltas import by_place
from zoo.methods.dual_adapter import DualAdapter
from zoo.methods.frozen import Frozen
from zoo.methods.gpart import GPart
from zoo.methods.gse import GSE
from zoo.methods.lora_xs import LoRAXS
from zoo.methods.matryoshka_lora import MatryoshkaLoRA
from zoo.methods.olora import OLoRA
from zoo.methods.peft import PEFT, Tuner
from zoo.methods.pissa import PiSSA
from zoo.methods.side import Side
from zoo.methods.ssf import SSF
from zoo.methods.vpt import VPT
from zoo.pairing import Pairing
from zoo.quiet import quiet
from zoo.tasks.classification import Classification

PAGE = Path(__file__).parents[1] / "docs" / "capabilities.md"

LLAMA = {"model_type": "llama", "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2} | {
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128,
}  # fmt: skip
CLIP_TOWER = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "projection_dim": 32} | {
    "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8,
}  # fmt: skip
CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 3, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {"layers": 2, "width": 32, "heads": 2, "vocab_size": 49408, "context_length": 77},
}
SIGLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2} | {
    "image_size": 32
}
BEATS = {"encoder_embed_dim": 32, "encoder_ffn_embed_dim": 64, "encoder_layers": 3, "encoder_attention_heads": 2} | {
    "embed_dim": 16
}
LLAVA = {"vision_config": CLIP_TOWER, "text_config": LLAMA, "image_token_index": 99, "image_seq_length": 16}

SETTINGS: dict[str, dict[str, Any]] = {
    "c3a": {"block_size": 8},
    "fourierft": {"n_frequency": 20},
    "gralora": {"r": 4, "gralora_k": 2},
    "oft": {"oft_block_size": 4, "r": 0},
    "miss": {"r": 4},
    "road": {"group_size": 8},
    "shira": {"r": 2},
    "waveft": {"n_frequency": 20},
    "vblora": {"vector_length": 8, "num_vectors": 16},
}
"""Of tuners whose defaults fit large layers alone."""


@dataclass(frozen=True)
class Column:
    """Some layers of one backbone.

    Attributes:
        title: of the backbone.
        key: its stream.
        make: makes it.
        tower: whose last block is adapted; "" of a plain encoder.
        kind: of the layers.
    """

    title: str
    key: str
    make: Callable[[], Backbone]
    tower: str
    kind: str


def backbones() -> dict[str, tuple[str, Callable[[], Backbone]]]:
    """By title, the stream and what makes it, small or at its smallest size."""
    from zoo.backbones.aisfx import AiSFX
    from zoo.backbones.beats import BEATs
    from zoo.backbones.clip import CLIPVision
    from zoo.backbones.lite_medsam import LiteMedSAM
    from zoo.backbones.llava import LLaVA
    from zoo.backbones.mamba3d import Mamba3D
    from zoo.backbones.sam2 import SAM2
    from zoo.backbones.siglip import SigLIPVision
    from zoo.backbones.timm_vit import TimmViT

    return {
        "DINOv3": (
            "vision",
            lambda: scaled(TimmViT(model="vit_small_patch16_dinov3", source="random:0", image_size=64)),
        ),
        "CLIP": ("vision", lambda: CLIPVision(source="random:0", config=CLIP)),
        "SigLIP": ("vision", lambda: SigLIPVision(source="random:0", config=SIGLIP)),
        "SAM2": ("vision", lambda: SAM2(source="random:0", size="nano", image_size=64)),
        "LiteMedSAM": ("vision", lambda: LiteMedSAM(source="random:0", image_size=64)),
        "aiSFX": ("audio", lambda: AiSFX(source="random:0")),
        "BEATs": ("audio", lambda: BEATs(source="random:0", config=BEATS)),
        "Mamba3D": ("points", lambda: Mamba3D(source="random:0", width=32, depth=3, groups=12, neighbours=6, states=4)),
        "LLaVA": ("scene", lambda: LLaVA(source="random:3", config=LLAVA)),
    }


@torch.no_grad()
def scaled(backbone: Backbone) -> Backbone:
    """With scales of layers as trained ones have them: at the start of a training they let almost nothing through."""
    for name, parameter in backbone.named_parameters():
        if "gamma" in name:
            parameter.fill_(0.5)
    return backbone


Layers = Mapping[str, list[str]]


def methods() -> dict[str, Callable[[Column, Layers], Method]]:
    """What makes every method for one column, given its layers by tower."""

    def last(column: Column) -> dict[str, int]:
        return {column.tower or column.key: 1}

    def tuner(name: Tuner) -> Callable[[Column, Layers], Method]:
        return lambda column, layers: PEFT(
            tuner=name, settings=SETTINGS.get(name, {}), targets=dict(layers), last=last(column)
        )

    own: dict[str, Callable[[Column, Layers], Method]] = {
        "gpart": lambda c, layers: GPart(dim=40, targets=dict(layers), last=last(c)),
        "matryoshka_lora": lambda c, layers: MatryoshkaLoRA(ranks=(1, 2), targets=dict(layers), last=last(c)),
        "pissa": lambda c, layers: PiSSA(rank=2, targets=dict(layers), last=last(c)),
        "olora": lambda c, layers: OLoRA(rank=2, targets=dict(layers), last=last(c)),
        "lora_xs": lambda c, layers: LoRAXS(rank=2, targets=dict(layers), last=last(c)),
        "gse": lambda c, layers: GSE(rank=4, experts=4, targets=dict(layers), last=last(c)),
        "bitfit": lambda c, layers: BitFit(targets=dict(layers), last=last(c)),
        "ssf": lambda c, layers: SSF(targets=dict(layers), last=last(c)),
        "conv_lora": lambda c, layers: ConvLoRA(rank=2, targets=dict(layers), last=last(c)),
    }
    return own | {f"peft, {name}": tuner(name) for name in get_args(Tuner)}


BETWEEN: dict[str, Callable[[Column], Method]] = {
    "bottleneck": lambda c: Bottleneck(width=4, last={c.key: 1}),
    "dual_adapter": lambda c: DualAdapter(form="lw", width=4, last={c.key: 1}),
    "adapt_former": lambda c: AdaptFormer(targets={c.tower or c.key: ["mlp"]}, last={c.tower or c.key: 1}, width=4),
    "vpt": lambda c: VPT(tokens=2, last={c.key: 1}),
    "side": lambda c: Side(rungs=2, heads=1),
    "side, tokens: mean": lambda c: Side(rungs=2, tokens="mean"),
}
"""Methods that are given no layers."""


def kinds(block: nn.Module) -> dict[str, list[str]]:
    """Paths of the layers inside a block, by kind."""
    found: dict[str, list[str]] = {}
    fused = {path for path, module in block.named_modules() if isinstance(module, nn.MultiheadAttention)}
    for path, module in block.named_modules():
        if path in fused:
            found.setdefault("fused attention", []).append(path)
        elif path.rpartition(".")[0] in fused:
            continue
        elif isinstance(module, nn.Linear):
            found.setdefault("linear", []).append(path)
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            grouped = module.groups > 1
            found.setdefault("convolution in groups" if grouped else "convolution", []).append(path)
    return found


def sample(key: str, number: int) -> Any:
    """Noise that a backbone of this stream reads."""
    rng, target = np.random.default_rng(number), {"label": torch.tensor(number % 2)}
    if key == "points":
        return Cloud(f"c{number}", rng.normal(size=(1024, 3)).astype(np.float32), target)
    image = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    if key == "scene":
        question = Question(text="How many roofs?", choices=("one", "two"), answer="AB"[number % 2])
        return Picture(f"p{number}", (image,), target, question=question)
    return Clip(f"v{number}", image[None], rng.uniform(-1, 1, (1, 16_000)).astype(np.float32), 16_000, target)


class Trial:
    """One column, with what the frozen backbone gives."""

    def __init__(self, column: Column) -> None:
        self.column = column
        frozen = self.pairing(Frozen())
        self.batch: Batch = frozen.batch([sample(column.key, number) for number in range(3)])
        self.frozen = self.features(frozen)

    def pairing(self, method: Method, seed: int = 0) -> Pairing:
        """The method on the backbone, with other random numbers for another seed."""
        torch.manual_seed(seed)
        return Pairing({self.column.key: self.column.make()}, method, self.task(), classes=["one", "two"]).eval()

    def task(self) -> Any:
        """Two classes; of a vision-language model, two answers."""
        if self.column.key == "scene":
            from zoo.tasks.multiple_choice import MultipleChoice

            return MultipleChoice()
        return Classification(hidden=())

    @torch.no_grad()
    def features(self, pairing: Pairing) -> Tensor:
        """What the adapted backbone gives, numbers that are none as zeros."""
        return torch.cat([value.flatten() for value in pairing(self.batch).values()]).nan_to_num()

    def attempt(self, make: Callable[[], Method]) -> tuple[str, str]:
        """The cell of one method, and what it said where it cannot be."""
        try:
            return self.lived(make)
        except SettingError as error:
            return "no", str(error)
        except (RuntimeError, ValueError, IndexError) as error:
            return "FAILS", str(error)

    def lived(self, make: Callable[[], Method]) -> tuple[str, str]:
        """The cell of a method that attaches, trains, is loaded and merged."""
        pairing = self.pairing(make())
        start = (self.features(pairing) - self.frozen).abs().max() <= 1e-5 * self.frozen.abs().max()
        tensors = {**dict(pairing.named_parameters()), **dict(pairing.named_buffers())}
        kept = {name: value.clone() for name, value in tensors.items() if name not in pairing.trainable}
        optimizer = torch.optim.Adam([each for each in pairing.parameters() if each.requires_grad], lr=0.02)
        for _ in range(2):
            optimizer.zero_grad()
            torch.stack(list(pairing.losses(self.batch).values())).sum().backward()
            optimizer.step()
        learned = self.features(pairing)
        faults = [name for name, value in kept.items() if not torch.equal(tensors[name], value)]
        if faults:
            return "FAULT", f"changed the frozen {faults[0]}"
        if torch.allclose(learned, self.frozen, atol=1e-6):
            return "FAULT", "learned nothing"
        again = self.pairing(make(), seed=7)
        again.load_trainable(pairing.trainable_state())
        if not torch.allclose(self.features(again), learned, atol=1e-4, rtol=1e-3):
            return "FAULT", "is another one when loaded"
        return f"{'yes' if start else 'elsewhere'}{self.merges(pairing, learned)}", ""

    def merges(self, pairing: Pairing, learned: Tensor) -> str:
        """`, merges` where what was learned folds into the frozen layers."""
        try:
            deltas = by_place(pairing.backbones, pairing.method.deltas())
        except SettingError:
            return ""
        plain = self.pairing(Frozen())
        for name, own in deltas.items():
            plain.backbones[name].load_state_dict(merged.folded(pairing.backbones[name], own))
        same = torch.allclose(self.features(plain), learned, atol=1e-3, rtol=1e-2)
        return ", merges" if same else ", MERGES TO ANOTHER"


def shortened(said: str) -> str:
    """A refusal in one line, without the list of layers and what names the tuner."""
    line = " ".join(said.split()).partition("; the layers are")[0]
    return re.sub(r"^method\.tuner = \w+: ", "", line)


def columns(only: str = "") -> list[Column]:
    """Every kind of layer of every backbone; of one with two towers, of its language model."""
    found = []
    for title, (key, make) in backbones().items():
        if only and title.lower() != only.lower():
            continue
        towers = make().towers
        tower = "language" if "language" in towers else next(iter(towers))
        blocks = towers[tower]
        found += [Column(title, key, make, tower, kind) for kind in kinds(blocks[len(blocks) - 1])]
    return found


def main() -> None:
    """Try every cell and write the page."""
    words = dict(word.split("=", 1) for word in sys.argv[1:])
    quiet()
    warnings.simplefilter("ignore")
    places = columns(words.get("backbone", ""))
    cells: dict[str, list[str]] = {}
    reasons: dict[tuple[str, str], list[str]] = {}
    for place in places:
        trial, blocks = Trial(place), place.make().towers[place.tower]
        layers = {place.tower or place.key: kinds(blocks[len(blocks) - 1])[place.kind]}
        for name, make in methods().items():
            mark, said = trial.attempt(partial(make, place, layers))
            cells.setdefault(name, []).append(mark)
            if said:
                reasons.setdefault((f"{place.title}, {place.kind}", shortened(said)), []).append(name)
        print(place.title, place.kind, file=sys.stderr, flush=True)
    whole: dict[str, list[str]] = {}
    firsts = [place for number, place in enumerate(places) if place.title not in {p.title for p in places[:number]}]
    for place in firsts:
        trial = Trial(place)
        for name, own in BETWEEN.items():
            mark, said = trial.attempt(partial(own, place))
            whole.setdefault(name, []).append(mark)
            if said:
                reasons.setdefault((place.title, shortened(said)), []).append(name)
    write_whole(Path(words.get("output", PAGE)), page(places, cells, firsts, whole, reasons))


def page(
    places: list[Column],
    cells: Mapping[str, list[str]],
    firsts: list[Column],
    whole: Mapping[str, list[str]],
    reasons: Mapping[tuple[str, str], list[str]],
) -> str:
    """The tables in Markdown."""
    head = ["# Which method on which layer", "", __doc__.partition("\n\n")[2].strip() if __doc__ else "", ""]
    example = "`zoo train recipe=dinov2_cells method=gpart method.dim=20000 'method.targets={vision: [attn.qkv]}'`"
    head += [f"{example}; `python benchmarks/capabilities.py` tried them, and wrote this page.", ""]
    legend = [
        "`yes`: step 0 is the frozen model, two steps change what it gives and no frozen tensor, and the trained",
        "tensors alone make the same adapter again. `elsewhere`: the same, but training starts away from the frozen",
        "model. `merges`: it can be folded into the frozen weights. `no`: refused in one line before training; the",
        "lines stand below. In capitals: a fault.",
        "",
    ]
    return "\n".join(
        [
            *head,
            *legend,
            *_table([f"{place.title}: {place.kind}" for place in places], cells),
            "",
            "Methods that stand between or beside blocks:",
            "",
            *_table([place.title for place in firsts], whole),
            "",
            "## What was said",
            "",
            *[
                f"- {where}. {', '.join(name.removeprefix('peft, ') for name in names)}: {' '.join(said.split())}"
                for (where, said), names in reasons.items()
            ],
            "",
        ]
    )


def _table(titles: list[str], rows: Mapping[str, list[str]]) -> list[str]:
    lines = [f"| {' | '.join(['method', *titles])} |", f"|{'---|' * (len(titles) + 1)}"]
    return [*lines, *(f"| {' | '.join([name, *marks])} |" for name, marks in rows.items())]


if __name__ == "__main__":
    main()
