"""The control without a method: features of the frozen backbones, pooled per segment, for the task's head alone."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from zoo.backbones.base import TextEncoder
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method


class Frozen(Method):
    """No trainable part: the head sees what the frozen encoders give.

    Args:
        streams: the backbones to use, all when null; one of two alone is the audio-only or vision-only control.
    """

    def __init__(self, *, streams: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.chosen = streams

    def attach(self, backbones: Backbones, text: TextEncoder | None, classes: Sequence[str]) -> None:
        """Read the feature widths.

        Raises:
            SettingError: a stream has no backbone.
        """
        self.streams = tuple(backbones) if self.chosen is None else tuple(self.chosen)
        missing = [name for name in self.streams if name not in backbones]
        if missing or not self.streams:
            raise SettingError(f"method.streams = {list(self.streams)}: the recipe's backbones are {sorted(backbones)}")
        self.feature_dims = {name: backbones[name].dim for name in self.streams}
        self._depths = {name: backbones[name].prefix_depth({}) for name in self.streams}

    def prefix_depths(self) -> dict[str, int | None]:
        """Every block: nothing is trained inside the encoders."""
        return dict(self._depths)

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Tokens after the last block {stream: [B, T, L, D]} -> pooled features {stream: [B, T, dim]}."""
        return {name: backbones[name].rest(prefix[name], depth, batch) for name, depth in self._depths.items()}
