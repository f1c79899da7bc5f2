"""CS-HLoRA: a low-rank update whose rank dimensions are opened and closed by scale (arXiv 2605.07562)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GatedLowRank(nn.Module):
    """One low-rank update of a linear layer whose rank dimensions are gated by scale.

    Args:
        inputs: width of the layer's input.
        outputs: width of its output.
        rank: r.
        scaling: alpha / r.
        thresholds: log10 of the scales at which gates start half open; ranks are dealt out to them in equal shares.
        slope: of the gates at the start, per decade, with alternating sign; None leaves the update without gates.
    """

    def __init__(
        self, inputs: int, outputs: int, *, rank: int, scaling: float, thresholds: Sequence[float], slope: float | None
    ) -> None:
        super().__init__()
        self.scaling, self.gated = scaling, slope is not None
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        if slope is not None:
            rows = torch.arange(rank)
            self.thresholds = nn.Parameter(torch.tensor(thresholds)[rows * len(thresholds) // rank])
            self.slopes = nn.Parameter(torch.where(rows % 2 == 0, slope, -slope))

    def gate(self, z: Tensor) -> Tensor:
        """Openness of the rank dimensions at log10(GSD) z: [...] -> [..., r]."""
        return torch.sigmoid(self.slopes * (self.thresholds - z[..., None]))

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
        """Hidden states [N, ..., inputs] at log10(GSD) z [N] -> update [N, ..., outputs]."""
        hidden = F.linear(x.to(self.down.dtype), self.down)
        if self.gated:
            assert z is not None
            gate = self.gate(z)
            hidden = hidden * gate.view(len(gate), *[1] * (x.ndim - 2), -1)
        return F.linear(hidden, self.up) * self.scaling

    def delta(self, z: Tensor) -> Tensor:
        """The update as one matrix at a single log10(GSD) z []: [outputs, inputs]."""
        down = self.down * self.gate(z)[:, None] if self.gated else self.down
        return self.scaling * self.up @ down
