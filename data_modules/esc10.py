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

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.held_back import HeldBack
from data_modules.kinds.sounds import Recording, SoundDataModule, SoundSet, digest_of
from zoo.batch import Clip, SampleSet

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
        self.root, self.fold = Path(root), fold
        self.held_back = HeldBack(CLASSES, tuple(unseen), unseen_drawn, shots, draw)
        self.segments, self.segment_seconds, self.sample_rate = segments, SECONDS / segments, sample_rate
        self.classes = list(CLASSES)

    @property
    def unseen(self) -> tuple[str, ...]:
        """The unseen classes, named or drawn."""
        return tuple(CLASSES[label] for label in self.held_back.away(self.seed))

    def splits(self) -> dict[str, SampleSet[Clip]]:
        """Three folds, one and one; with unseen classes, all recordings of these for test.

        Raises:
            DataError: the copy is incomplete, or a class has fewer recordings than shots.
        """
        away = self.held_back.away(self.seed)
        held = {"test": self.fold, "val": self.fold % FOLDS + 1}
        parts: dict[str, list[Recording]] = {"train": [], "val": [], "test": []}
        for fold, one in recordings(self.root):
            split = next((split for split, number in held.items() if number == fold), "train")
            if placed := self.held_back.placed(split, one.label, away):
                parts[placed].append(one)
        train, seed = parts["train"], self.held_back.drawn(self.seed) * FOLDS + self.fold
        few = self.held_back.few([one.label for one in train], seed, f"beside fold {self.fold}")
        parts["train"] = [train[row] for row in few]
        between = self.held_back.candidates(away)
        return {split: SoundSet(part, cut=self.cut, candidates=between[split]) for split, part in parts.items()}

    def check(self) -> list[str]:
        """Counts of files."""
        found = recordings(self.root)
        return [f"{len(found)} recordings of {len(CLASSES)} classes in {len({fold for fold, _ in found})} folds"]


if __name__ == "__main__":
    sys.exit(check_command("data_modules.esc10", lambda root: ESC10(root=root)))
