"""PiSSA (Meng et al., NeurIPS 2024, arXiv 2404.02948): a LoRA that starts at what is largest in the weight.

    y = W x + s (B A - B0 A0) x       W = U S V^T;  B0 = U_r sqrt(S_r), A0 = sqrt(S_r) V_r^T;  B = B0, A = A0

In the paper W - B0 A0 replaces the weight, and B A is added. Here the weight stays as it is, since other adapters of
the backbone share it, and B0 A0 is taken off beside it: the same function of B and A, so that training is the same,
and step 0 is the frozen model, exactly. An adapter holds B and A; B0 and A0 are computed anew from the weight. Their
product does not depend on the signs that a library gives to singular vectors. Exported, it is a LoRA of rank 2 r.
"""

from typing import Annotated, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.methods.deltas import Delta, low_rank
from zoo.methods.hooked import Hooked, decomposable


class PiSSA(Hooked):
    """Low-rank updates of linear layers that start at their principal part.

    Args:
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv, attn.proj]}`.
        last: only the last so many blocks by tower.
        rank: r; r singular values of the weight are what trains at first.
        scaling: s; 1 in the paper.
    """

    name = "pissa"
    """Part of the names of tensors, which mean nothing beside another start."""

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        rank: Annotated[int, ">= 1"] = 8,
        scaling: float = 1.0,
    ) -> None:
        super().__init__(targets=targets, last=last)
        self.rank, self.scaling = rank, scaling

    def update(self, layer: nn.Linear) -> nn.Module:
        """Two matrices at their start.

        Raises:
            SettingError: a rank above the weight's, or a quantised layer.
        """
        up, down = self.start(decomposable(layer, self.rank).double())
        return Started(up.float(), down.float(), self.scaling, self.name)

    def start(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """B0 [outputs, r] and A0 [r, inputs] of a weight [outputs, inputs], float64."""
        u, values, v = torch.linalg.svd(weight, full_matrices=False)
        root = values[: self.rank].sqrt()
        return u[:, : self.rank] * root, root[:, None] * v[: self.rank]

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Of every layer, at twice the rank; no side input matters."""
        found = []
        for place, layer in self.layers.items():
            own = cast(Started, self.updates[place])
            down, up = torch.cat([own.down, own.first_down]), torch.cat([own.up, -own.first_up], 1)
            found.append(low_rank(layer, down, up, own.scaling))
        return found


class Started(nn.Module):
    """B and A, and B0 and A0, of which an adapter holds the former.

    Args:
        up: B0, [outputs, r].
        down: A0, [r, inputs].
        scaling: s.
        name: of the start.
    """

    first_up: Tensor
    first_down: Tensor

    def __init__(self, up: Tensor, down: Tensor, scaling: float, name: str) -> None:
        super().__init__()
        self.scaling, self.name = scaling, name
        self.register_buffer("first_up", up.contiguous(), persistent=False)
        self.register_buffer("first_down", down.contiguous(), persistent=False)
        self.trained = nn.ParameterDict({f"{name}_up": self.first_up.clone(), f"{name}_down": self.first_down.clone()})

    @property
    def up(self) -> Tensor:
        """B."""
        found: Tensor = self.trained[f"{self.name}_up"]
        return found

    @property
    def down(self) -> Tensor:
        """A."""
        found: Tensor = self.trained[f"{self.name}_down"]
        return found

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        x = x.to(self.down.dtype)
        own, first = F.linear(F.linear(x, self.down), self.up), F.linear(F.linear(x, self.first_down), self.first_up)
        return (own - first) * self.scaling
