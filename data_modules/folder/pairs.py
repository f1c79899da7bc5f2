"""Pictures and masks in two folders, paired by the stems of their names.

    DIR/images/x.tif    DIR/masks/x.png                    the same stem; also x_mask, x_seg or x_label, with a note
    DIR/train/images/x.tif    DIR/train/masks/x.png        the same inside splits that are kept as they are
    DIR/images/train/x.tif    DIR/masks/train/x.png        or around them
    DIR/images/x.jpg    DIR/masks/any.json                 one file of COCO for all pictures that it names

Folders below `images` and `masks` count as part of the stem. A picture without a mask, a mask without a picture, and
two files of one stem are errors, all told at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_modules.errors import DataError
from data_modules.folder.rows import SPLITS, FileEntry
from data_modules.readers.lines import FEW, ErrorCollector
from data_modules.readers.manifest import ManifestRow
from data_modules.readers.mask_shapes import coco, is_coco, load

IMAGES, MASKS = "images", "masks"

ENDINGS = ("_mask", "_seg", "_label")

ENDED = "masks called after their picture and _mask, _seg or _label"


class Suffixes(NamedTuple):
    """Endings of files in lower case: of pictures that are read, of pictures that are refused with advice, of masks."""

    pictures: tuple[str, ...]
    refused: tuple[str, ...]
    masks: tuple[str, ...]


def paired(root: Path, suffixes: Suffixes, errors: ErrorCollector, remarks: dict[str, int]) -> list[FileEntry]:
    """Every picture with its mask in the column `mask`, sorted by name.

    Args:
        root: the user's folder.
        suffixes: of files that are looked at.
        errors: collects pictures and masks without the other, and stems that stand twice.
        remarks: counts files that are left out, and names that were completed.

    Raises:
        DataError: there are no such folders.
    """
    if not root.is_dir():
        raise DataError(f"data.root: {root} is no folder; expected one that holds {IMAGES} and {MASKS}")
    there = {split: root / split for split in SPLITS if (root / split / IMAGES).is_dir()} or {"": root}
    if missing := [str(place / name) for place in there.values() for name in (IMAGES, MASKS) if not _is(place / name)]:
        raise DataError(
            f"no folder {', '.join(missing)}; expected {root / IMAGES} and {root / MASKS}, or both in "
            f"{', '.join(SPLITS)}, or a manifest.csv with the columns path,mask"
        )
    entries = []
    for split, place in there.items():
        entries += _of(root, place, split, suffixes, errors, remarks)
    if not entries and not errors.messages:
        raise DataError(f"{root}: no picture in {IMAGES}; expected {', '.join(suffixes.pictures)}")
    return sorted(entries, key=lambda entry: entry.name)


def _is(folder: Path) -> bool:
    return folder.is_dir()


def _of(
    root: Path, place: Path, split: str, suffixes: Suffixes, errors: ErrorCollector, remarks: dict[str, int]
) -> list[FileEntry]:
    pictures = _by_stem(place / IMAGES, (*suffixes.pictures, *suffixes.refused), errors, remarks)
    masks = _by_stem(place / MASKS, suffixes.masks, errors, remarks)
    found = _drawn(place, pictures, masks, errors)
    for stem in sorted(masks):
        if stem in pictures:
            found[stem] = masks[stem]
    for stem in sorted(set(masks) - set(pictures)):
        short = next((stem.removesuffix(end) for end in ENDINGS if stem.endswith(end)), stem)
        if short not in pictures:
            errors.messages.append(f"{masks[stem]}: no picture {short!r} in {place / IMAGES}")
        elif short in found:
            errors.messages.append(f"{masks[stem]} and {found[short]} are both the mask of {pictures[short].name}")
        else:
            found[short] = masks[stem]
            remarks[ENDED] = remarks.get(ENDED, 0) + 1
    errors.messages += [
        f"{path}: no mask {stem!r} in {place / MASKS}" for stem, path in sorted(pictures.items()) if stem not in found
    ]
    return [
        FileEntry(
            path.relative_to(root).as_posix(),
            path,
            [ManifestRow(str(path), {"mask": found[stem].relative_to(root).as_posix()})],
            split or (first if (first := stem.partition("/")[0]) in SPLITS and "/" in stem else ""),
        )
        for stem, path in pictures.items()
        if stem in found
    ]


def _by_stem(folder: Path, suffixes: Sequence[str], errors: ErrorCollector, remarks: dict[str, int]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        if path.suffix.lower() not in suffixes:
            reason = f"files of another kind ({path.suffix.lower() or 'no ending'}): left out"
            remarks[reason] = remarks.get(reason, 0) + 1
            continue
        name = relative.as_posix()
        stem = name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else name[: -len(path.suffix)]
        if stem in found:
            errors.messages.append(f"{path} and {found[stem].name} have one stem, {stem!r}; take one away")
        else:
            found[stem] = path
    return found


def _drawn(
    place: Path, pictures: Mapping[str, Path], masks: dict[str, Path], errors: ErrorCollector
) -> dict[str, Path]:
    """Files of COCO by the stem of every picture that they name; they are taken out of `masks`."""
    found: dict[str, Path] = {}
    by_name = {path.relative_to(place / IMAGES).as_posix(): stem for stem, path in pictures.items()}
    for stem in [stem for stem, path in masks.items() if path.suffix.lower() == ".json"]:
        with errors.catch():
            if not is_coco(load(masks[stem])):
                continue
            file = masks.pop(stem)
            names = list(coco(file)[0])
            if gone := [name for name in names if name not in by_name]:
                errors.messages.append(
                    f"{file} names {len(gone)} pictures that are not in {place / IMAGES}, e.g. {', '.join(gone[:FEW])}"
                )
            found |= {by_name[name]: file for name in names if name in by_name}
    return found
