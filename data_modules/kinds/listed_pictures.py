"""Pictures in a folder a class, whose splits are text files of names such as `<class>_<number>.jpg`, one a line.

So the splits of "In-domain representation learning for remote sensing" (arXiv:1911.06721) are published.
"""

from collections.abc import Sequence
from pathlib import Path

from data_modules.errors import DataError
from data_modules.kinds.picture_set import PictureRecord
from data_modules.readers.listed import read_lines, require, require_apart

SPLITS = ("train", "val", "test")


def listed_shots(
    folder: Path,
    lists: Path,
    classes: Sequence[str],
    *,
    distributor: str,
    suffix: str = ".jpg",
    gsd: float | None = None,
) -> dict[str, list[PictureRecord]]:
    """Every split's pictures in the order of its list.

    Args:
        folder: holds a folder a class.
        lists: path of the lists up to `-train.txt`, `-val.txt`, `-test.txt`.
        classes: in label order.
        distributor: who has the files, for messages.
        suffix: of the pictures, whatever the lists say.
        gsd: metres per pixel of all pictures, where it is known.

    Raises:
        DataError: naming the list and line, or the files that are missing.
    """
    splits: dict[str, list[PictureRecord]] = {}
    for split in SPLITS:
        file = lists.with_name(f"{lists.name}-{split}.txt")
        shots = []
        for where, line in read_lines(file, distributor):
            stem = Path(line).stem
            kind = stem.rpartition("_")[0]
            if kind not in classes or Path(line).name != line:
                raise DataError(
                    f"{where}: {line!r}; expected <class>_<number>{suffix}, the class one of {_few(classes)}"
                )
            path = folder / kind / f"{stem}{suffix}"
            shots.append(PictureRecord(f"{kind}/{path.name}", (path,), label=classes.index(kind), gsd=gsd))
        require([folder / shot.id for shot in shots], str(file), distributor)
        splits[split] = shots
    require_apart({split: [shot.id for shot in shots] for split, shots in splits.items()}, str(lists.parent))
    return splits


def compared(splits: dict[str, list[PictureRecord]], published: dict[str, int], where: str) -> list[str]:
    """Lines of `--check`: counts beside the published ones."""
    lines = []
    for split, number in published.items():
        found = len(splits[split])
        lines.append(
            f"{where}, {split}: {found} pictures, " + ("as" if found == number else f"{number} are") + " published"
        )
    return lines


def _few(classes: Sequence[str]) -> str:
    return ", ".join(classes) if len(classes) <= 10 else f"{', '.join(classes[:3])}, ... ({len(classes)} in all)"
