"""`python benchmarks/capabilities.py [output=FILE.md] [backbone=NAME]`: which method works on which layers.

Every cell was tried: the method is attached to the last block of the backbone, its true architecture with random
weights, most of them at a small size. It takes two steps, and is loaded into a new one from its trained tensors alone;
what it made of frozen layers is folded into them.
"""

import re
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from capability_columns import Column, columns, kinds, sample
from torch import Tensor

from zoo.batch import Batch
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
from zoo.methods.laplace_lora_xs import LaplaceLoRAXS
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
        # Its posterior is made after training: here its trained weights alone.
        "laplace_lora_xs": lambda c, layers: LaplaceLoRAXS(
            rank=2, prediction="map", targets=dict(layers), last=last(c)
        ),
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
