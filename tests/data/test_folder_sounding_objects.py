"""A folder of one's own clips with masks of what sounds: read by segment, and every mistake of a mask is named."""

from pathlib import Path

import numpy as np
import pytest
from media_files import Film, Sound, write
from PIL import Image

from data_modules.errors import DataError
from data_modules.folder_sounding_objects import SoundingFolder, central, mask_files
from zoo.ops.frame import IGNORE

SHORT = {"segments": 2, "segment_seconds": 0.5, "frame_size": 16}


def masked(root: Path, name: str, *segments: int, size: tuple[int, int] = (64, 48)) -> None:
    """Masks whose left half sounds, as index 2 of a palette."""
    there = np.zeros(size[::-1], np.uint8)
    there[:, : size[0] // 2] = 2
    folder = root / f"{name}_masks"
    folder.mkdir(parents=True, exist_ok=True)
    for k in segments:
        image = Image.fromarray(there)
        image.putpalette([0] * 6 + [255] * 3)
        image.save(folder / f"{k}.png")


def folder(root: Path) -> Path:
    """A clip of two classes in each split, 64 x 48 pixels; in training the second segment has no mask."""
    for k, split in enumerate(("train", "val", "test")):
        for label in ("dog", "car"):
            end = 1 + 0.25 * k + (label == "car") * 0.125  # no two of the same content
            write(root / split / label / "walk.mkv", film=Film(end=end), sounds=[Sound(codec="pcm_s16le", end=end)])
            masked(root / split / label, "walk", *((1,) if split == "train" else (1, 2)))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("sounding"))


def test_masks_are_the_central_squares_of_their_segments(root: Path) -> None:
    data = SoundingFolder(root=str(root), **SHORT)
    data.setup()
    assert data.classes == ["car", "dog"]
    assert data.remarks["segments without a mask"] == 2
    clip = data.sets["train"][0]
    assert clip.frames.shape[:2] == (2, 16)
    assert clip.audio.shape == (2, 8_000)
    masks = clip.target["masks"]
    assert masks.shape == (2, 16, 16)
    assert bool((masks[0, :, :8] == 1).all())
    assert not masks[0, :, 8:].any()
    assert bool((masks[1] == IGNORE).all())
    assert data.sets["test"].target(0)["masks"].flatten(1).sum(1).tolist() == [128, 128]


def test_a_mask_keeps_its_middle_whatever_its_proportions() -> None:
    wide = np.zeros((4, 8), np.uint8)
    wide[:, 2:4] = 1
    assert central(wide, 4).tolist() == [[1, 1, 0, 0]] * 4
    assert central(wide.T, 2).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda masks: (masks / "1.png").unlink(), r"walk\.mkv has no masks; expected .*walk_masks/1\.png"),
        (lambda masks: (masks / "1.png").rename(masks / "one.png"), r"one\.png: expected masks called 1\.png, 2\.png"),
        (lambda masks: (masks / "1.png").rename(masks / "3.png"), r"3\.png: the segments of a clip are 1 to 2"),
        (lambda masks: (masks / "1.png").write_bytes(b"no picture"), r"1\.png is no PNG"),
        (
            lambda masks: Image.new("L", (48, 64)).save(masks / "1.png"),
            r"1\.png has 48 x 64 pixels, but .* 1\.3\d times",
        ),
    ],
)
def test_every_mistake_of_a_mask_is_named(tmp_path: Path, spoil: object, message: str) -> None:
    write(tmp_path / "test/dog/walk.mkv", film=Film(end=1), sounds=[Sound(codec="pcm_s16le", end=1)])
    masked(tmp_path / "test/dog", "walk", 1)
    spoil(tmp_path / "test/dog/walk_masks")  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        SoundingFolder(root=str(tmp_path), classes=("dog", "car"), **SHORT).setup("test")


def test_masks_are_found_by_number(tmp_path: Path) -> None:
    masked(tmp_path, "walk", 10, 2)
    (tmp_path / "walk_masks" / ".hidden").touch()
    (tmp_path / "walk_masks" / "notes.txt").touch()
    assert list(mask_files(tmp_path / "walk.mp4")) == [2, 10]
