"""A user's own clips with masks of what sounds, for audio-visual segmentation.

    DIR/<class>/walk.mp4                 a video, or walk.wav beside the folder walk/ of its frames
    DIR/<class>/walk_masks/1.png         the mask of its first segment, 2.png of its second, ...

The class says what sounds, for methods that read names. Whatever is not 0 in a mask sounds; a segment without a file is
not labelled, and one in which nothing sounds has a file of zeros. A mask is of the picture at the segment's middle, in
any size of its proportions. Encoders see the central square of a picture, so that of the mask is what is learned and
measured. With a manifest (`path,label`), the folder of masks lies beside the file that it lists.
`python -m data_modules.folder_sounding_objects --check DIR` says what is in a folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.folder.rows import Columns, FileEntry
from data_modules.folder_clips import ClipFolder, FolderClips
from data_modules.kinds.clips import decode
from data_modules.readers.media import FRAMES
from data_modules.readers.object_masks import object_mask, opened
from zoo.batch import Clip, SampleSet
from zoo.ops.frame import IGNORE

MASKS = "_masks"

PROPORTIONS = 0.02
"""By which those of a mask may differ from those of its picture."""


class SoundingClips(FolderClips):
    """One split, whose masks are read when they are asked for."""

    def target(self, index: int) -> dict[str, Tensor]:
        """`masks`: uint8 [T, S, S], 1 on what sounds; all `IGNORE` of a segment without a mask."""
        side = self.cut["frame_size"]
        assert side is not None
        masks = np.full((self.cut["segments"], side, side), IGNORE, np.uint8)
        for k, path in mask_files(self.entries[index].path).items():
            masks[k - 1] = central(object_mask(opened(path)), side)
        return {"masks": torch.from_numpy(masks)}


class SoundingFolder(ClipFolder):
    """Clips with a mask a segment.

    Args:
        root: folder of the files.
        manifest: CSV or JSON lines, relative to the root; by default manifest.csv or manifest.jsonl if one exists,
            else class folders.
        classes: class names in label order; by default those found, sorted.
        segments: T, of every clip.
        segment_seconds: length of one.
        sample_rate: of the sound, in Hz.
        frame_size: shorter side of decoded pictures, and side of the masks, in pixels.
        missing_audio: a clip without sound is an error, or silence (counted in the manifest).
        missing_pictures: a clip without pictures is an error, or grey ones (counted in the manifest).
        splits: a run's splits.json to follow.
        val_share: of every class's groups, to select on.
        test_share: of every class's groups, to measure.
        group_by: regular expression; files in whose path it finds the same (its first bracket, where it has one) stay
            together, e.g. "speaker[0-9]+".
        on_bad: a file that cannot be used is an error, or is left out (counted in the manifest).
    """

    own_files = "data_modules.folder_sounding_objects.SoundingFolder"
    columns = Columns("clips", ("label",))

    def __init__(
        self,
        *,
        root: str,
        manifest: str | None = None,
        classes: tuple[str, ...] | None = None,
        segments: Annotated[int, ">= 1"] = 5,
        segment_seconds: Annotated[float, "> 0"] = 1.0,
        sample_rate: Annotated[int, ">= 1000"] = 16_000,
        frame_size: Annotated[int, ">= 8"] = 224,
        missing_audio: Literal["error", "silence"] = "error",
        missing_pictures: Literal["error", "blank"] = "error",
        splits: str | None = None,
        val_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        test_share: Annotated[float, ">= 0", "<= 1"] = 0.2,
        group_by: str | None = None,
        on_bad: Literal["error", "skip"] = "error",
    ) -> None:
        super().__init__(
            root=root,
            manifest=manifest,
            classes=classes,
            segments=segments,
            segment_seconds=segment_seconds,
            sample_rate=sample_rate,
            frame_size=frame_size,
            missing_audio=missing_audio,
            missing_pictures=missing_pictures,
            splits=splits,
            val_share=val_share,
            test_share=test_share,
            group_by=group_by,
            on_bad=on_bad,
        )

    def inspect(self, entry: FileEntry) -> list[str]:
        """Warnings about length and sound; every mask is read.

        Raises:
            DataError: the clip cannot be decoded, or its masks are missing, no pictures or of other proportions.
        """
        remarks = super().inspect(entry)
        masks = mask_files(entry.path)
        if not masks:
            raise DataError(f"{entry.path} has no masks; expected {folder_of(entry.path)}/1.png for its first segment")
        if beyond := [path for k, path in masks.items() if not 1 <= k <= self.segments]:
            raise DataError(f"{beyond[0]}: the segments of a clip are 1 to {self.segments}")
        height, width = decode(entry.path, self.cut, **self.policy).frames.shape[1:3]
        for path in masks.values():
            own = opened(path).size
            if abs(own[0] * height / (own[1] * width) - 1) > PROPORTIONS:
                raise DataError(
                    f"{path} has {own[0]} x {own[1]} pixels, but the clip's pictures are {width / height:.3g} times as "
                    "wide as high"
                )
        return [*remarks, *(["segments without a mask"] if len(masks) < self.segments else [])]

    def files(self, entry: FileEntry) -> list[Path]:
        """A video, or a sound file and its frames, and the masks."""
        return [*super().files(entry), *mask_files(entry.path).values()]

    def samples(self, split: str, entries: Sequence[FileEntry]) -> SampleSet[Clip]:
        """Clips of one split."""
        targets: list[dict[str, Tensor]] = []
        return SoundingClips(entries, self.digests, targets, cut=self.cut, policy=self.policy)


def folder_of(path: Path) -> Path:
    """Where a clip's masks lie."""
    return path.with_name(f"{path.stem}{MASKS}")


def mask_files(path: Path) -> dict[int, Path]:
    """A clip's masks by segment, 1 the first.

    Raises:
        DataError: a file in their folder whose name is no number.
    """
    folder, found = folder_of(path), dict[int, Path]()
    for file in sorted(folder.glob("*")) if folder.is_dir() else ():
        if file.name.startswith(".") or file.suffix.lower() not in FRAMES:
            continue
        if not file.stem.isdecimal() or file.suffix.lower() != ".png" or int(file.stem) in found:
            raise DataError(f"{file}: expected masks called 1.png, 2.png, ... by their segment")
        found[int(file.stem)] = file
    return dict(sorted(found.items()))


def central(mask: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The central square of a mask [H, W] at another side, [side, side]; every cell takes the pixel at its middle."""
    height, width = mask.shape
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = Image.fromarray(mask[top : top + short, left : left + short])
    return np.asarray(square.resize((side, side), Image.Resampling.NEAREST))


if __name__ == "__main__":
    sys.exit(check_command("data_modules.folder_sounding_objects", lambda root: SoundingFolder(root=root)))
