"""PAGE (DomLoRA, Zhang et al. 2026, arXiv 2605.06183): layers by the gradient that a low-rank update has at first.

    E ||dL/dB||^2 = s^2 r / (3 d_in) ||G||^2        G = dL/dW; B = 0, and A as LoRA draws it, uniform with variance
    energy = mean over samples of ||G||_F^2 / d_in  1 / (3 d_in): no update need be there to know it

The paper reads it off 32 samples and puts one LoRA at the layer with the largest, in its language models the
down-projection of a shallow MLP. The closed form is ours, from the paper's definition. An encoder is another matter:
the gradient of its classifier enters at the end, and the layer with the largest energy need not be the one that trains
best. So gradients propose, and validation decides. A head that is drawn at random ranks layers otherwise than a trained
one; the task's head is therefore trained first, on frozen features.
"""

import contextlib
import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method
from zoo.methods.sites import find
from zoo.pairing import Pairing
from zoo.quiet import quiet
from zoo.recipe.build import build_pairing
from zoo.recipe.schema import TARGET
from zoo.training.build import build_data, build_loaders
from zoo.training.loaders import Loaders
from zoo.training.look import Look
from zoo.training.measure import single_trainer
from zoo.training.progress import StepLines

HEAD_SAMPLES, HEAD_RATE = 640, 1e-2
"""Samples whose frozen features train the head, drawn where there are more; and AdamW's learning rate. At the rates of
recipes, which adapters can bear, a head would be far from trained after so few steps."""

SHOWN = 12
"""Rows of the table."""

Shares = Sequence[tuple["Place", float]]


@dataclass(frozen=True)
class Place:
    """One linear layer.

    Attributes:
        tower: as a recipe calls it.
        block: that runs it first.
        path: inside the block.
        layer: itself.
    """

    tower: str
    block: int
    path: str
    layer: nn.Linear

    @property
    def target(self) -> str:
        """As `targets` of a method names it, and no other."""
        return f"{self.path}@{self.block}"


class Probe(Method):
    """Trains nothing; gradients reach every linear layer inside the blocks of all towers."""

    def attach(self, backbones: Backbones) -> None:
        """Find the layers.

        Raises:
            SettingError: there is none.
        """
        super().attach(backbones)
        self.places = [place for name, backbone in backbones.items() for place in _places(name, backbone.towers)]
        if not self.places:
            raise SettingError(
                f"backbones {', '.join(backbones)}: no linear layer with a weight of its own inside the blocks, and "
                "PAGE proposes no others; name method.targets by hand"
            )
        for name, backbone in backbones.items():
            own = {tower or name: tower for tower in backbone.towers}
            first = {own[place.tower]: place.block for place in reversed(self.places) if place.tower in own}
            self.depths[name] = backbone.prefix_depth(first)


def _places(name: str, towers: Mapping[str, Sequence[nn.Module]]) -> Iterator[Place]:
    """Linear layers that are called, each once; not those inside PyTorch's fused attention, and no quantised ones."""
    seen: set[nn.Module] = set()
    for tower, blocks in towers.items():
        for index, block in enumerate(blocks):
            for path, layer in block.named_modules():
                fused = isinstance(block.get_submodule(path.rpartition(".")[0]), nn.MultiheadAttention)
                if not isinstance(layer, nn.Linear) or fused or layer in seen or not path:
                    continue
                seen.add(layer)
                if layer.weight.is_floating_point():
                    yield Place(tower or name, index, path, layer)


def propose(config: DictConfig, *, samples: int, steps: int) -> tuple[Shares, dict[str, list[str]]]:
    """Linear layers with their shares of the energy of all, the largest first, and the recipe's own targets one by one.

    The same at every call.

    Args:
        config: a recipe, whose method is not built.
        samples: of the training split, drawn, whose gradients are taken.
        steps: of the head before that.

    Raises:
        SettingError: no layer is linear, the recipe's own targets match none, or the loss has no gradient.
    """
    quiet()
    probing = OmegaConf.create({**config, "method": {TARGET: f"{__name__}.{Probe.__name__}"}})
    data = build_data(config)
    pairing = build_pairing(probing, data.classes, cached=False, scale=data.ground)
    own = _one_by_one(pairing.backbones, config.method)
    pairing.to(single_trainer(config.trainer.get("accelerator", "auto")).strategy.root_device).eval()
    train = data.sets["train"]
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(config.seed)).tolist()
    several = build_loaders(probing, data, pairing).loader(train, sampler=rows[:HEAD_SAMPLES])
    train_head(Look(pairing, _told(several, "frozen features")), steps)
    single = Loaders(data, pairing, config.seed, batch_size=1).loader(train, sampler=rows[:samples])
    found = energies(Look(pairing, _told(single, "gradients of single samples")))
    if not float(found.sum()) > 0:
        raise SettingError("the loss of these samples has no gradient in any linear layer: nothing can be proposed")
    shares = zip(probe(pairing).places, (found / found.sum()).tolist(), strict=True)
    return sorted(shares, key=lambda one: -one[1]), own


def _one_by_one(backbones: Backbones, method: DictConfig) -> dict[str, list[str]]:
    """What a method's `targets` and `last` name, without the latter."""
    found: dict[str, list[str]] = {}
    for site in find(backbones, method.targets, method.get("last") or {}):
        found.setdefault(site.target, []).extend(f"{path}@{site.index}" for path in site.layers)
    return found


def _told(loader: DataLoader[Batch], what: str) -> Iterator[Batch]:
    """Batches, with a line now and then of how far they are."""
    lines = StepLines(what, len(loader))
    for batch in loader:
        yield batch
        lines.step()


def table(recipe: str, shares: Shares) -> Table:
    """The layers with the largest shares, and what is left for the others."""
    made = Table(title=f"{recipe}: share of the gradient energy of {len(shares)} linear layers")
    for head in ("tower", "block", "layer", "share"):
        made.add_column(head, justify="right" if head in ("block", "share") else "left")
    for place, share in shares[:SHOWN]:
        made.add_row(place.tower, str(place.block), place.path, f"{share:.1%}")
    if others := shares[SHOWN:]:
        made.add_row("", "", f"{len(others)} others", f"{sum(share for _, share in others):.1%}")
    return made


def train_head(look: Look, steps: int) -> float:
    """Train the task's head on frozen features; the mean loss of the last pass over the batches.

    Args:
        look: at batches in drawn order, which are gone through again and again.
        steps: of the optimizer.

    Returns:
        NaN for a task without a head of its own.
    """
    task = look.pairing.task
    head = [parameter for parameter in task.parameters() if parameter.requires_grad]
    if not head:
        return math.nan
    with torch.no_grad():
        kept = [(batch, look.pairing(batch)) for batch in itertools.islice(look.batches(), steps)]
    optimizer, losses = torch.optim.AdamW(head, lr=HEAD_RATE), []
    task.train()
    for batch, features in itertools.islice(itertools.cycle(kept), steps):
        optimizer.zero_grad()
        loss = torch.stack([term.mean() for term in task.loss(features, batch).values()]).sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    task.eval()
    return statistics.fmean(losses[-len(kept) :])


def energies(look: Look) -> Tensor:
    """Energy of every place of a pairing with `Probe`, float64 [places].

    Args:
        look: at batches of one sample each.
    """
    weights = [place.layer.weight for place in probe(look.pairing).places]
    total, count = torch.zeros(len(weights), dtype=torch.float64), 0
    with _asking(weights):
        for batch in look.batches():
            found = torch.autograd.grad(look.loss(batch).sum(), weights, allow_unused=True)
            squares = [0.0 if one is None else float(one.double().square().sum()) / one.shape[1] for one in found]
            total, count = total + torch.tensor(squares, dtype=torch.float64), count + 1
    return total / count


def probe(pairing: Pairing) -> Probe:
    """The method of a pairing that was made to be probed."""
    assert isinstance(pairing.method, Probe)
    return pairing.method


@contextlib.contextmanager
def _asking(weights: Sequence[Tensor]) -> Iterator[None]:
    """Within, gradients of frozen weights can be asked for."""
    for weight in weights:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(False)
