"""Conv-LoRA (Zhong et al., ICLR 2024, arXiv 2401.17868): convolutions at several scales between LoRA's two matrices.

    u = A x                                                x [N, L, inputs] -> u [N, L, r], tokens laid out as a map
    E_k(u) = resize_1/k(GELU(conv3x3_k(resize_k(u))))      k = 1..n, bilinear: enlarged k times, and back
    g = softmax(G mean(u) + b)                             how much of each, one a map; equal at the start
    y = W x + (alpha / r) B (u + sum_k g_k E_k(u))         B = 0: step 0 is the frozen encoder, exactly

Established, by the paper and its released code: experts of the scales 1 to n in the bottleneck of rank r, each one
convolution of r channels; a gate that reads the mean over places; u itself added. What differs here: the paper opens
one expert a map, the best after noise was added, beside a loss that keeps experts equally busy. As the one that is open
has the weight 1, no gradient of the task reaches such a gate in the released code. Here all experts are weighed, as in
the sum that the paper writes, so that the gate learns from the task, no loss is added and an export has no branches; it
costs the convolutions of all scales. The released code resizes bicubically.

Layers that see a window of the picture, as those of windowed attention do, are given convolutions inside of it, as in
the paper's SAM. Class tokens and registers have no neighbours, and are given A and B alone.
"""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.bottleneck import TOWERS
from zoo.methods.grid import joined, leading, split
from zoo.methods.hooked import Hooked
from zoo.methods.sites import Site


class ConvLoRA(Hooked):
    """Low-rank updates with convolutions in between, of linear layers inside the last blocks of image encoders.

    Args:
        targets: suffixes of layer names by tower, e.g. `{image: [attn.qkv, mlp.fc1]}`.
        last: adapt only the last so many blocks, by tower.
        rank: r of every update, and channels of its convolutions.
        alpha: the update is scaled by alpha / rank.
        experts: n. The last one sees a map of n times the side, so that n = 8, as in the released code, takes two
            hundred times the memory of one convolution.
    """

    unmergeable = "it has convolutions between the two matrices of every update"

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        rank: Annotated[int, ">= 1"] = 8,
        alpha: float = 8.0,
        experts: Annotated[int, ">= 1"] = 3,
    ) -> None:
        super().__init__(targets=targets, last=last)
        self.rank, self.alpha, self.experts = rank, alpha, experts

    def require(self, site: Site, backbones: Backbones) -> None:
        """Tokens must lie on a grid.

        Raises:
            SettingError: they do not.
        """
        where = f"method.targets.{site.target}"
        if site.tower not in TOWERS:
            raise SettingError(f"{where}: method ConvLoRA adapts image encoders, whose tokens lie on a grid")
        self.before = leading(backbones[site.backbone], where=where, method="ConvLoRA")

    def update(self, layer: nn.Linear) -> nn.Module:
        """Two matrices and the convolutions."""
        scaling = self.alpha / self.rank
        return Update(
            layer.in_features,
            layer.out_features,
            rank=self.rank,
            scaling=scaling,
            experts=self.experts,
            before=self.before,
        )

    def describe(self) -> str:
        """Which layers are adapted, and by how many convolutions each."""
        scales = "one convolution" if self.experts == 1 else f"convolutions at scales 1 to {self.experts}"
        return f"{self.matched}, with {scales} in each update"


class Update(nn.Module):
    """What is added to one linear layer's output.

    Args:
        inputs: width of the layer's input.
        outputs: width of its output.
        rank: r.
        scaling: alpha / r.
        experts: n.
        before: tokens before the grid.
    """

    def __init__(self, inputs: int, outputs: int, *, rank: int, scaling: float, experts: int, before: int) -> None:
        super().__init__()
        self.scaling, self.before = scaling, before
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.convolutions = nn.ModuleList(nn.Conv2d(rank, rank, 3, padding=1) for _ in range(experts))
        if experts > 1:
            self.gate = nn.Linear(rank, experts)
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, H, W, inputs] or tokens [N, before + S * S, inputs] -> the update, of the output's width.

        Raises:
            SettingError: tokens that lie on no square.
        """
        hidden = F.linear(x.to(self.down.dtype), self.down)
        if x.ndim == 4:
            grid = hidden.permute(0, 3, 1, 2)
            mixed = (grid + self._mixed(grid)).permute(0, 2, 3, 1)
        else:
            others, grid = split(hidden, self.before)
            mixed = joined(others, grid + self._mixed(grid))
        return F.linear(mixed, self.up) * self.scaling

    def _mixed(self, grid: Tensor) -> Tensor:
        """[N, r, H, W] -> what the experts make of it, weighed."""
        size = grid.shape[2:]
        found = []
        for scale, convolution in enumerate(self.convolutions, 1):
            large = F.interpolate(grid, size=[scale * side for side in size], mode="bilinear") if scale > 1 else grid
            seen = F.gelu(convolution(large))
            found.append(F.interpolate(seen, size=size, mode="bilinear") if scale > 1 else seen)
        if len(found) == 1:
            return found[0]
        gates = self.gate(grid.mean((2, 3))).softmax(-1)  # [N, n]
        return torch.einsum("ne,nerhw->nrhw", gates, torch.stack(found, 1))
