"""NIfTI volumes: slices in canonical axes, masks that lie on them, and masks written back."""

from pathlib import Path

import numpy as np
import pytest
from mask_files import mean_iou

nibabel = pytest.importorskip("nibabel", reason="volumes need nibabel: pip install 'multimodal-peft-zoo[medical]'")

from data_modules.errors import DataError  # noqa: E402
from data_modules.folder_masks import MaskFolder  # noqa: E402
from data_modules.readers import volumes  # noqa: E402

AFFINE = np.diag([2.0, 3.0, 5.0, 1.0])
OBLIQUE = np.array([[1.9, -0.4, 0.1, -7], [0.5, 2.9, -0.3, 4], [0.0, 0.4, 4.9, 9], [0, 0, 0, 1.0]])


def volume(seed: int = 0) -> np.ndarray:
    """Labels [X, Y, Z] without any symmetry."""
    found = np.zeros((10, 12, 6), np.uint8)
    found[1:4, 2:7, 1:4] = 1
    found[6:9, 5 + seed % 3 : 11, 3:5] = 2
    return found


def write(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def flipped(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same in space, stored from right to left."""
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = len(values) - 1
    return values[::-1], affine @ flip


def axes_swapped(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values.transpose(2, 0, 1), affine[:, [2, 0, 1, 3]]


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE])
@pytest.mark.parametrize("stored", [flipped, axes_swapped])
def test_slices_are_the_same_however_a_volume_is_stored(tmp_path: Path, affine: np.ndarray, stored: object) -> None:
    plain = write(tmp_path / "a.nii.gz", volume(), affine)
    other = write(tmp_path / "b.nii", *stored(volume(), affine))  # type: ignore[operator]
    first, second = (volumes.read_volume(path, whole=True) for path in (plain, other))
    assert (first.slices == second.slices).all()
    assert first.slices.shape == volumes.shape(other) == volumes.shape(plain) == (6, 12, 10)
    assert np.allclose(first.affine, second.affine)
    assert mean_iou(first.slices, second.slices, 3) == pytest.approx(1, abs=1e-6)
    volumes.require_same_space(plain, other)
    # Front up, the right on the left.
    assert (first.slices[1] == volume()[::-1, ::-1, 1].T).all()


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE])
@pytest.mark.parametrize("stored", [None, flipped, axes_swapped])
def test_masks_are_written_back_in_the_volumes_own_axes(tmp_path: Path, affine: np.ndarray, stored: object) -> None:
    values, its = stored(volume(), affine) if stored else (volume(), affine)  # type: ignore[operator]
    like = write(tmp_path / "a.nii.gz", values.astype(np.int16) * 100, its)
    mask = (volumes.read_volume(like, whole=True).slices // 100).astype(np.uint8)
    volumes.write_mask(tmp_path / "out.nii.gz", mask, like)
    back, before = nibabel.load(tmp_path / "out.nii.gz"), nibabel.load(like)
    assert back.get_data_dtype() == np.uint8
    assert (np.asanyarray(back.dataobj) == values).all()
    assert (back.affine == before.affine).all()
    assert back.header.get_zooms() == before.header.get_zooms()


def test_volumes_that_do_not_lie_on_each_other(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.nii", volume(), AFFINE)
    shifted = AFFINE.copy()
    shifted[0, 3] = 0.01
    with pytest.raises(
        DataError, match=r"b\.nii: its affine differs from that of a\.nii by 0\.01; expected up to 0\.001"
    ):
        volumes.require_same_space(plain, write(tmp_path / "b.nii", volume(), shifted))
    with pytest.raises(DataError, match=r"voxels, but a\.nii has"):
        volumes.require_same_space(plain, write(tmp_path / "c.nii", volume()[:-1], AFFINE))
    with pytest.raises(DataError, match="expected three axes"):
        volumes.shape(write(tmp_path / "d.nii", np.zeros((3, 3, 3, 2), np.uint8), AFFINE))
    (tmp_path / "e.nii").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"e\.nii is no NIfTI volume"):
        volumes.shape(tmp_path / "e.nii")


def test_a_folder_of_volumes_is_one_of_slices_that_stay_together(tmp_path: Path) -> None:
    for k in range(4):
        grey = np.where(volume(k) == 0, 40, -100).astype(np.int16) + k
        grey[0, 0, 0] = 3000 * (k == 1)
        write(tmp_path / "images" / f"v{k}.nii.gz", grey, AFFINE)
        write(tmp_path / "masks" / f"v{k}.nii.gz", *flipped(volume(k), AFFINE))
    data = MaskFolder(root=str(tmp_path), frame={"letterbox": 12}, window=(-160, 240))
    data.setup()
    assert {split: len(samples) for split, samples in data.sets.items()} == {"train": 12, "val": 6, "test": 6}
    assert data.classes == ["class 0", "class 1", "class 2"]
    samples = data.sets["train"]
    name = samples.id(2).partition("[")[0]
    assert samples.id(2) == f"{name}[2]#0"
    k = int(name[-8])
    tile = samples[2]
    assert (tile.target["mask"].numpy()[:, :10] == volume(k)[::-1, ::-1, 2].T).all()
    grey = tile.image[:, :10, 0].astype(int)
    assert (np.abs(grey[tile.target["mask"].numpy()[:, :10] == 0] - (1 + 254 * (200 + k) / 400)) <= 1).all()
    assert data.counts("train")[2].pixels.sum() == 120
    file = tmp_path / "images" / "v1.nii.gz"
    assert len(data.samples_in(file, {})) == 6
    surface = data.read(Path(f"{file}#4"), {})[0]
    assert (surface.slice, surface.depth) == (4, 6)
    assert surface.squares.conditions(0)["place"].tolist() == [0, 0, 0, 12, 12, 1, 12, 10]
    write(tmp_path / "masks" / "v3.nii.gz", np.full((10, 12, 6), 7, np.uint8), AFFINE)
    with pytest.raises(DataError, match=r"v3\.nii\.gz, slice 0: 7 in 120 pixels"):
        MaskFolder(root=str(tmp_path), classes=("a", "b", "c")).setup()
