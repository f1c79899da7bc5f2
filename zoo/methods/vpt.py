"""Visual prompt tuning (Jia et al., ECCV 2022, arXiv 2203.12119): trained tokens among those of transformer blocks.

    deep     [c_i, _, x_i] = block_i([c_{i-1}, P_i, x_{i-1}])           new prompts P_i before every block
    shallow  [c_i, Z_i, x_i] = block_i([c_{i-1}, Z_{i-1}, x_{i-1}])     Z = P before the first of them alone
    P ~ uniform(-v, v), v = sqrt(6 / (3 p^2 + D))                       p the side of a patch, D the width of tokens

By the paper: both forms, the place behind the class token, the start (as the released code has it), and that nothing
reads the prompts in the end. So they are taken out behind every block, and put in again before the next where they go
through several: pooling, maps, and norms see the tokens that the frozen encoder would give them. Left out: its dropout
and its projection, which the paper's code leaves off by default. Ours: the last blocks alone may have prompts, so that
what precedes them is cached; several class tokens and registers all stand before the prompts; and p is 16 for an
encoder that does not say the stride of its maps.

Step 0 is NOT the frozen encoder, since attention shares its weights with prompts at once: `describe` says how far off.

Prompts belong among tokens that have no order in the eyes of a block. Whether they have is not asked of a name, but
measured: by the gradient of what a block gives one token, with respect to the others. There must be one, it must follow
tokens to other places, and a block must take any number of them. That leaves out networks of maps, attention in
windows, scans (Mamba), and positions inside of blocks (rotary tables, as in DINOv3, and relative biases), to which a
prompt would need a place that the paper does not give it.
"""

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone
from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods import stepwise
from zoo.methods.base import Backbones, Features, Method

PATCH = 16
"""Side of a patch, for the start, where an encoder does not say it."""

TOKENS = 64
"""How many a block is tried on, and one fewer."""

CLOSE = 1e-2
"""Largest difference of two gradients, as a share of the largest value, that is rounding."""


class VPT(Method):
    """Prompts before the last blocks of every transformer.

    Args:
        tokens: n prompts a block.
        deep: new prompts before every one of these blocks, or the same ones through all of them.
        last: prompts in the last so many blocks, by backbone; in all where it is not named.
    """

    removable = True
    unmergeable = "its prompts are tokens between the blocks"

    def __init__(
        self, *, tokens: Annotated[int, ">= 1"] = 10, deep: bool = True, last: dict[str, int] | None = None
    ) -> None:
        super().__init__()
        self.tokens, self.deep, self.last = tokens, deep, dict(last or {})

    def attach(self, backbones: Backbones) -> None:
        """Draw the prompts.

        Raises:
            SettingError: `last` names no backbone or none of its blocks, or a block is one that prompts do not suit.
        """
        if unknown := sorted(set(self.last) - set(backbones)):
            raise SettingError(f"method.last: {', '.join(unknown)} are no backbones; there are {sorted(backbones)}")
        super().attach(backbones)
        self.prompts = nn.ParameterDict()
        self.start: dict[str, float] = {}
        for name, backbone in backbones.items():
            first = self._first(name, backbone)
            self.depths[name] = first
            for index in range(first, backbone.depth):
                suits(backbone, index, where=f"backbones.{name}")
            width, sets = backbone.dims[first], backbone.depth - first if self.deep else 1
            side = backbone.levels[0].stride if backbone.levels else PATCH
            bound = math.sqrt(6 / (3 * side**2 + width))
            self.prompts[name] = nn.Parameter(torch.empty(sets, self.tokens, width).uniform_(-bound, bound))
            self.start[name] = self._shift(name, backbone)

    def _first(self, name: str, backbone: Backbone) -> int:
        """The first block with prompts."""
        if isinstance(backbone, VisionLanguage):
            raise SettingError(f"backbones.{name}: method VPT needs a plain encoder, got {type(backbone).__name__}")
        last = self.last.get(name, backbone.depth)
        if not 1 <= last <= backbone.depth:
            raise SettingError(
                f"method.last.{name} = {last}: expected 1 to {backbone.depth}, the blocks of the encoder"
            )
        return backbone.depth - last

    @torch.no_grad()
    def _shift(self, name: str, backbone: Backbone) -> float:
        """How far the last tokens are from the frozen encoder's on noise: largest change, as a share of the largest."""
        first, given = self.depths[name] or 0, noise(backbone, self.depths[name] or 0)
        frozen, walk = backbone.through(given, first), Walk(backbone, self.prompts[name], first)
        for index in range(first, backbone.depth):
            given = walk(given, index)
        return _difference(given, frozen)

    def describe(self) -> str:
        """Where prompts stand, and how far from the frozen encoder training starts."""
        parts = []
        for name, prompts in self.prompts.items():
            first = self.depths[name] or 0
            where = (
                f"blocks {first} to {first + len(prompts) - 1}" if self.deep else f"block {first}, for all later ones"
            )
            away = f"starts elsewhere: the last tokens are changed by up to {100 * self.start[name]:.2g} %"
            parts.append(f"{self.tokens} prompts before {name} {where}; {away}")
        return "; ".join(parts)

    def run(self, name: str, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """As `Backbone.features`, with prompts among the tokens inside blocks, and nowhere else."""
        if not self.acts:
            return super().run(name, backbones, prefix, batch)
        first = self.depths[name] or 0
        walk = Walk(backbones[name], self.prompts[name], first)
        return stepwise.features(name, backbones[name], prefix, first, walk, maps=self.maps.get(name, ()))


class Walk:
    """One pass through the blocks with prompts, which are taken out behind every block.

    Args:
        backbone: whose blocks these are.
        prompts: [blocks, n, D], or [1, n, D] that go through all of them.
        first: the block before which they begin.
    """

    def __init__(self, backbone: Backbone, prompts: Tensor, first: int) -> None:
        self.backbone, self.prompts, self.first = backbone, prompts, first
        self.before = backbone.leading or 0
        self.carried: Tensor | None = None  # [N, n, D], what became of prompts that go on

    def __call__(self, tokens: Tensor, index: int) -> Tensor:
        """Tokens [N, L, D] before a block -> those behind it, [N, L, D']."""
        own = self.prompts[index - self.first if len(self.prompts) > 1 else 0].expand(tokens.shape[0], -1, -1)
        if self.carried is not None:
            own = self.carried
        before, end = self.before, self.before + own.shape[1]
        every = torch.cat([tokens[:, :before], own.to(tokens.dtype), tokens[:, before:]], 1)
        every = self.backbone.through(every, index, index + 1)
        if len(self.prompts) == 1:
            self.carried = every[:, before:end]
        return torch.cat([every[:, :before], every[:, end:]], 1)


def suits(backbone: Backbone, index: int, *, where: str) -> None:
    """Check that prompts may stand before a block: to it tokens have no order and any number, and see each other.

    Raises:
        SettingError: they may not, naming `where` it is and why.
    """
    given = noise(backbone, index)
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(1)).tolist()
    middle = TOKENS // 2  # the first token of a scan would see no other
    try:
        plain = influence(backbone, index, given, middle)
        permuted = influence(backbone, index, given[:, order], order.index(middle))
        influence(backbone, index, given[:, 1:], middle)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:  # blocks have no common class
        reason = f"does not take tokens of any number ({(str(error).splitlines() or [type(error).__name__])[0]})"
    else:
        if not plain.any():
            reason = "lets no token see another"
        elif _difference(permuted, plain[:, order]) > CLOSE:
            reason = "sees in which order tokens stand"
        else:
            return
    raise SettingError(
        f"{where}: method VPT needs plain transformers (dinov2, timm_vit without rotary positions, clip, siglip, "
        f"wav2vec 2.0); block {index} of {type(backbone).__name__} {reason}"
    )


@torch.enable_grad()
def influence(backbone: Backbone, index: int, tokens: Tensor, place: int) -> Tensor:
    """Gradient of the sum of what a block gives one token, with respect to all others, [1, L, D]; 0 at its own place.

    Raises:
        ValueError: the block gives another number of tokens.
    """
    tokens = tokens.detach().requires_grad_()
    found = backbone.through(tokens, index, index + 1)
    if found.shape[1] != tokens.shape[1]:
        raise ValueError(f"it makes {found.shape[1]} of {tokens.shape[1]}")
    weights = torch.linspace(-1, 1, found.shape[-1]).to(found)  # of channels: a norm makes their plain sum a constant
    (gradient,) = torch.autograd.grad((found[0, place] * weights).sum(), tokens)
    gradient[0, place] = 0
    return gradient


def noise(backbone: Backbone, index: int) -> Tensor:
    """Tokens [1, TOKENS, D] before a block, the same each time."""
    like = next(backbone.parameters())
    return torch.randn(1, TOKENS, backbone.dims[index], generator=torch.Generator().manual_seed(0)).to(like)


def _difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
