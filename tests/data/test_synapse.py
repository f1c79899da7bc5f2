"""Synapse as BTCV distributes it: TransUNet's volumes, eight of 13 organs, and the window of its authors."""

from pathlib import Path

import numpy as np
import pytest
from mask_files import nifti
from volume_files import FLAT, block, btcv

from data_modules.errors import DataError
from data_modules.readers.volumes import read_volume
from data_modules.synapse import TEST, TRAIN, Synapse

pytest.importorskip("nibabel")

write = btcv


def ready(root: Path) -> Synapse:
    data = Synapse(root=str(root), frame={"letterbox": 44})
    data.setup()
    return data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synapse:
    return ready(btcv(tmp_path_factory.mktemp("synapse") / "RawData" / "Training").parents[1])


def volumes(data: Synapse, split: str) -> set[int]:
    samples = data.sets[split]
    return {int(samples.conditions(k)["group"]) for k in range(len(samples))}


def test_volumes_are_transunets_and_three_of_its_18_select(data: Synapse) -> None:
    train, val, test = (volumes(data, split) for split in ("train", "val", "test"))
    assert test == set(TEST)
    assert len(TEST) == 12
    assert train | val == set(TRAIN)
    assert (len(train), len(val)) == (15, 3)
    assert len(data.sets["test"]) == 24


def test_eight_organs_are_classes_and_the_others_background(data: Synapse) -> None:
    samples = data.sets["test"]
    stored = block(tuple(range(1, 14)), (42, 44, 2), 1)[::-1, ::-1].transpose(2, 1, 0)[1]
    found = samples.labels(1)
    by_number = {number: set(found[stored == number].tolist()) for number in range(14)}
    names = {data.classes[next(iter(labels))] for number, labels in by_number.items() if number in (6, 8, 11)}
    assert names == {"liver", "aorta", "pancreas"}
    assert by_number[1] == {data.classes.index("spleen")}
    assert all(by_number[number] == {0} for number in (0, 5, 9, 10, 12, 13))


def test_units_of_the_window_become_grey_whatever_the_volume_holds(data: Synapse) -> None:
    samples = data.sets["test"]
    image = samples.image(1)
    units = read_volume(samples.pictures[1].path).slices[1].astype(float)
    wanted = 1 + 254 * (np.clip(units, -125, 275) + 125) / 400  # 0 is what has no data
    assert np.abs(image[..., 0] - wanted).max() <= 1
    assert image.max() == 255  # metal of 3000 units is white, and darkens nothing


def test_masks_elsewhere_and_missing_volumes_are_told(tmp_path: Path) -> None:
    root = btcv(tmp_path)
    nifti(root / "label" / "label0022.nii.gz", np.zeros((42, 44, 2), np.uint8), 2 * FLAT)
    with pytest.raises(DataError, match=r"label0022\.nii\.gz: its affine differs from that of img0022"):
        ready(root)
    (root / "label" / "label0022.nii.gz").unlink()
    with pytest.raises(
        DataError, match=r"1 of 60 files are missing, e\.g\. .*label0022\.nii\.gz\. BTCV is distributed"
    ):
        ready(root)


def test_check_counts_volumes_and_organs(data: Synapse) -> None:
    lines = data.check()
    assert lines[2].startswith("test: 12 volumes, 24 slices; background ")
    assert "pancreas 1.14%" in lines[2]
