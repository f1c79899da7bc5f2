"""Squares of a user's pictures with masks: orientation, places, keys, files to predict, windows of values."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from mask_files import blob, nifti, pairs, picture, ready, save
from picture_files import geotiff
from PIL import Image

from data_modules.errors import DataError
from data_modules.folder_masks import MaskFolder
from data_modules.kinds import tiles as kind
from data_modules.readers.upright import upright

# --- orientation ------------------------------------------------------------------------------------------------------


def turned(root: Path, held: int, *, displayed: bool) -> np.ndarray:
    """Pictures that a camera held so, and masks drawn on either; the mask as displayed."""
    shown = blob((40, 60))
    for k in range(4):
        image = picture(shown, k)
        stored = {6: np.rot90(image, 1), 3: np.rot90(image, 2)}[held]
        exif = Image.Exif()
        exif[274] = held
        (root / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(stored)).save(root / "images" / f"{k}.jpg", exif=exif, quality=95)
        drawn = shown if displayed else {6: np.rot90(shown, 1), 3: np.rot90(shown, 2)}[held]
        save(root / "masks" / f"{k}.png", np.ascontiguousarray(drawn))
    return shown


@pytest.mark.parametrize("held", [6, 3])
@pytest.mark.parametrize(("displayed", "setting"), [(True, "apply"), (False, "stored")])
def test_turned_pictures_need_a_word_on_their_masks(tmp_path: Path, held: int, displayed: bool, setting: str) -> None:
    shown = turned(tmp_path, held, displayed=displayed)
    with pytest.raises(
        DataError, match=rf"EXIF orientation {held}\).*data\.orientation=apply .*data\.orientation=stored"
    ):
        ready(tmp_path)
    data = ready(tmp_path, orientation=setting, frame={"tile": 64})
    tile = data.sets["train"][0]
    mask = tile.target["mask"].numpy()[:40, :60]
    assert (mask == shown).all()
    # The picture lies under its mask: the object is lighter.
    seen = tile.image[:40, :60, 0].astype(float)
    assert seen[mask == 1].mean() > seen[mask == 0].mean() + 30
    if held == 6:
        other = "stored" if setting == "apply" else "apply"
        with pytest.raises(DataError, match=r"cannot be used: .*pixels"):
            ready(tmp_path, orientation=other)


def test_upright_turns_masks_as_it_turns_pictures() -> None:
    image = picture(blob())
    assert (upright(image, 6)[..., 0] == upright(image[..., 0], 6)).all()


# --- squares ----------------------------------------------------------------------------------------------------------


def test_squares_carry_picture_mask_and_place(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path), splits=None)
    samples = data.sets["train"]
    assert len(samples) == len(samples.pictures) * 6
    image, mask = samples.pictures[1].image()[0], samples.pictures[1].labels()
    for index in range(6, 12):
        tile = samples[index]
        picture_index, y, x, h, w, number, height, width = tile.conditions["place"].tolist()
        assert (picture_index, h, w, number, height, width) == (1, 32, 32, 6, 40, 60)
        assert tile.id == samples.id(index) == f"{samples.pictures[1].id}#{index - 6}"
        assert (tile.image == image[y : y + 32, x : x + 32]).all()
        assert (tile.target["mask"].numpy() == mask[y : y + 32, x : x + 32]).all()
    assert len({samples.key(index) for index in range(len(samples))}) == len(samples)
    assert samples.picture_size(0) == (32, 32)
    copy = pickle.loads(pickle.dumps(samples))
    assert (copy[7].image == samples[7].image).all()
    counts = data.counts("train")[1]
    assert counts.pixels.tolist() == [2400 - 54, 54]
    assert counts.ignored == 0


def test_keys_hang_on_picture_frame_and_window_and_the_fingerprint_on_masks(tmp_path: Path) -> None:
    pairs(tmp_path)
    first, again, other = ready(tmp_path), ready(tmp_path), ready(tmp_path, frame={"tile": 32, "overlap": 4})
    assert first.sets["train"].key(0) == again.sets["train"].key(0)
    assert first.fingerprint() == again.fingerprint()
    assert first.sets["train"].key(0) != other.sets["train"].key(0)
    name, before = first.sets["train"].pictures[0].mask.path, first.fingerprint()
    mask = np.array(Image.open(name))
    mask[0, 0] = 1
    save(name, mask)
    changed = ready(tmp_path)
    assert changed.sets["train"].key(0) == first.sets["train"].key(0)
    assert changed.fingerprint() != before


def test_a_file_to_predict_is_a_whole_picture_of_the_same_squares_without_masks(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path))
    file = tmp_path / "images" / "p1.png"
    assert data.samples_in(file, {}) == [file]
    surface, notes = data.read(file, {})
    whole_picture = np.array(Image.open(file))
    assert (surface.id, surface.file, surface.slice, surface.depth, notes) == (str(file), file, None, 1, [])
    assert (surface.image == whole_picture).all()
    assert len(surface.squares) == 6
    for index in range(6):
        tile = surface.squares[index]
        picture_index, y, x, h, w, number, *size = tile.conditions["place"].tolist()
        assert (tile.image == whole_picture[y : y + h, x : x + w]).all()
        assert (picture_index, number, size, tile.target) == (0, 6, [40, 60], {})
    with pytest.raises(DataError, match=r"expected LOW\.\.HIGH"):
        data.require({"window": "3"})


def test_slices_of_a_volume_are_surfaces_of_their_own(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    values = np.random.default_rng(0).integers(-200, 300, (12, 10, 3)).astype(np.int16)
    file = nifti(tmp_path / "scan.nii.gz", values)
    data = MaskFolder(root="", frame={"tile": 32, "overlap": 8}, window=(-160.0, 240.0))
    parts = data.samples_in(file, {})
    assert parts == [Path(f"{file}#{k}") for k in range(3)]
    surfaces = [data.read(part, {})[0] for part in parts]
    assert [(one.slice, one.depth, one.file) for one in surfaces] == [(k, 3, file) for k in range(3)]
    assert (surfaces[0].image != surfaces[1].image).any()
    assert "only the first of 3 slices; scan.nii.gz#1 is the next" in data.read(file, {})[1][0]
    with pytest.raises(DataError, match="the volume has 3 slices, #0 the first"):
        data.read(Path(f"{file}#3"), {})


def test_a_large_tiff_is_read_square_by_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 90, 130), dtype=np.uint8)
    file = geotiff(tmp_path / "large.tif", rgb, tiled=True, blockxsize=16, blockysize=16, photometric="rgb")
    data = MaskFolder(root="", frame={"tile": 32, "overlap": 8})
    squares = data.read(file, {})[0].squares
    plain = [squares[k].image for k in range(len(squares))]
    monkeypatch.setattr(kind, "LARGE", 0)
    monkeypatch.setattr("data_modules.kinds.mask_files.read_picture", None)
    parts = MaskFolder(root="", frame={"tile": 32, "overlap": 8}).read(file, {})[0].squares
    found = [parts[k].image for k in range(len(parts))]
    assert len(found) == 4 * 6
    assert all((one == other).all() for one, other in zip(plain, found, strict=True))


# --- intensity windows ------------------------------------------------------------------------------------------------


def test_tissue_is_as_grey_beside_an_implant_under_a_declared_window(tmp_path: Path) -> None:
    tissue = np.full((1, 40, 60), 40, np.int16)
    tissue[0, :20] = -100
    implant = tissue.copy()
    implant[0, 30:, 40:] = 3000
    for k, values in enumerate((tissue, implant, tissue + 1, implant + 1)):
        geotiff(tmp_path / "images" / f"{k}.tif", values)
        save(tmp_path / "masks" / f"{k}.png", blob(seed=k))
    for window, most in (((-160.0, 240.0), 1), (None, 255)):
        data = ready(tmp_path, window=window, frame={"letterbox": 60})
        greys = [int(data.read(tmp_path / "images" / f"{k}.tif", {})[0].image[25, 5, 0]) for k in range(2)]
        assert abs(greys[0] - greys[1]) <= most
        if window is None:
            assert abs(greys[0] - greys[1]) > 100
        else:
            assert greys[0] == round(1 + 254 * 200 / 400)
            told = data.read(tmp_path / "images" / "0.tif", {"window": "0..80"})[0].image[25, 5, 0]
            assert told == round(1 + 254 * 0.5)
