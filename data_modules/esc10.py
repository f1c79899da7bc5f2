"""ESC-10 (Piczak, ACM Multimedia 2015): ten kinds of sound, 40 recordings of five seconds each, in five official folds.

Expected below ROOT, a folder a class as the authors have them or by the class's name:

    001 - Dog bark/*.ogg   or   audio/dog_bark/*.ogg    40 files, whose names begin with the number of their fold

Recordings cut from one source share a fold. One fold is for test, the next one for validation, three train. Classes may
be kept from training and validation (`unseen`): these are measured on all of their recordings, decided between the
unseen classes alone, while the others are not measured then. `shots` keeps so many training recordings a class.
`python -m data_modules.esc10 --check ROOT` says what is missing.
"""

import sys
from pathlib import Path
from typing import Annotated

import torch

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.sounds import Recording, SoundDataModule, SoundSet, digest_of
from zoo.batch import Clip, SampleSet
from zoo.errors import SettingError

CLASSES = [
    "dog bark",
    "rain",
    "sea waves",
    "baby cry",
    "clock tick",
    "person sneeze",
    "helicopter",
    "chainsaw",
    "rooster",
    "fire crackling",
]
"""In the authors' order."""

FOLDS, EACH = 5, 40

SECONDS = 5.0

DISTRIBUTOR = "ESC-10 is distributed at github.com/karolpiczak/ESC-10 (its folders of .ogg files are in the history)"


def folder_of(root: Path, label: int) -> Path:
    """The folder of a class.

    Raises:
        DataError: there is none.
    """
    name = CLASSES[label]
    ways = (root / f"{label + 1:03d} - {name.capitalize()}", root / "audio" / name.replace(" ", "_"))
    for way in ways:
        if way.is_dir():
            return way
    raise DataError(f"{root} has neither {ways[0].name}/ nor audio/{ways[1].name}/. {DISTRIBUTOR}")


def recordings(root: Path) -> list[tuple[int, Recording]]:
    """Every recording with its fold.

    Raises:
        DataError: a class without folder, with another number of files, or a file whose name has no fold.
    """
    found = []
    for label, name in enumerate(CLASSES):
        folder = folder_of(root, label)
        files = sorted(folder.glob("*.ogg"))
        if len(files) != EACH:
            raise DataError(f"{folder} holds {len(files)} .ogg files; expected {EACH}. {DISTRIBUTOR}")
        for file in files:
            fold = file.name.partition("-")[0]
            if fold not in {str(number) for number in range(1, FOLDS + 1)}:
                raise DataError(f"{file}: its name begins with no fold, a number from 1 to {FOLDS}")
            path = f"{name.replace(' ', '_')}/{file.name}"
            found.append((int(fold), Recording(path, file, label, digest_of(file))))
    return found


class ESC10(SoundDataModule):
    """One fold of ESC-10.

    Args:
        root: folder of the data set.
        fold: of the test split; the next one, the first after the last, is for validation.
        unseen: classes that are neither trained on nor validated; they alone are measured then.
        unseen_drawn: so many of them, drawn, in the place of names.
        shots: training recordings a class; null takes all.
        draw: which classes and recordings are drawn; null draws by the run's seed.
        segments: T, of every recording.
        sample_rate: in Hz, of the decoded sound.

    Raises:
        SettingError: an unknown class, one alone on either side, or unseen classes both named and drawn.
    """

    name = "ESC-10"
    license = "CC BY 3.0"
    conditions = ("candidates",)

    def __init__(
        self,
        *,
        root: str,
        fold: Annotated[int, ">= 1", "<= 5"] = 1,
        unseen: tuple[str, ...] = (),
        unseen_drawn: Annotated[int, ">= 2", "<= 8"] | None = None,
        shots: Annotated[int, ">= 1"] | None = None,
        draw: Annotated[int, ">= 0"] | None = None,
        segments: Annotated[int, ">= 1"] = 5,
        sample_rate: Annotated[int, ">= 1000"] = 16_000,
    ) -> None:
        super().__init__()
        self.root, self.fold, self.shots, self.draw = Path(root), fold, shots, draw
        if unseen and unseen_drawn is not None:
            raise SettingError("data.unseen and data.unseen_drawn: expected one of them")
        self.named, self.unseen_drawn = tuple(unseen), unseen_drawn
        self.segments, self.segment_seconds, self.sample_rate = segments, SECONDS / segments, sample_rate
        self.classes = list(CLASSES)
        if unknown := [name for name in self.named if name not in CLASSES]:
            raise SettingError(f"data.unseen: {', '.join(unknown)} not in {', '.join(CLASSES)}")
        if len(set(self.named)) != len(self.named) or len(self.named) in (1, len(CLASSES) - 1, len(CLASSES)):
            raise SettingError(
                f"data.unseen = {list(self.named)}: expected none, or 2 to {len(CLASSES) - 2} different classes"
            )

    @property
    def drawn(self) -> int:
        """The draw that counts: the run's seed where none is set."""
        return self.seed if self.draw is None else self.draw

    @property
    def unseen(self) -> tuple[str, ...]:
        """The unseen classes, named or drawn."""
        if self.unseen_drawn is None:
            return self.named
        order = torch.randperm(len(CLASSES), generator=torch.Generator().manual_seed(self.drawn)).tolist()
        return tuple(CLASSES[label] for label in order[: self.unseen_drawn])

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """Three folds, one and one; with unseen classes, all recordings of these for test.

        Raises:
            DataError: the copy is incomplete, or a class has fewer recordings than shots.
        """
        every = recordings(self.root)
        away = {CLASSES.index(name) for name in self.unseen}
        held = {"test": self.fold, "val": self.fold % FOLDS + 1}
        parts: dict[str, list[Recording]] = {"train": [], "val": [], "test": []}
        for fold, one in every:
            split = next((split for split, number in held.items() if number == fold), "train")
            if one.label in away:
                parts["test"].append(one)
            elif split != "test" or not away:
                parts[split].append(one)
        if self.shots is not None:
            parts["train"] = self._few(parts["train"], self.shots)
        asked = torch.tensor([label in away for label in range(len(CLASSES))])
        between = {"train": ~asked, "val": ~asked, "test": asked}
        return {
            split: SoundSet(part, cut=self.cut, candidates=between[split] if away else None)
            for split, part in parts.items()
        }

    def _few(self, part: list[Recording], shots: int) -> list[Recording]:
        """So many recordings of every class, drawn by `draw` alone.

        Raises:
            DataError: there are fewer.
        """
        kept = []
        for label in sorted({one.label for one in part}):
            own = [one for one in part if one.label == label]
            if len(own) < shots:
                raise DataError(
                    f"data.shots = {shots}: {CLASSES[label]} has {len(own)} training recordings beside fold {self.fold}"
                )
            order = torch.randperm(len(own), generator=torch.Generator().manual_seed(self.drawn * FOLDS + self.fold))
            kept += [own[place] for place in sorted(order[:shots].tolist())]
        return kept

    def check(self) -> list[str]:
        """Counts of files."""
        found = recordings(self.root)
        return [f"{len(found)} recordings of {len(CLASSES)} classes in {len({fold for fold, _ in found})} folds"]


if __name__ == "__main__":
    sys.exit(check_command("data_modules.esc10", lambda root: ESC10(root=root)))
