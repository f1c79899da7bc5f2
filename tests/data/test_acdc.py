"""ACDC in its own layout: phases by Info.cfg, splits of whole patients, slices with their patient and millimetres."""

from pathlib import Path

import pytest
from mask_files import nifti
from volume_files import THICK, acdc, block

from data_modules.acdc import ACDC
from data_modules.errors import DataError

pytest.importorskip("nibabel")

write = acdc


def ready(root: Path) -> ACDC:
    data = ACDC(root=str(root), frame={"letterbox": 40})
    data.setup()
    return data


def patients(data: ACDC, split: str) -> set[int]:
    samples = data.sets[split]
    return {int(samples.conditions(k)["group"]) for k in range(len(samples))}


def test_splits_are_of_whole_patients_a_fifth_of_every_disease_selecting(tmp_path: Path) -> None:
    data = ready(acdc(tmp_path / "database").parent)
    train, val, test = (patients(data, split) for split in ("train", "val", "test"))
    assert (len(train), len(val), test) == (20, 5, {101, 102})
    assert not train & val
    assert {number % 5 for number in val} == set(range(5))  # one of every disease
    assert [len(data.sets[split]) for split in ("train", "val", "test")] == [120, 30, 12]  # two phases, three slices


def test_a_slice_is_a_picture_with_its_mask_patient_volume_and_millimetres(tmp_path: Path) -> None:
    data = ready(acdc(tmp_path))
    samples = data.sets["test"]
    assert [picture.id for picture in samples.pictures][:4] == [
        *(f"patient101 ED[{z}]" for z in range(3)),
        "patient101 ES[0]",
    ]
    wanted = block((1, 2, 3), (40, 36, 3), 101 + 1)[::-1, ::-1].transpose(2, 1, 0)
    assert (samples.labels(1) == wanted[1]).all()
    told = samples.conditions(4)
    assert told["volume"].tolist() == [1, 1, 3]
    assert told["spacing"].tolist() == [10.0, 1.5, 1.5]
    assert samples[4].conditions.keys() == told.keys() == set(data.conditions)


def test_what_is_missing_or_not_short_axis_is_told(tmp_path: Path) -> None:
    acdc(tmp_path)
    home = tmp_path / "training" / "patient002"
    volume = next(home.glob("*_frame01.nii.gz"))
    nifti(volume, block((1, 2, 3), (40, 36, 3), 1), THICK[[2, 1, 0, 3]])
    with pytest.raises(DataError, match=r"patient002_frame01\.nii\.gz: 1\.5 mm between slices .*expected thick"):
        ready(tmp_path)
    (home / "Info.cfg").write_text("ED: 1\nGroup: DCM\n")
    with pytest.raises(DataError, match=r"Info\.cfg: expected lines such as ED: 1, ES: 12"):
        ready(tmp_path)
    (home / "Info.cfg").unlink()
    with pytest.raises(DataError, match=r"Info\.cfg cannot be read.*creatis"):
        ready(tmp_path)


def test_masks_that_were_not_published_are_missed_before_training(tmp_path: Path) -> None:
    acdc(tmp_path)
    for path in tmp_path.glob("testing/*/*_gt.nii.gz"):
        path.unlink()
    with pytest.raises(DataError, match=r"testing: 4 of 8 files are missing, e\.g\. .*_gt\.nii\.gz.*creatis"):
        ready(tmp_path)


def test_check_counts_patients_volumes_and_classes(tmp_path: Path) -> None:
    lines = ACDC(root=str(acdc(tmp_path)), frame={"letterbox": 40}).check()
    assert lines[:2] == ["training: 25 patients, 100 are published", "testing: 2 patients, 50 are published"]
    assert lines[2].startswith("train: 40 volumes, 120 slices; background 94.17%, right ventricle 1.94%")
