"""The two adapters of "Prompt-Free and Efficient SAM2 Adaptation for Biomedical Semantic Segmentation via Dual
Adapters" (2026, arXiv 2605.05979), reconstructed: one for accuracy, one for speed.

    x = x + scale * W_up GELU(f(W_down x))                 W_up = 0: step 0 is the frozen encoder, exactly
    hp: f = deformable convolution 3x3 of version 2        places to look at, and their weights, by a convolution 3x3
    lw: f = sum of convolutions 3x3, 1x3, 3x1, 1x1 and u   each channel by itself; one 3x3 once it was trained

The paper is known by its abstract and by readings of it; its text and code were not available. Its own, by these: a
frozen image encoder beside either a high-performance adapter (HP) with deformable convolutions (Zhu et al. 2019, arXiv
1811.11168), for boundaries, or a lightweight one (LW) of several branches in training that are fused into one
convolution for inference (structural re-parameterisation, as in RepVGG, Ding et al. 2021, arXiv 2101.03697). Ours, for
it is silent: where adapters stand (behind blocks), their bottleneck and its width, the branches and that none is
normed, so that a prediction cannot depend on the batch, convolutions channel by channel in LW, and the start: silent,
offsets zero and weights one. Left out: its generator of positions for any aspect ratio, as inputs are squares here, and
its head without prompts, whose place the zoo's segmentation head takes. So its numbers are not this code's.

Without norms the branches are one convolution in training as well: they change how it learns, not what it can compute.
Class tokens and registers have no neighbours, and pass f as they are.
"""

from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.base import Backbone
from zoo.methods.bottleneck import Bottleneck, silent
from zoo.methods.grid import joined, leading, split

BRANCHES = ((3, 3), (1, 3), (3, 1), (1, 1))
"""Height and width of the kernels that are added up, beside the identity."""


class DualAdapter(Bottleneck):
    """One adapter with a convolution after each of the last blocks of every encoder whose tokens lie on a grid.

    Args:
        form: `hp`, deformable, or `lw`, branched in training and one convolution otherwise.
        width: of the bottleneck.
        scale: of what an adapter adds.
        last: adapt only the last so many blocks, by backbone; all where it is not named.
    """

    def __init__(
        self,
        *,
        form: Literal["hp", "lw"],
        width: Annotated[int, ">= 1"] = 32,
        scale: float = 1.0,
        last: dict[str, int] | None = None,
    ) -> None:
        super().__init__(width=width, scale=scale, last=last)
        self.form = form

    def adapter(self, name: str, backbone: Backbone, width: int) -> nn.Module:
        """One adapter, silent at the start.

        Raises:
            SettingError: the encoder's tokens lie on no grid.
        """
        before = leading(backbone, where=f"backbones.{name}", method="DualAdapter")
        middle = Deformable(self.width) if self.form == "hp" else Branched(self.width)
        return GridAdapter(width, self.width, middle, before)

    def describe(self) -> str:
        """After which blocks adapters stand, and of which form."""
        return f"{self.form} {super().describe()}"


class GridAdapter(nn.Module):
    """Down, a convolution over the grid, GELU, up.

    Args:
        width: of tokens.
        bottleneck: channels of the map.
        middle: [N, bottleneck, S, S] -> the same shape.
        before: tokens before the grid.
    """

    def __init__(self, width: int, bottleneck: int, middle: nn.Module, before: int) -> None:
        super().__init__()
        self.before = before
        self.down, self.middle, self.up = nn.Linear(width, bottleneck), middle, silent(bottleneck, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, before + S * S, width] -> what is added to them."""
        others, grid = split(self.down(tokens), self.before)
        out: Tensor = self.up(F.gelu(joined(others, self.middle(grid))))
        return out


class Deformable(nn.Module):
    """A deformable convolution, version 2: each of nine samples has an offset and a weight of its own at every place.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.offsets = nn.Conv2d(channels, 3 * 9, 3, padding=1)  # y and x of every sample, then their weights
        for parameter in self.offsets.parameters():
            nn.init.zeros_(parameter)

    def forward(self, grid: Tensor) -> Tensor:
        """[N, C, S, S] -> [N, C, S, S]; in single precision, for which alone there are kernels everywhere."""
        from torchvision.ops import deform_conv2d

        with torch.autocast(grid.device.type, enabled=False):
            grid = grid.float()
            offsets, weights = self.offsets(grid).split([18, 9], 1)
            own = self.convolution
            mask = 2 * weights.sigmoid()
            out: Tensor = deform_conv2d(grid, offsets, own.weight, own.bias, padding=1, mask=mask)
            return out


class Branched(nn.Module):
    """Convolutions of several shapes, channel by channel, added up with what they are given.

    Args:
        channels: of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, channels, size, padding=(size[0] // 2, size[1] // 2), groups=channels)
            for size in BRANCHES
        )

    def fused(self) -> tuple[Tensor, Tensor]:
        """Kernel [C, 1, 3, 3] and bias [C] of the one convolution that they are."""
        branches = [cast(nn.Conv2d, branch) for branch in self.branches]
        kernels = [
            F.pad(branch.weight, [(3 - width) // 2] * 2 + [(3 - height) // 2] * 2)
            for branch, (height, width) in zip(branches, BRANCHES, strict=True)
        ]
        identity = F.pad(torch.ones_like(kernels[0][..., :1, :1]), [1] * 4)
        biases = [cast(Tensor, branch.bias) for branch in branches]
        return torch.stack([*kernels, identity]).sum(0), torch.stack(biases).sum(0)

    def forward(self, grid: Tensor) -> Tensor:
        """[N, C, S, S] -> [N, C, S, S], branch by branch in training, by one convolution in evaluation."""
        if not self.training:
            kernel, bias = self.fused()
            return F.conv2d(grid, kernel, bias, padding=1, groups=len(kernel))
        return torch.stack([grid, *(branch(grid) for branch in self.branches)]).sum(0)
