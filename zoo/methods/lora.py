"""LoRA on any frozen backbones, served by HF `peft` (Hu et al. 2022, arXiv 2106.09685), and LoRA+ (Hayou et al. 2024,
arXiv 2402.12354), which lets B learn faster than A.

`peft` wraps the target layers in place; this file decides which blocks are wrapped, refuses targets that match nothing
or that would never be called, and keeps the blocks before the first wrapped one as a cacheable prefix.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from torch import nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones, Group, LowRank, Method
from zoo.methods.projector import Projectors
from zoo.methods.sites import ahead, describe, find, first_blocks

NAME = "default"
"""What `peft` calls the one adapter of a layer."""


class LoRA(Method):
    """Low-rank updates of linear and convolution layers inside the last blocks of each backbone.

    Args:
        rank: r of every update; B is zero at the start, so step 0 equals the frozen backbone.
        alpha: the update is scaled by alpha / rank.
        targets: module-name suffixes to wrap, by tower, e.g. `{vision: [attn.qkv, attn.proj], audio: [conv1]}`.
        last: wrap only the last so many blocks by tower.
        lr_ratio: learning rate of B in those of A; 1 is LoRA. LoRA+ found 16 good for language models, with a smaller
            rate of A.
        projector_lr: trains what stands between the towers of a vision-language model as well, whole, at so many times
            the learning rate of A; 0 leaves it frozen. LLaVA 1.5 takes a tenth (2e-5 beside LoRA's 2e-4).
    """

    removable = True
    unmergeable = "its projector is trained whole, beside the low-rank updates"

    def __init__(
        self,
        *,
        rank: Annotated[int, ">= 1"] = 8,
        alpha: float = 8.0,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        lr_ratio: Annotated[float, "> 0"] = 1.0,
        projector_lr: Annotated[float, ">= 0"] = 0.0,
    ) -> None:
        super().__init__()
        self.lr_ratio, self.projector_lr = lr_ratio, projector_lr
        self.rank, self.alpha, self.targets, self.last = rank, alpha, dict(targets), dict(last or {})

    def attach(self, backbones: Backbones) -> None:
        """Wrap the targets of every named tower.

        Raises:
            SettingError: a tower without backbone, a suffix that matches no layer (those found are listed), or a layer
                that would never be called, or that is no plain convolution; or no projector where one is to learn.
        """
        from peft import LoraConfig, inject_adapter_in_model

        super().attach(backbones)
        self.sites = sites = find(backbones, self.targets, self.last)
        self.matched = describe(sites)
        for site in sites:
            for path, layer in site.layers.items():
                if reason := _unlike_its_weight(layer):
                    raise SettingError(
                        f"method.targets.{site.target}, block {site.index}: {path} {reason}, so that a low-rank update "
                        "cannot be merged; choose plain convolutions or linear layers"
                    )
        for site in sites:
            targets = list(self.targets[site.target])
            config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=targets, lora_dropout=0.0)
            inject_adapter_in_model(config, site.block)
            for name, parameter in site.block.named_parameters():
                if "lora_" in name:  # peft takes the type of a quantised or half-precision layer for its own
                    parameter.data = parameter.data.float()
        first = first_blocks(sites, backbones)
        self.depths = {name: backbone.prefix_depth(first[name]) for name, backbone in backbones.items()}
        self.projectors = Projectors(backbones) if self.projector_lr else None
        # What a projector gives is read by the first block.
        self.ahead = None if self.projectors else ahead(first, backbones)

    def describe(self) -> str:
        """Which layers are wrapped, and what else learns."""
        return f"{self.matched}; trains the projector" if self.projectors else self.matched

    def parameter_groups(self) -> Mapping[nn.Parameter, Group]:
        """B learns `lr_ratio` times as fast as A, a projector `projector_lr` times."""
        groups = {
            up: Group(lr=self.lr_ratio) for layer in self._wrapped() if (up := layer.lora_B[NAME].weight) is not None
        }
        others = self.projectors.parameters() if self.projectors else ()
        return {**groups, **{parameter: Group(lr=self.projector_lr) for parameter in others}}

    @contextlib.contextmanager
    def without(self) -> Iterator[None]:
        """Within, the wrapped layers give what they gave before."""
        try:
            self._enable(False)
            yield
        finally:
            self._enable(True)

    def _enable(self, enabled: bool) -> None:
        for layer in self._wrapped():
            layer.enable_adapters(enabled)
        if self.projectors:
            self.projectors.enabled = enabled

    def _wrapped(self) -> list[Any]:
        return [site.block.get_submodule(path) for site in self.sites for path in site.layers]

    def low_rank(self, *, gsd: float | None = None) -> list[LowRank]:
        """Every update; no side input matters.

        Raises:
            SettingError: a projector is trained as well, which is no low-rank update.
        """
        if self.projectors:
            return super().low_rank(gsd=gsd)
        return [
            LowRank(layer, layer.lora_A[NAME].weight, layer.lora_B[NAME].weight, layer.scaling[NAME])
            for layer in self._wrapped()
        ]


def _unlike_its_weight(layer: nn.Module) -> str:
    """Why an update of what a convolution gives is no low-rank update of its weight; empty where it is one."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        if layer.groups > 1:
            return f"is a convolution in {layer.groups} groups"
        if type(layer).forward not in (nn.Conv1d.forward, nn.Conv2d.forward):
            return f"is a {type(layer).__name__}, which does not take its weight as it is"
    return ""
