"""LoRA on any frozen backbones, served by HF `peft` (Hu et al. 2022, arXiv 2106.09685).

`peft` wraps the target layers in place; this file decides which blocks are wrapped, refuses targets that match nothing
or that would never be called, and keeps the blocks before the first wrapped one as a cacheable prefix.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from torch import Tensor, nn

from zoo.backbones.base import TextEncoder
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method


class LoRA(Method):
    """Low-rank updates of linear and convolution layers inside the last blocks of each backbone.

    Args:
        rank: r of every update; B is zero at the start, so step 0 equals the frozen backbone.
        alpha: the update is scaled by alpha / rank.
        targets: module-name suffixes to wrap, by stream, e.g. `{vision: [attn.qkv, attn.proj], audio: [conv1]}`.
        last: wrap only the last so many blocks of each backbone, by stream.
    """

    def __init__(
        self,
        *,
        rank: Annotated[int, ">= 1"] = 8,
        alpha: float = 8.0,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.rank, self.alpha, self.targets, self.last = rank, alpha, dict(targets), dict(last or {})
        self.start: dict[str, int] = {}

    def attach(self, backbones: Backbones, text: TextEncoder | None, classes: Sequence[str]) -> None:
        """Wrap the targets of every named stream.

        Raises:
            SettingError: a stream without backbone, a suffix that matches no layer (those found are listed), or a layer
                that would never be called.
        """
        self.feature_dims = {name: backbone.dim for name, backbone in backbones.items()}
        for name, suffixes in self.targets.items():
            if name not in backbones:
                raise SettingError(f"method.targets.{name}: the recipe's backbones are {sorted(backbones)}")
            backbone = backbones[name]
            self.start[name] = max(0, backbone.depth - self.last.get(name, backbone.depth))
            for index, block in enumerate(backbone.blocks):
                if index >= self.start[name]:
                    self._wrap(block, suffixes, where=f"method.targets.{name}, block {index}")
        for name, backbone in backbones.items():
            self.start.setdefault(name, backbone.depth)

    def _wrap(self, block: nn.Module, suffixes: Sequence[str], *, where: str) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        layers = {n: m for n, m in block.named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Conv1d)}
        for suffix in suffixes:
            matched = [name for name in layers if name == suffix or name.endswith("." + suffix)]
            if not matched:
                raise SettingError(f"{where}: {suffix!r} matches no layer; it has {sorted(layers)}")
            for name in matched:
                if isinstance(block.get_submodule(name.rpartition(".")[0]), nn.MultiheadAttention):
                    raise SettingError(
                        f"{where}: {name} lies inside PyTorch's fused attention, which reads its weight and never "
                        "calls it, so an update would have no effect; choose layers of the MLP"
                    )
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=list(suffixes), lora_dropout=0.0)
        inject_adapter_in_model(config, block)

    def prefix_depths(self) -> dict[str, int]:
        """Blocks before the first wrapped one."""
        return dict(self.start)

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Tokens after the prefix {stream: [B, T, L, D]} -> pooled features {stream: [B, T, dim]}."""
        features = {}
        for name, start in self.start.items():
            tokens = prefix[name].flatten(0, 1)
            for block in backbones[name].blocks[start:]:
                tokens = block(tokens)
            pooled = backbones[name].pool(backbones[name].finish(tokens))
            features[name] = pooled.unflatten(0, prefix[name].shape[:2])
        return features
