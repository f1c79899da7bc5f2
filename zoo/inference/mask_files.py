"""Files of predicted masks: where each lies, and that none takes the place of a file of the user's."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_modules.folder import pairs
from data_modules.folder_sounding_objects import MASKS, folder_of
from zoo.batch import Clip
from zoo.errors import UserError
from zoo.files import write_whole
from zoo.inference.inputs import Input

SUFFIXES = (".png", ".tif", ".nii.gz")
"""Of masks of pictures and volumes; those of a clip lie in a folder."""

FIRST = "1.png"
"""Of a clip's first segment."""


def mask_of(item: Input, folder: Path) -> Path:
    """Path of an input's mask, without suffix; one for all slices of a volume."""
    name = item.name.name.removesuffix(item.path.name) + item.file.name
    return folder / item.name.with_name(name.removesuffix(".gz").removesuffix(Path(name.removesuffix(".gz")).suffix))


def masks_of(item: Input, folder: Path) -> Path:
    """Folder of a clip's masks; of a window of a long one, `walk#1_masks`."""
    path, window = mask_of(item, folder), item.path.name.removeprefix(item.file.name)
    return path.with_name(f"{path.name}{window}{MASKS}")


def is_written(item: Input, folder: Path) -> bool:
    """Whether an input's mask, or that of its first segment, is there."""
    whole = (Path(f"{mask_of(item, folder)}{end}") for end in SUFFIXES)
    return any(file.exists() for file in (masks_of(item, folder) / FIRST, *whole))


def require_own(items: Sequence[Input], folder: Path) -> None:
    """Refuse a folder where a mask would be written over an input, over its label, or over another mask, as that of
    `a.jpg` over that of `a.png`. Labels lie beside clips, and of pictures in `masks` beside `images`.

    Raises:
        UserError: naming the first one.
    """
    given = {item.file.resolve() for item in items}
    taken = given | {folder_of(file) / FIRST for file in given}
    labels = {at.with_name(pairs.MASKS) for file in given for at in file.parents if at.name == pairs.IMAGES}
    files: dict[Path, Path] = {}
    for item in items:
        path = mask_of(item, folder)
        if (first := files.setdefault(path, item.file)) != item.file:
            raise UserError(f"masks={folder}: {first} and {item.file} would have one mask; predict them apart")
        for target in (*(Path(f"{path}{end}") for end in SUFFIXES), masks_of(item, folder) / FIRST):
            lies = target.resolve()
            labelled = lies.exists() and any(lies.is_relative_to(place) for place in labels)
            if lies in taken or labelled:
                raise UserError(
                    f"masks={folder}: the mask of {item.file} would be written over {target}; choose another folder"
                )


def write_clip(masks: NDArray[np.uint8], clip: Clip, folder: Path) -> None:
    """Write what sounds in every segment, in the layout of own masks: 255 on what sounds, else 0, in the size of the
    decoded picture. What lies outside of the central square was not seen, and is 0.

    Args:
        masks: uint8 [T, S, S], 1 on what sounds, of the central square of every picture.
        clip: whose pictures are [T, H, W, 3].
        folder: see `masks_of`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    height, width = clip.frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    # The first one last: it says that all are there.
    for number in reversed(range(1, len(masks) + 1)):
        square = Image.fromarray(masks[number - 1] * np.uint8(255)).resize((side, side), Image.Resampling.NEAREST)
        whole = Image.new("L", (width, height))
        whole.paste(square, (left, top))
        buffer = io.BytesIO()
        whole.save(buffer, format="PNG")
        write_whole(folder / f"{number}.png", buffer.getvalue())
