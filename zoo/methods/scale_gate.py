"""CS-HLoRA: low-rank updates whose rank dimensions are opened and closed by scale (arXiv 2605.07562)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import SettingError
from zoo.methods.condition import Condition
from zoo.methods.deltas import Delta, low_rank
from zoo.methods.signals import Signal
from zoo.methods.sites import Site

Gates = Literal["thresholds", "generated", "none"]

CODE = 7
"""Width of `code`."""


def code(z: Tensor) -> Tensor:
    """log10(GSD) as a generator of gates reads it, with waves of four, two and one octave: [...] -> [..., 7]."""
    octaves = z / math.log10(2)
    waves = [wave(2 * math.pi * octaves / length) for length in (4, 2, 1) for wave in (torch.sin, torch.cos)]
    return torch.stack([z, *waves], dim=-1)


class GatedLowRank(nn.Module):
    """One low-rank update of a linear layer whose rank dimensions are gated by scale.

    Args:
        inputs: width of the layer's input.
        outputs: width of its output.
        rank: r.
        scaling: alpha / r.
        thresholds: log10 of the scales at which gates start half open; ranks are dealt out to them in equal shares.
        gates: `thresholds` at scales of their own, `generated` by a small network of z, or `none`.
        slope: of the gates at thresholds at the start, per decade, with alternating sign.
        shared: the first so many ranks are open at every scale.
        most: openness of a gate that is wholly open; with 2 the update has about the size of one without gates.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        rank: int,
        scaling: float,
        thresholds: Sequence[float],
        gates: Gates,
        slope: float,
        shared: int = 0,
        most: float = 1.0,
    ) -> None:
        super().__init__()
        self.scaling, self.gated, self.shared, self.most = scaling, gates != "none", shared, most
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.signal = Signal(span=(0.0, most))
        own = rank - shared
        if gates == "thresholds":
            rows = torch.arange(own)
            self.thresholds = nn.Parameter(torch.tensor(thresholds)[rows * len(thresholds) // own])
            self.slopes = nn.Parameter(torch.where(rows % 2 == 0, slope, -slope))
        if gates == "generated":
            self.generator = nn.Sequential(nn.Linear(CODE, 16), nn.GELU(), nn.Linear(16, own))
            last = cast(nn.Linear, self.generator[2])
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def gate(self, z: Tensor) -> Tensor:
        """Openness of the rank dimensions at log10(GSD) z: [...] -> [..., r]."""
        if hasattr(self, "generator"):
            gate = self.most * torch.sigmoid(self.generator(code(z)))
        else:
            gate = self.most * torch.sigmoid(self.slopes * (self.thresholds - z[..., None]))
        return torch.cat([gate.new_ones(*gate.shape[:-1], self.shared), gate], dim=-1) if self.shared else gate

    def gate_parameters(self) -> list[nn.Parameter]:
        """What the gates are made of."""
        return [value for name, value in self.named_parameters() if name not in ("down", "up")]

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
        """Hidden states [N, ..., inputs] at log10(GSD) z [N] -> update [N, ..., outputs]."""
        hidden = F.linear(x.to(self.down.dtype), self.down)
        if self.gated:
            assert z is not None
            gate = self.signal(self.gate(z))
            # Not `len`, here and below: it would fix the batch size of an exported graph.
            hidden = hidden * gate.view(gate.shape[0], *[1] * (x.ndim - 2), -1)
        return F.linear(hidden, self.up) * self.scaling


class GatedUpdates(nn.ModuleDict):
    """One update for every layer of some sites, acting through hooks while the condition is given.

    The frozen modules stay as and where they are.

    Args:
        sites: whose layers are adapted.
        condition: gives log10(GSD), [B].
        **settings: of every `GatedLowRank`.

    Raises:
        SettingError: a layer that is not linear.
    """

    def __init__(self, sites: Sequence[Site], condition: Condition, **settings: Any) -> None:
        super().__init__()
        self.condition = condition
        self.layers: dict[str, nn.Linear] = {}
        for site in sites:
            for path, layer in site.layers.items():
                where = f"{site.target}/{site.index:02d}/{path}".replace(".", "_")
                if not isinstance(layer, nn.Linear):
                    raise SettingError(f"method.targets.{site.target}: {path} is no linear layer, but {type(layer)}")
                self[where] = update = GatedLowRank(layer.in_features, layer.out_features, **settings)
                self.layers[where] = layer
                layer.register_forward_hook(self._hook(update, site.tower))

    def _hook(self, update: GatedLowRank, tower: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if not self.condition.active:
                return None
            more: Tensor = update(inputs[0], self.condition.rows(tower, inputs[0].shape[0]))
            return output + more.to(output.dtype)

        return add

    def openness(self, z: Tensor) -> Tensor:
        """Mean openness of every rank dimension over all layers at log10(GSD) z [N]: [N, r]."""
        return torch.stack([cast(GatedLowRank, update).gate(z) for update in self.values()]).mean(0)

    @torch.no_grad()
    def deltas(self, z: Tensor | None) -> list[Delta]:
        """Every update at one log10(GSD) z [], its open gates taken into `down`; z is of no use without gates."""
        found = []
        for path, layer in self.layers.items():
            update = cast(GatedLowRank, self[path])
            down = update.down if z is None else update.down * update.gate(z)[:, None]
            found.append(low_rank(layer, down, update.up, update.scaling))
        return found
