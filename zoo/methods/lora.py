"""LoRA on any frozen backbones, served by HF `peft` (Hu et al. 2022, arXiv 2106.09685).

`peft` wraps the target layers in place; this file decides which blocks are wrapped, refuses targets that match nothing
or that would never be called, and keeps the blocks before the first wrapped one as a cacheable prefix.
"""

from collections.abc import Mapping, Sequence

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
        rank: int = 8,
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
            SettingError: a stream without backbone, or a suffix that matches no layer (the layers found are listed).
        """
        from peft import LoraConfig, inject_adapter_in_model

        self.feature_dims = {name: backbone.dim for name, backbone in backbones.items()}
        for name, suffixes in self.targets.items():
            if name not in backbones:
                raise SettingError(f"method.targets.{name}: the recipe's backbones are {sorted(backbones)}")
            backbone = backbones[name]
            self.start[name] = max(0, backbone.depth - self.last.get(name, backbone.depth))
            for index, block in enumerate(backbone.blocks):
                if index < self.start[name]:
                    continue
                assert isinstance(block, nn.Module), f"block {index} of backbone {name} is not a module to wrap"
                layers = [n for n, m in block.named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.Conv1d)]
                for suffix in suffixes:
                    if not any(layer == suffix or layer.endswith("." + suffix) for layer in layers):
                        raise SettingError(
                            f"method.targets.{name}: {suffix!r} matches no layer of block {index}; it has {layers}"
                        )
                config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=list(suffixes), lora_dropout=0.0)
                inject_adapter_in_model(config, block)
        for name, backbone in backbones.items():
            self.start.setdefault(name, backbone.depth)

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
