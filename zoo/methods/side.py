"""Ladder side tuning (Sung et al., NeurIPS 2022, arXiv 2206.06522): a thin network beside the frozen encoder.

    u_k = D_k norm(h_k)                                     h_k frozen tokens at the k-th of n depths, D_k: D -> D / r
    g_1 = block_1(u_1),  g_k = block_k(mu_k u_k + (1 - mu_k) g_{k-1})          mu_k = sigmoid(a_k / T), a_k = 0
    y = pool(h_n) + U mean(norm(g_n))                       U = 0: step 0 is the frozen encoder, exactly

No gradient enters the encoder, and nothing inside of it changes: the whole of it is a prefix, which the cache keeps at
n depths, so that later epochs train the side network alone. A cached sample takes n times the room of its last tokens.

By the paper: the ladder from frozen states to a network that is r = 8 times thinner, gates with T = 0.1, half open at
the start, blocks that are thin copies of the encoder's, some of them left out, and a projection back to its width.
Ours: what is read is normed, as states of a vision transformer grow with depth; the ladder begins at the first depth
that is read, where the paper's begins at the embedding; blocks are those of a plain transformer whatever the encoder's
are, and begin as PyTorch draws them, where the paper's may begin from the encoder's pruned weights; the projection
starts at zero and is added to the frozen feature, where in the paper it takes the place of the last hidden state; and
the mean over tokens stands before it.

Encoders whose tokens change in number or width from depth to depth (stages of a CNN, pyramids) are read by the mean of
each depth (`tokens: mean`), where a block is an MLP alone.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.base import Backbone, tap
from zoo.backbones.vision_language import VisionLanguage
from zoo.backbones.vit import Attention, Mlp
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Features, Method
from zoo.methods.bottleneck import silent


class Side(Method):
    """One side network beside every encoder, for tasks that read one feature a segment.

    Args:
        rungs: n, depths that are read, spread evenly; the last one is the last block.
        reduction: r, by which it is thinner than the encoder's last block.
        heads: of the attention in its blocks.
        temperature: T.
        tokens: `all` of a depth, or their `mean`.
    """

    removable = True
    unmergeable = "its network stands beside the encoder"
    dense = False

    def __init__(
        self,
        *,
        rungs: Annotated[int, ">= 1"] = 4,
        reduction: Annotated[int, ">= 1"] = 8,
        heads: Annotated[int, ">= 1"] = 4,
        temperature: Annotated[float, "> 0"] = 0.1,
        tokens: Literal["all", "mean"] = "all",
    ) -> None:
        super().__init__()
        self.rungs, self.reduction, self.heads = rungs, reduction, heads
        self.temperature, self.tokens = temperature, tokens

    def attach(self, backbones: Backbones) -> None:
        """Create the side networks.

        Raises:
            SettingError: fewer blocks than rungs; widths that differ where all tokens are read, or that heads do not
                divide; or a backbone that keeps no tokens.
        """
        super().attach(backbones)
        self.taps = {name: self._depths(name, backbone) for name, backbone in backbones.items()}
        self.ladders = nn.ModuleDict()
        for name, backbone in backbones.items():
            widths = [backbone.dims[after] for after in self.taps[name]]
            thin = widths[-1] // self.reduction
            if self.tokens == "all" and len(set(widths)) > 1:
                raise SettingError(
                    f"backbones.{name}: its tokens are {', '.join(map(str, widths))} wide after blocks "
                    f"{_listed(self.taps[name])}; method.tokens=mean reads the mean of each depth"
                )
            heads = self.heads if self.tokens == "all" else 0
            if not thin or (heads and thin % heads):
                raise SettingError(
                    f"method.reduction = {self.reduction} leaves {thin} of the {widths[-1]} channels of "
                    f"backbones.{name}; expected a multiple of method.heads = {self.heads}"
                )
            self.ladders[name] = Ladder(widths, thin, backbone.dim, heads=heads, temperature=self.temperature)

    def _depths(self, name: str, backbone: Backbone) -> tuple[int, ...]:
        """Blocks behind which an encoder is read."""
        if isinstance(backbone, VisionLanguage) or self.depths[name] != backbone.depth:
            raise SettingError(
                f"backbones.{name}: method Side needs an encoder whose tokens can be kept; those of "
                f"{type(backbone).__name__} cannot"
            )
        if self.rungs > backbone.depth:
            raise SettingError(f"method.rungs = {self.rungs}: backbones.{name} has {backbone.depth} blocks")
        return tuple(math.ceil(backbone.depth * k / self.rungs) for k in range(1, self.rungs + 1))

    def describe(self) -> str:
        """Beside which encoders, how thin, and what is read of them."""
        parts = []
        for name, ladder in self.ladders.items():
            assert isinstance(ladder, Ladder)
            what = "all tokens" if self.tokens == "all" else "the mean token"
            parts.append(
                f"a network of width {ladder.width} beside {name}, which reads {what} after blocks "
                f"{_listed(self.taps[name])}"
            )
        return "; ".join(parts)

    def run(self, name: str, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """The frozen feature, and what the side network adds to it.

        Raises:
            SettingError: the encoder pools to more than one feature, or its tokens change in number.
        """
        frozen = backbones[name].rest(prefix[name], self.depths[name], batch)  # [B, T, dim]
        if not self.acts:
            return {name: frozen}
        if frozen.ndim != 3:
            raise SettingError(
                f"backbones.{name}: method Side adds to one feature a segment; it gives {frozen.shape[2]}"
            )
        *inner, _ = self.taps[name]
        states = [each.flatten(0, 1) for each in (*(prefix[tap(name, after)] for after in inner), prefix[name])]
        if self.tokens == "mean":
            states = [state.mean(1, keepdim=True) for state in states]
        if len(counts := {state.shape[1] for state in states}) > 1:
            raise SettingError(
                f"backbones.{name}: it has {', '.join(map(str, sorted(counts)))} tokens after blocks "
                f"{_listed(self.taps[name])}; method.tokens=mean reads the mean of each depth"
            )
        added: Tensor = self.ladders[name](states)
        return {name: frozen + added.unflatten(0, frozen.shape[:2])}


class Ladder(nn.Module):
    """What reads frozen states from the first depth to the last.

    Args:
        widths: of the states, one a depth.
        width: of its own tokens.
        outputs: width of what it gives.
        heads: of attention; 0 for blocks without.
        temperature: T.
    """

    def __init__(self, widths: Sequence[int], width: int, outputs: int, *, heads: int, temperature: float) -> None:
        super().__init__()
        self.width, self.temperature = width, temperature
        self.downs = nn.ModuleList(nn.Linear(each, width, bias=False) for each in widths)
        self.blocks = nn.ModuleList(Thin(width, heads) for _ in widths)
        self.gates = nn.Parameter(torch.zeros(len(widths) - 1))
        self.norm, self.up = nn.LayerNorm(width), silent(width, outputs)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """States [N, L, widths[k]] -> [N, outputs], zero at the start."""
        read = [down(F.layer_norm(state, state.shape[-1:])) for down, state in zip(self.downs, states, strict=True)]
        tokens = self.blocks[0](read[0])
        for own, block, gate in zip(read[1:], itertools.islice(self.blocks, 1, None), self.gates, strict=True):
            share = torch.sigmoid(gate / self.temperature)
            tokens = block(share * own + (1 - share) * tokens)
        added: Tensor = self.up(self.norm(tokens).mean(1))
        return added


class Thin(nn.Module):
    """A block of a plain transformer, normed before each part; an MLP alone where there are no heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width) if heads else None
        self.attn = Attention(width, heads) if heads else None
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width, 4 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, width] -> [N, L, width]."""
        if self.norm1 is not None and self.attn is not None:
            tokens = tokens + self.attn(self.norm1(tokens))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


def _listed(blocks: Sequence[int]) -> str:
    return ", ".join(map(str, blocks))
