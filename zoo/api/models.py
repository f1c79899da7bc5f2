"""Several trained models that hold one frozen backbone in memory."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from zoo.adapter.one_backbone import give, share
from zoo.adapter.places import SUM
from zoo.api.loading import load
from zoo.api.model import Model
from zoo.backbones.base import Backbone
from zoo.errors import SettingError
from zoo.inference import given
from zoo.inference.inputs import Read
from zoo.inference.routing import predict_routed
from zoo.inference.settings import as_text
from zoo.tasks.results import Prediction


class Models:
    """What `zoo.together` gives: adapters of methods of any kind on the same frozen backbones, one of them active.

    Frozen tensors are held once and never written to, so that to switch is to name another model, and what is detached
    leaves nothing behind. Each of them is a `Model` of its own, `models["NAME"]`.

    Attributes:
        active: name of the model that `predict` asks; None where none is attached.

    Args:
        device: to predict on; the first GPU by default, where there is one.
    """

    def __init__(self, *, device: str | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.active: str | None = None
        self._models: dict[str, Model] = {}

    @property
    def names(self) -> list[str]:
        """Of what is attached, in the order in which it was."""
        return list(self._models)

    def __getitem__(self, name: str) -> Model:
        if name not in self._models:
            hint = "; a sum is attached as one more adapter, attach('A+B')" if SUM in name else ""
            raise SettingError(f"{name!r} is not attached; there are {', '.join(self._models) or 'none'}{hint}")
        return self._models[name]

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def attach(
        self, adapter: str | Path, *, name: str | None = None, force: bool = False, unquantized: bool = False
    ) -> Model:
        """Load one more adapter onto the frozen backbones that are held; the first one attached becomes active.

        While it loads, its own copy of the backbones is in memory beside them, on the processor.

        Args:
            adapter: as `zoo.load` takes it; of a sum `a+b` as well.
            name: to call it by; its own where None.
            force: as `zoo.load` has it.
            unquantized: as `zoo.load` has it.

        Raises:
            SettingError: the name is taken, or a backbone is another one than is held; nothing is changed then.
            UserError: as `zoo.load`.
        """
        self._require_free(name)
        model = load(str(adapter), device="cpu", force=force, unquantized=unquantized)
        self._require_free(name := model.name if name is None else name)
        if self._models:
            held = {stream: one for each in self._models.values() for stream, one in each.pairing.backbones.items()}
            share(model.pairing, held, name=name, others=", ".join(self._models))
        self._models[name] = model.to(self.device)
        self.active = self.active or name
        for note in model.pairing.notes:
            warnings.warn(f"{name}: {note}", stacklevel=2)
        return model

    def _require_free(self, name: str | None) -> None:
        if name in self._models:
            raise SettingError(f"{name} is attached already; detach it first, or say name= for another one")

    def detach(self, name: str) -> None:
        """Let go of an adapter; of the active one, so that none is active then.

        Raises:
            SettingError: there is none of this name.
        """
        self[name]
        del self._models[name]
        self.active = None if self.active == name else self.active

    def switch(self, name: str) -> Model:
        """Let another adapter be the active one.

        Raises:
            SettingError: there is none of this name.
        """
        model = self[name]
        self.active = name
        return model

    def to(self, device: str | torch.device) -> "Models":
        """Move all of them to a device, where the frozen tensors are one copy as before."""
        self.device = torch.device(device)
        held: dict[str, Backbone] = {}
        for model in self._models.values():
            give(model.pairing, held)  # before it moves, so that there is never a second copy on the device
            held |= model.to(self.device).pairing.backbones
        return self

    def predict(
        self, inputs: Any, *, adapters: str | Sequence[str] | None = None, batch_size: int = 8, **settings: Any
    ) -> Any:
        """Predict as `Model.predict` does, by the active adapter or by others.

        Args:
            inputs: as `Model.predict` takes them; a list of single samples where each has an adapter of its own.
            adapters: the name of one for all inputs, or one name for every input of the list. A batch may hold samples
                of any of them: blocks that are frozen in all of these run once, and an input that stands several times
                passes them once. A prediction is that of its adapter alone up to rounding.
            batch_size: inputs predicted together.
            **settings: as `Model.predict` takes them.

        Returns:
            As `Model.predict`; a list, in order, where `adapters` is one.

        Raises:
            SettingError: an unknown name, none that is active, or not one name for every input.
            UserError: as `Model.predict`.
        """
        if adapters is None and self.active is None:
            raise SettingError(f"no adapter is active: switch to one of {', '.join(self._models) or '(none attached)'}")
        if adapters is None or isinstance(adapters, str):
            return self[adapters or str(self.active)].predict(inputs, batch_size=batch_size, **settings)
        if not isinstance(inputs, list | tuple) or len(inputs) != len(adapters):
            count = f"{len(inputs)} inputs" if isinstance(inputs, list | tuple) else "no list of inputs"
            raise SettingError(
                f"adapters= has {len(adapters)} names for {count}; expected one for every input of a list"
            )
        if not isinstance(batch_size, int) or batch_size < 1:
            raise SettingError(f"batch_size={batch_size!r}: expected a whole number above 0")
        told, used = as_text(settings), {name: self[name] for name in adapters}
        for model in used.values():
            model.data.require(told)
        with tempfile.TemporaryDirectory() as scratch:
            reads = (
                (_only(list(given.read_one(value, number, used[name].data, told, Path(scratch))), value), name)
                for number, (value, name) in enumerate(zip(inputs, adapters, strict=True))
            )
            found: list[Prediction] = []
            while group := list(islice(reads, batch_size)):
                found += self._predicted(group)
        return found

    def _predicted(self, group: Sequence[tuple[Read, str]]) -> list[Prediction]:
        good = [(one, name) for one, name in group if not one.error]
        pairings = {name: self[name].pairing for _, name in good}
        made = iter(predict_routed(pairings, [one.sample for one, _ in good], [name for _, name in good]))
        return [
            Prediction({"id": one.item.id, "error": one.error}) if one.error else one.noted(next(made))
            for one, _ in group
        ]

    def __repr__(self) -> str:
        lines = "\n".join(f"  {'*' if name == self.active else ' '} {name}" for name in self._models)
        return f"zoo.Models, * is active\n{lines}"


def _only(reads: Sequence[Read], value: Any) -> Read:
    """The one sample of an input.

    Raises:
        SettingError: there are several, or none.
    """
    if len(reads) != 1:
        raise SettingError(f"{value} holds {len(reads)} samples; adapters= takes a list of single ones")
    return reads[0]
