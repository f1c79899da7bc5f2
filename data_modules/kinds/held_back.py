"""Classes that are kept from training, to be known by their names alone, and few training samples of the others.

Unseen classes are measured on all of their samples, decided between these classes alone; the others are not measured
then. What is drawn follows from a number, by default the run's seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_modules.errors import DataError
from zoo.errors import SettingError


@dataclass(frozen=True)
class HeldBack:
    """What a data module keeps back.

    Args:
        classes: all K of them.
        unseen: those that are neither trained on nor validated.
        unseen_drawn: so many of them, drawn, in the place of names.
        shots: training samples a class; None takes all.
        draw: what is drawn; None draws by the run's seed.
        least: classes on either side.

    Raises:
        SettingError: an unknown class, fewer than `least` on either side, or unseen classes both named and drawn.
    """

    classes: Sequence[str]
    unseen: tuple[str, ...] = ()
    unseen_drawn: int | None = None
    shots: int | None = None
    draw: int | None = None
    least: int = 2

    def __post_init__(self) -> None:
        names, most = self.unseen, len(self.classes) - self.least
        if names and self.unseen_drawn is not None:
            raise SettingError("data.unseen and data.unseen_drawn: expected one of them")
        if unknown := [name for name in names if name not in self.classes]:
            raise SettingError(f"data.unseen: {', '.join(unknown)} not in {', '.join(self.classes)}")
        if names and (len(set(names)) != len(names) or not self.least <= len(names) <= most):
            raise SettingError(
                f"data.unseen = {list(names)}: expected none, or {self.least} to {most} different classes"
            )

    def drawn(self, seed: int) -> int:
        """The draw that counts, of a run with this seed."""
        return seed if self.draw is None else self.draw

    def away(self, seed: int) -> tuple[int, ...]:
        """Labels of the unseen classes, named or drawn."""
        if self.unseen_drawn is None:
            return tuple(self.classes.index(name) for name in self.unseen)
        order = torch.randperm(len(self.classes), generator=torch.Generator().manual_seed(self.drawn(seed)))
        return tuple(order.tolist()[: self.unseen_drawn])

    def placed(self, split: str, label: int | None, away: Sequence[int]) -> str | None:
        """The split of a sample that would be in this one without unseen classes; None where it is left out."""
        if label in away:
            return "test"
        return None if away and split == "test" else split

    def candidates(self, away: Sequence[int]) -> Mapping[str, Tensor | None]:
        """By split the classes that its samples are decided between, bool [K]; None where that is all."""
        if not away:
            return dict.fromkeys(("train", "val", "test"))
        asked = torch.tensor([label in away for label in range(len(self.classes))])
        return {"train": ~asked, "val": ~asked, "test": asked}

    def few(self, labels: Sequence[int], seed: int, where: str) -> list[int]:
        """Rows of the training samples that are kept, class by class; all of them, in order, without `shots`.

        Args:
            labels: of all of them.
            seed: of the draw.
            where: they are, for the message.

        Raises:
            DataError: a class has fewer.
        """
        if self.shots is None:
            return list(range(len(labels)))
        kept = []
        for label in sorted(set(labels)):
            own = [row for row, other in enumerate(labels) if other == label]
            if len(own) < self.shots:
                raise DataError(
                    f"data.shots = {self.shots}: {self.classes[label]} has {len(own)} training samples {where}"
                )
            order = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))
            kept += [own[place] for place in sorted(order[: self.shots].tolist())]
        return kept
