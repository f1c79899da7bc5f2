"""LoRA-XS (Balazy et al. 2024, arXiv 2405.17604): r x r numbers a layer, between singular vectors of the weight.

    y = W x + s B R A x        W = U S V^T;  A = S_r V_r^T, B = U_r;  s = alpha / r;  R = 0: step 0 is the frozen model

A carries the singular values and B is orthonormal, as in the code of "Bayesian fine-tuning in projected subspaces"
(gmum/bayesian-finetuning), where alpha is 2 r. There R is drawn from N(0, 1e-5), so that step 0 is not exact; zero
trains all the same, as the gradient of R is s B^T G A^T. Singular vectors are known up to their signs, which R depends
on: the largest entry of every column of U is made positive, so that an adapter, which holds R alone, finds the same
ones again.
"""

from typing import Annotated, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import SettingError
from zoo.methods.deltas import Delta, low_rank
from zoo.methods.hooked import Hooked, decomposable

NO_ROWS = "its samples have no rows of their own, as gradients by sample need"


class LoRAXS(Hooked):
    """A square matrix between frozen singular vectors, for linear layers inside the last blocks of each backbone.

    Args:
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv, attn.proj]}`.
        last: only the last so many blocks by tower.
        rank: r; r^2 numbers train a layer.
        alpha: the update is scaled by alpha / r; twice the rank where it is not given.
    """

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        rank: Annotated[int, ">= 1"] = 8,
        alpha: float | None = None,
    ) -> None:
        super().__init__(targets=targets, last=last)
        self.rank, self.alpha = rank, 2.0 * rank if alpha is None else alpha

    def update(self, layer: nn.Linear) -> nn.Module:
        """R between the vectors of one weight.

        Raises:
            SettingError: a rank above the weight's, or a quantised layer.
        """
        up, down = vectors(decomposable(layer, self.rank).double(), self.rank)
        return Core(up.float(), down.float(), self.alpha / self.rank)

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Of every layer; no side input matters."""
        found = []
        for place, layer in self.layers.items():
            own = cast(Core, self.updates[place])
            found.append(low_rank(layer, own.core.detach() @ own.down, own.up, own.scaling))
        return found


class Core(nn.Module):
    """R, and the frozen B [outputs, r] and A [r, inputs] around it.

    Attributes:
        other: in the place of R while it is set, [B, r, r], one a sample of the batch, or [1, r, r] for all of them.

    Args:
        up: B.
        down: A.
        scaling: s.
    """

    up: Tensor
    down: Tensor

    def __init__(self, up: Tensor, down: Tensor, scaling: float) -> None:
        super().__init__()
        self.scaling = scaling
        self.register_buffer("up", up.contiguous(), persistent=False)
        self.register_buffer("down", down.contiguous(), persistent=False)
        self.core = nn.Parameter(torch.zeros(len(down), len(down)))
        self.other: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        hidden = F.linear(x.to(self.core.dtype), self.down)
        hidden = F.linear(hidden, self.core) if self.other is None else by_sample(hidden, self.other)
        return F.linear(hidden, self.up) * self.scaling


def by_sample(hidden: Tensor, cores: Tensor) -> Tensor:
    """Rows [N, ..., r] by cores [B, r, r]: N / B rows one after the other, segments or windows, belong to a sample.

    Raises:
        SettingError: they cannot.
    """
    if len(hidden) % len(cores):
        raise SettingError(f"method.targets: a layer sees {len(hidden)} rows of {len(cores)} samples; {NO_ROWS}")
    each = cores.repeat_interleave(len(hidden) // len(cores), dim=0)
    return (hidden.reshape(len(hidden), -1, hidden.shape[-1]) @ each.mT).view_as(hidden)


def vectors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """U_r [outputs, r] and S_r V_r^T [r, inputs] of a weight [outputs, inputs], with signs that are always the same."""
    u, values, v = torch.linalg.svd(weight, full_matrices=False)
    u, v = u[:, :rank], values[:rank, None] * v[:rank]
    signs = u.gather(0, u.abs().argmax(0, keepdim=True)).sign()
    return u * signs, v * signs.T
