"""LoRA on any frozen backbones, served by HF `peft` (Hu et al. 2022, arXiv 2106.09685), and LoRA+ (Hayou et al. 2024,
arXiv 2402.12354), which lets B learn faster than A.

One tuner of `zoo.methods.peft`, of which more is known: its updates can be folded into the frozen weights, A and B may
learn at rates of their own, and the projector of a vision-language model may learn beside them.
"""

from collections.abc import Mapping
from typing import Annotated

from torch import nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones, Group
from zoo.methods.deltas import Delta, low_rank
from zoo.methods.peft import NAME, PEFT
from zoo.methods.projector import Projectors


class LoRA(PEFT):
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
        super().__init__(tuner="lora", settings={"r": rank, "lora_alpha": alpha}, targets=targets, last=last)
        self.rank, self.alpha, self.lr_ratio, self.projector_lr = rank, alpha, lr_ratio, projector_lr

    def attach(self, backbones: Backbones) -> None:
        """As any tuner's; a projector that learns is wrapped as well.

        Raises:
            SettingError: as any tuner's; a layer that is no plain convolution; or no projector where one is to learn.
        """
        for place in self.places(backbones):
            if reason := _unlike_its_weight(place.layer):
                raise SettingError(
                    f"method.targets.{place.where} {reason}, so that a low-rank update cannot be merged; choose plain "
                    "convolutions or linear layers"
                )
        super().attach(backbones)
        self.projectors = Projectors(backbones) if self.projector_lr else None
        if self.projectors:
            self.ahead = None  # what a projector gives is read by the first block

    def describe(self) -> str:
        """Which layers are wrapped, and what else learns."""
        return f"{self.matched}; trains the projector" if self.projectors else self.matched

    def parameter_groups(self) -> Mapping[nn.Parameter, Group]:
        """B learns `lr_ratio` times as fast as A, a projector `projector_lr` times."""
        groups = {
            up: Group(lr=self.lr_ratio) for layer in self.wrapped() if (up := layer.lora_B[NAME].weight) is not None
        }
        others = self.projectors.parameters() if self.projectors else ()
        return {**groups, **{parameter: Group(lr=self.projector_lr) for parameter in others}}

    def _enable(self, enabled: bool) -> None:
        super()._enable(enabled)
        if self.projectors:
            self.projectors.enabled = enabled

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Every update, and the changes of a projector that learns; no side input matters."""
        updates = [
            low_rank(layer, layer.lora_A[NAME].weight, layer.lora_B[NAME].weight, layer.scaling[NAME])
            for layer in self.wrapped()
        ]
        return [*updates, *(self.projectors.deltas() if self.projectors else ())]


def _unlike_its_weight(layer: nn.Module) -> str:
    """Why an update of what a convolution gives is no low-rank update of its weight; empty where it is one."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):
        if layer.groups > 1:
            return f"is a convolution in {layer.groups} groups"
        if type(layer).forward not in (nn.Conv1d.forward, nn.Conv2d.forward):
            return f"is a {type(layer).__name__}, which does not take its weight as it is"
    return ""
