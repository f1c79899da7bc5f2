"""In the place of a text tower: what an adapter keeps of it, the anchors of its classes.

A method that hears class names needs a text tower once, when it is attached; to predict, vectors are enough. An
adapter keeps them beside its tensors (`zoo.adapter.kept_anchors`): nobody has to load a language model for them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from zoo.backbones.base import TextEncoder
from zoo.backbones.fingerprint import Fingerprint
from zoo.errors import SettingError

ANCHORS = "text.anchors"
"""Name of the tensor in adapter.safetensors."""


class KeptText(TextEncoder):
    """A text tower that is not here, with the anchors that it once gave.

    Args:
        file: adapter.safetensors of an adapter that keeps its anchors.

    Attributes:
        anchors: float32 [K', d], as the method made them of the tower's vectors.

    Raises:
        SettingError: the anchors are no vectors of numbers.
    """

    def __init__(self, *, file: str) -> None:
        super().__init__()
        with safe_open(Path(file), framework="pt") as stored:
            header = stored.metadata()
            self.anchors: Tensor = stored.get_tensor(ANCHORS)
        if self.anchors.ndim != 2 or not self.anchors.is_floating_point() or not bool(self.anchors.isfinite().all()):
            raise SettingError(f"{file}: {ANCHORS} {list(self.anchors.shape)}: expected numbers, one row a class")
        known = json.loads(header["fingerprints"])["text"]
        self.dim, self.space = self.anchors.shape[1], str(json.loads(header.get("anchors", "{}")).get("space", ""))
        self.fingerprint = Fingerprint(known["weights"], known["settings"])

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Nothing: the tower is not here.

        Raises:
            SettingError: always.
        """
        raise SettingError("the text tower was not loaded, for the adapter keeps the anchors of its classes alone")

    def of(self, count: int) -> Tensor:
        """The anchors [count, d].

        Raises:
            SettingError: it keeps another number of them.
        """
        if len(self.anchors) != count:
            raise SettingError(f"{ANCHORS} {list(self.anchors.shape)}: expected {count} rows for the adapter's classes")
        return self.anchors
