"""The control without a method: features of the frozen backbones, pooled per segment, for the task's head alone."""

from zoo.errors import SettingError
from zoo.methods.base import Backbones, Method


class Frozen(Method):
    """No trainable part: the head sees what the frozen encoders give.

    Args:
        streams: the backbones to use, all when null; one of two alone is the audio-only or vision-only control.
    """

    def __init__(self, *, streams: tuple[str, ...] | None = None) -> None:
        super().__init__()
        self.streams = None if streams is None else tuple(streams)

    def attach(self, backbones: Backbones) -> None:
        """Use the chosen streams.

        Raises:
            SettingError: a stream has no backbone.
        """
        streams = tuple(backbones) if self.streams is None else self.streams
        missing = [name for name in streams if name not in backbones]
        if missing or not streams:
            raise SettingError(f"method.streams = {list(streams)}: the recipe's backbones are {sorted(backbones)}")
        super().attach({name: backbones[name] for name in streams})
