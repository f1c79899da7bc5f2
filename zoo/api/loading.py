"""A model by the name of its adapter, or of several whose updates are added."""

from typing import Any, NoReturn

from zoo.adapter import get, places
from zoo.api.model import Model
from zoo.errors import UserError


class Sum(Model):
    """What `zoo.load("a+b")` gives: a model that predicts and is measured, and is no adapter to keep or pass on."""

    @property
    def card(self) -> str:
        """Of a sum there is none."""
        self._refuse("has no card")

    @property
    def metrics(self) -> dict[str, Any]:
        """Of a sum there are none: `evaluate` measures it."""
        self._refuse("has no metrics of a training; evaluate() measures it")

    def export(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Not of a sum."""
        self._refuse("cannot be exported; export its adapters one by one")

    def save(self, *_: Any, **__: Any) -> NoReturn:
        """Not of a sum."""
        self._refuse("is no adapter directory that could be copied; save its adapters one by one")

    def push(self, *_: Any, **__: Any) -> NoReturn:
        """Not of a sum."""
        self._refuse("is no adapter directory that could be shared; push its adapters one by one")

    def _refuse(self, what: str) -> NoReturn:
        raise UserError(f"{self.name} is a sum of adapters, which {what}")


def load(word: str, *, device: str | None = None, force: bool = False, unquantized: bool = False) -> Model:
    """See `zoo.load`."""
    parts = [get.pull(part) if part.startswith("hf://") else part for part in places.summands(word)]
    folders = [places.find_adapter(part) for part in parts]
    return (Sum if folders[1:] else Model)(*folders, device=device, force=force, unquantized=unquantized)
