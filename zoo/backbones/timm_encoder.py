"""Any image encoder of timm behind the stepwise interface: transformers, pyramids of windows, convolutional networks.

How a network is cut into blocks is found by running it (`chain`), and measured each time one is built: block by block,
pictures must become what its own `forward_features` and `forward_head` make of them. A network that is no chain of
blocks (parallel resolutions, a class token that enters late) is refused by name. A map [N, C, H, W] travels as tokens
[N, H W, C]; the square input has one size, so that every block knows its map's sides.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Self

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from zoo.backbones import calls, chain, timm_models, weights
from zoo.backbones.chain import Block, Chain, Constants
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.square import SquareBackbone, square
from zoo.batch import Framed, tensor_of
from zoo.errors import SettingError

LEAST = 0.5
"""Share of parameters that must lie in the blocks where some blocks come before the chain, so that methods can act."""


class TimmEncoder(SquareBackbone):
    """An image encoder of timm.

    Pooled features are those of the network's own pooling, before its classifier.

    Args:
        model: timm's name of the architecture, e.g. `convnext_tiny` or `swin_tiny_patch4_window7_224`.
        source: `timm:NAME` (NAME may carry a pretrained tag), `file:PATH` to a safetensors file in timm's names, or
            `random:SEED`.
        image_size: side of the square input; the network's own by default. Learned positions and windows follow where
            timm lets them.
        blocks: how many blocks are run, before the last norm and the pooling; all by default.

    Raises:
        SettingError: timm has no such model, it is no chain of blocks, or it does not take this size or cut.
        WeightsError: the weights cannot be had, or do not fit.
    """

    stream = "vision"
    file_prefix = ""

    def __init__(
        self,
        *,
        model: str,
        source: str,
        image_size: Annotated[int, ">= 1"] | None = None,
        blocks: Annotated[int, ">= 1"] | None = None,
    ) -> None:
        super().__init__()
        self.named(model, source)
        parsed = weights.parse(source)
        with initialising(source, model):
            net = timm.create_model(parsed.name if parsed.kind == "timm" else model, num_classes=0)
        if parsed.kind == "timm":
            if not weights.here(source):  # what will be refused is refused before a fetch
                self._take(net, image_size, blocks)
            net = timm_models.published(source)
        self._take(net, image_size, blocks, None if parsed.kind != "file" else source)

    @classmethod
    def of(cls, net: Any, *, image_size: int | None = None) -> Self:
        """A network that is there already, which from here on is the backbone's: frozen, and without its classifier.

        Args:
            net: a model of timm, or one with its `forward_features`, `forward_head` and `pretrained_cfg`.
            image_size: side of the square input; the network's own by default.

        Raises:
            SettingError: it is none, no chain of blocks, or does not take this size.
        """
        usable = isinstance(net, nn.Module) and callable(getattr(net, "forward_features", None))
        if not usable:
            raise SettingError(f"{type(net).__name__}: expected a model of timm, which has `forward_features`")
        made = cls.__new__(cls)
        SquareBackbone.__init__(made)
        if getattr(net, "num_classes", 0) and callable(getattr(net, "reset_classifier", None)):
            net.reset_classifier(0)
        made._take(net, image_size, None)
        return made

    @staticmethod
    def named(model: str, source: str) -> None:
        """Refuse names that timm does not know; neither weights nor data are asked for.

        Raises:
            SettingError: of the model.
            WeightsError: of its weights.
        """
        timm_models.agreed(model, source)

    def _take(self, net: Any, image_size: int | None, blocks: int | None, file: str | None = None) -> None:
        """Make a network this backbone's: cut, loaded from a file where one is named, resized, stepped."""
        net.requires_grad_(False).eval()
        config = resolve_model_data_config(net)
        own, self.mean, self.std = timm_models.side(net), tuple(config["mean"]), tuple(config["std"])
        self.interpolation = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"
        self.image_size = image_size or own
        state, parts = weights.load_state_dict(weights.resolve(file)) if file else {}, set(net.state_dict())
        if blocks is not None:
            timm_models.cut(net, self._stepped(net, own)[0], blocks)
        before = not timm_models.misshapen(net, state)
        if before:
            self._known(net, file, state, parts)
        timm_models.resize(net, own, self.image_size)
        if not before:
            self._known(net, file, state, parts)
        self.net = net
        self.chain, self.constants = self._stepped(net, self.image_size)
        ends = [block[-1].out.width for block in self.chain.blocks]
        self.dims = (self.chain.blocks[0][0].into.width, *ends)
        self.leading = self._before_the_grid()
        self.output_dim = self._measured()
        self.freeze()

    def _known(self, net: nn.Module, file: str | None, state: dict[str, Tensor], parts: set[str]) -> None:
        """Load a file's tensors, and fingerprint what is there: positions as they are stored, not as resampled."""
        if file:
            timm_models.load(net, state, parts, file)
        settings = {
            "model": timm_models.title(net),
            "image_size": self.image_size,
            "mean": self.mean,
            "std": self.std,
            "interpolation": self.interpolation,
            "pool": timm_models.pooling(net),
        }
        self.fingerprint = fingerprint(net, settings)

    def _stepped(self, net: nn.Module, size: int) -> tuple[Chain, Constants]:
        """A network's chain at an input size.

        Raises:
            SettingError: it does not take this size, or is no chain.
        """
        constants, title = Constants(), timm_models.title(net)
        try:
            found = chain.find(net, _pictures(net, 2, size), constants)
        except (AssertionError, RuntimeError, ValueError, TypeError) as error:  # timm's have no common class
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise SettingError(f"image_size = {size}: {title} does not take such pictures: {reason}") from error
        if found is None:
            raise SettingError(f"{title}: no usable stages: expected a chain of blocks that ends in `forward_features`")
        parts = [step.module for part in (*found.blocks, found.tail) for step in part]
        held = sum({id(p): p.numel() for part in parts for p in part.parameters()}.values())
        if not found.whole and held < LEAST * sum(p.numel() for p in net.parameters()):
            raise SettingError(
                f"{title}: no usable stages: expected a chain of blocks, found one from {found.blocks[0][-1].path} on, "
                "with less than half of its parameters"
            )
        return found, constants

    def _before_the_grid(self) -> int | None:
        """See `leading`: tokens of a plain transformer stand as its patches do, those of other networks may not."""
        layouts = [layout for block in self.chain.blocks for layout in (block[0].into, block[-1].out)]
        if all(layout.form != "NLC" for layout in layouts):
            return 0
        before = getattr(self.net, "num_prefix_tokens", None)
        sides = [layout.shape[0] - before for layout in layouts] if isinstance(before, int) else []
        return before if sides and all(math.isqrt(count) ** 2 == count for count in sides) else None

    @torch.no_grad()
    def _measured(self) -> int:
        """Width of the pooled features, where stepping gives what the network itself gives.

        Raises:
            SettingError: it does not.
        """
        net: Any = self.net
        pictures = _pictures(net, 1, self.image_size)
        whole = net.forward_features(pictures)
        theirs = self.chain.end.tokens(calls.first(whole))
        try:
            tokens = self(pictures)
            pooled = self.pool(tokens)
        except RuntimeError:  # blocks are given something that belongs to other pictures
            tokens = pooled = theirs.new_empty(0)
        same = tokens.shape == theirs.shape and _close(tokens, theirs)
        if same and callable(getattr(net, "forward_head", None)):
            head = net.forward_head(whole, pre_logits=True)
            same = head.shape != pooled.shape or _close(pooled, head)
        if not same:
            title = timm_models.title(net)
            raise SettingError(
                f"{title}: no usable stages: its blocks, run one by one, give other numbers than it does"
            )
        return int(pooled.shape[-1])

    @property
    def dim(self) -> int:
        """Width of what its pooling gives: some networks widen once more behind it."""
        return self.output_dim

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S (as the weights were trained, bicubic or bilinear,
        antialiased), centre crop, normalised. timm's own evaluation crops the borders too (`crop_pct`); here they are
        seen."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        return square(frames, self.image_size, self.mean, self.std, interpolation=self.interpolation)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, L, D] before the first block: stem or patches, positions, class tokens."""
        if not self.chain.whole:
            block = self.chain.blocks[0][-1]
            return block.into.tokens(chain.before(self.net, block.module, inputs))
        tokens = inputs.flatten(2).transpose(1, 2)
        for step in self.chain.lead:
            tokens = step(tokens, self.constants.get)
        return tokens

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The network's own blocks, each with what leads to it from the one before."""
        return [
            steps[0].module if len(steps) == 1 and steps[0].plain else Block(steps, self.constants.get)
            for steps in self.chain.blocks
        ]

    def finish(self, tokens: Tensor) -> Tensor:
        """The last norm, or the last convolution."""
        for step in self.chain.tail:
            tokens = step(tokens, self.constants.get)
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """What the network's own head makes before its classifier, [N, dim]; the mean of the tokens without one."""
        net: Any = self.net
        if callable(getattr(net, "forward_head", None)):
            pooled: Tensor = net.forward_head(self.chain.end.restored(tokens), pre_logits=True)
            if pooled.ndim == 2:
                return pooled
        return tokens.mean(1)


def _pictures(net: nn.Module, count: int, size: int) -> Tensor:
    """Noise [count, 3, size, size], the same each time, where and as the network's parameters are."""
    like = next(net.parameters())
    noise = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))
    return noise.to(like)


def _close(ours: Tensor, theirs: Tensor) -> bool:
    """Up to rounding; bit for bit on a processor, which the tests ask."""
    return torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
