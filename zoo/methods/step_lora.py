"""LoRA for blocks that stand several times: one A a layer, and one B a step.

    y_t = W x + (alpha / r) B_t A x                        t: the step at which the block stands; B_t = 0 at the start

Of a network that runs one block again and again (`zoo.backbones.bvit`, arXiv 2605.10661), plain LoRA changes every step
alike. Here a step has an update of its own, at the price of one small matrix, and what the steps have in common stands
in A. The paper says that its networks are open to parameter-efficient fine-tuning; this form is ours. As steps before
the first adapted one do not change, they can be cached, which those of plain LoRA on such a network cannot. No single
weight holds the updates of several steps, so that they cannot be merged.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.base import Backbone
from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods import stepwise
from zoo.methods.base import Backbones, Features, Method
from zoo.methods.sites import Site, describe, find


class StepLoRA(Method):
    """Low-rank updates of linear layers, by the step at which their block is run.

    Args:
        targets: suffixes of layer names by backbone, e.g. `{vision: [attn.qkv]}`.
        last: adapt only the last so many steps, by backbone; all where it is not named.
        rank: r of every update.
        alpha: updates are scaled by alpha / rank.
    """

    removable = True
    unmergeable = "one weight serves several steps, each of which has an update of its own"

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        rank: Annotated[int, ">= 1"] = 8,
        alpha: float = 8.0,
    ) -> None:
        super().__init__()
        self.targets, self.last, self.rank, self.alpha = dict(targets), dict(last or {}), rank, alpha
        self.at: int | None = None  # the step that is run

    def attach(self, backbones: Backbones) -> None:
        """Hook the target layers.

        Raises:
            SettingError: a backbone that is no plain encoder or whose blocks stand once each, a number of steps that
                there are not, a suffix that matches no layer (those found are listed), or a layer that is not linear.
        """
        if unknown := sorted(set(self.last) - set(self.targets)):
            raise SettingError(f"method.last: {', '.join(unknown)} are not in method.targets, {sorted(self.targets)}")
        super().attach(backbones)
        sites = find(backbones, self.targets, {})
        every = [(site, steps) for site in sites if (steps := self._steps(site, backbones[site.backbone]))]
        self.matched = describe([site for site, _ in every])
        self.updates = nn.ModuleDict()
        for site, steps in every:
            for path, layer in site.layers.items():
                if not isinstance(layer, nn.Linear):
                    raise SettingError(f"method.targets.{site.target}: {path} is no linear layer, but {layer}")
                update = Update(layer, self.rank, self.alpha / self.rank, steps)
                self.updates[f"{site.target}/{site.index:02d}/{path}".replace(".", "_")] = update
                layer.register_forward_hook(self._hook(update))
            self.depths[site.backbone] = min(self.depths[site.backbone] or 0, steps[0])

    def _steps(self, site: Site, backbone: Backbone) -> list[int]:
        """At which its block is run and adapted; none where only others are run in the last ones."""
        if isinstance(backbone, VisionLanguage) or site.tower:
            raise SettingError(f"method StepLoRA adapts plain encoders; backbones.{site.backbone} has several towers")
        if site.uses == 1:
            raise SettingError(
                f"method StepLoRA is for blocks that stand several times; those of backbones.{site.backbone} stand "
                "once each: method=lora adapts them"
            )
        last = self.last.get(site.target, backbone.depth)
        if not 1 <= last <= backbone.depth:
            raise SettingError(f"method.last.{site.target} = {last}: expected 1 to {backbone.depth}, its steps")
        own = set(site.layers.values())
        steps = [step for step, block in enumerate(backbone.blocks) if not own.isdisjoint(block.modules())]
        return [step for step in steps if step >= backbone.depth - last]

    def describe(self) -> str:
        """Which layers are adapted, and in how many steps."""
        steps = sorted({step for update in self.updates.values() for step in cast(Update, update).steps})
        return f"{self.matched}, with an update of its own at each of the steps {steps[0]} to {steps[-1]}"

    def run(self, name: str, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """As `Backbone.features`, with every update knowing its step."""
        backbone = backbones[name]

        def step(tokens: Tensor, index: int) -> Tensor:
            self.at = index
            try:
                return backbone.through(tokens, index, index + 1)
            finally:
                self.at = None

        return stepwise.features(name, backbone, prefix, self.depths[name] or 0, step, maps=self.maps.get(name, ()))

    def _hook(self, update: "Update") -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor | None]:
        def add(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if not self.acts or self.at is None or self.at not in update.steps:
                return None
            more: Tensor = update(inputs[0], self.at)
            return output + more.to(output.dtype)

        return add


class Update(nn.Module):
    """Of one layer, at every step.

    Args:
        layer: whose output it is added to.
        rank: r.
        scaling: alpha / r.
        steps: that are adapted.
    """

    def __init__(self, layer: nn.Linear, rank: int, scaling: float, steps: Sequence[int]) -> None:
        super().__init__()
        self.scaling, self.steps = scaling, tuple(steps)
        self.down = nn.Parameter(torch.empty(rank, layer.in_features))
        self.ups = nn.Parameter(torch.zeros(len(steps), layer.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor, step: int) -> Tensor:
        """[N, ..., inputs] at a step of the tower -> [N, ..., outputs]."""
        hidden = F.linear(x.to(self.down.dtype), self.down)
        return F.linear(hidden, self.ups[self.steps.index(step)]) * self.scaling
