"""Pictures carry their ground sampling distance through shrinking, resampling and probes."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import picture_files
import pytest
import torch
from picture_files import UTM, geotiff
from PIL import Image
from torch.utils.data import DataLoader

from data_modules.errors import DataError
from data_modules.kinds.picture_probes import probes
from data_modules.kinds.picture_set import PictureRecord, PictureSet, resample, view
from data_modules.kinds.pictures import PictureDataModule, split
from data_modules.readers.raster import read_picture
from zoo.batch import Question

RGB = picture_files.picture(0, 3, 48)
ASKED = Question("What is it?", ("field", "forest"), "A")


def shots(folder: Path, gsds: list[float | None], **settings: object) -> list[PictureRecord]:
    """Pictures a0, a1, ... told these ground sampling distances."""
    found = []
    for number, gsd in enumerate(gsds):
        path = folder / f"a{number}.png"
        picture_files.save(path, picture_files.picture(number, number % 4))
        found.append(PictureRecord(path.stem, (path,), gsd=gsd, **settings))
    return found


def gsd_of(samples: PictureSet, index: int = 0) -> float:
    return float(samples.conditions(index)["gsd"])


def test_a_shrunk_picture_has_a_larger_gsd(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", picture_files.picture(0, 0, 60)[:40].transpose(2, 0, 1), crs=UTM, pixel=0.5)
    for told, own in ((None, 0.5), (2.0, 2.0)):
        for max_side, factor in ((None, 1.0), (60, 1.0), (100, 1.0), (15, 4.0), (7, 60 / 7)):
            for times in (0.5, 1.0, 2.0):
                shot = view(PictureRecord("a", (path,), gsd=told), times)
                samples = PictureSet([shot], max_side=max_side)
                picture = samples[0]
                assert gsd_of(samples) == pytest.approx(own * factor * times)
                assert picture.conditions["gsd"] == samples.conditions(0)["gsd"]
                assert picture.conditions["gsd"].dtype == torch.float32
                assert max(picture.images[0].shape) == round(60 / factor)


def test_the_gsd_of_pictures_that_tell_none_is_nan(tmp_path: Path) -> None:
    picture_files.save(tmp_path / "a.jpg", RGB)
    for max_side in (None, 16):
        samples = PictureSet([view(PictureRecord("a", (tmp_path / "a.jpg",)), 2.0)], max_side=max_side)
        assert math.isnan(gsd_of(samples))
        assert math.isnan(samples[0].conditions["gsd"])


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 3000.0, 0.001])
def test_an_implausible_gsd_names_the_file(bad: float, tmp_path: Path) -> None:
    samples = PictureSet(shots(tmp_path, [1.0, bad]))
    assert gsd_of(samples) == 1.0
    with pytest.raises(
        DataError, match=rf"^{tmp_path}/a1\.png: gsd = {bad:g}; expected metres per pixel from 0\.01 to"
    ):
        samples.conditions(1)
    with pytest.raises(DataError, match=r"a1\.png: gsd"):
        samples[1]


def test_the_bounds_of_a_gsd_can_be_set_and_hold_for_geotiffs(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", RGB.transpose(2, 0, 1), crs=UTM, pixel=30.0)
    samples = PictureSet([PictureRecord("a", (path,))], bounds=(0.1, 10.0))
    with pytest.raises(DataError, match=r"a\.tif: gsd = 30; expected metres per pixel from 0\.1 to 10 \(centimet"):
        samples.conditions(0)
    # A view of a plausible picture may leave the bounds.
    assert gsd_of(PictureSet([view(PictureRecord("a", (path,)), 100.0)])) == 3000.0


def test_a_key_changes_with_content_factor_and_size_and_not_with_question_or_name(tmp_path: Path) -> None:
    first, other = shots(tmp_path, [1.0, 1.0])
    key = PictureSet([first]).key(0)
    assert PictureSet([first]).key(0) == key
    assert PictureSet([PictureRecord("b", first.sources, gsd=2.0, question=ASKED, label=1)]).key(0) == key
    assert PictureSet([PictureRecord("b", (first.sources[0].read_bytes(),))]).key(0) == key
    changed = [
        PictureSet([other]),
        PictureSet([view(first, 2.0)]),
        PictureSet([view(first, 0.5)]),
        PictureSet([first], max_side=20),
        PictureSet([PictureRecord("a", (*first.sources, *other.sources))]),
        PictureSet([PictureRecord("a", (*other.sources, *first.sources))]),
    ]
    assert len({key, *(samples.key(0) for samples in changed)}) == 7
    picture_files.save(first.sources[0], RGB)
    assert PictureSet([first]).key(0) != key
    first.sources[0].unlink()
    with pytest.raises(DataError, match=r"^a0: .*a0\.png cannot be read: No such file"):
        PictureSet([first]).key(0)


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.0, 1.86, 4.0, 7.43])
def test_resampling_keeps_the_size_and_changes_the_scale(factor: float) -> None:
    rows, columns = np.mgrid[:96, :64]
    image = np.stack([rows, columns, rows * 0 + 9], -1).astype(np.uint8)
    seen = resample(image, factor).astype(float)
    assert seen.shape == image.shape
    # One step to the side is so many as large, around the centre, which stays where it is.
    centre = seen[44:52, 28:36].mean((0, 1))
    assert centre == pytest.approx([47.5, 31.5, 9], abs=factor)
    step = 3 if factor > 1 else 10
    across = (seen[48, 32 + step, 1] - seen[48, 32 - step, 1]) / (2 * step)
    assert across == pytest.approx(factor, rel=0.15)


def test_resampled_pictures_can_be_written_to() -> None:
    for factor in (0.5, 1.0, 2.0):
        assert resample(RGB.copy(), factor).flags.writeable


def balanced(folder: Path, each: int = 3) -> PictureSet:
    # Of four scales, mixed.
    return PictureSet(shots(folder, [float(2 ** (k % 4)) for k in range(4 * each)]))


def test_wrong_gsds_exchange_four_balanced_scales_in_a_circle(tmp_path: Path) -> None:
    samples = balanced(tmp_path)
    found = probes(samples, ("gsd",))
    assert set(found) == {"wrong_gsd", "unknown_gsd"}
    wrong = found["wrong_gsd"]
    assert len(wrong) == 3 * len(samples)
    shifts = Counter()
    for index in range(len(wrong)):
        row = int(wrong.id(index)[1:])
        right, told = gsd_of(samples, row), float(wrong.conditions(index)["gsd"])
        shift = round(math.log2(told) - math.log2(right)) % 4
        assert shift == 1 + index // len(samples), "every copy of the split is one shift"
        shifts[right, told] += 1
        assert wrong.key(index) == samples.key(row)
        assert wrong.target(index) == samples.target(row)
    assert len(shifts) == 12
    assert set(shifts.values()) == {3}
    picture = wrong[5]
    assert (picture.images[0] == samples[int(picture.id[1:])].images[0]).all()
    assert picture.conditions["gsd"] == wrong.conditions(5)["gsd"]


def test_a_wrong_gsd_is_never_the_right_one_and_unknown_ones_stay_out(tmp_path: Path) -> None:
    samples = PictureSet(shots(tmp_path, [1.0, 1.0, 1.0, 1.0, 1.0, 2.0, None, None]))
    found = probes(samples, ("gsd",))
    wrong = found["wrong_gsd"]
    told = {(wrong.id(i), float(wrong.conditions(i)["gsd"])) for i in range(len(wrong))}
    assert told
    assert all(gsd != gsd_of(samples, int(name[1:])) for name, gsd in told)
    assert not {"a6", "a7"} & {name for name, _ in told}
    unknown = found["unknown_gsd"]
    assert len(unknown) == len(samples)
    assert all(math.isnan(unknown.conditions(i)["gsd"]) for i in range(len(unknown)))
    assert math.isnan(unknown[0].conditions["gsd"])


def test_there_is_no_probe_of_what_is_not_used_or_not_known(tmp_path: Path) -> None:
    assert probes(balanced(tmp_path), ()) == {}
    assert probes(PictureSet(shots(tmp_path, [None, None])), ("gsd",)) == {}
    assert set(probes(PictureSet(shots(tmp_path, [2.0, 2.0])), ("gsd",))) == {"unknown_gsd"}


def test_blank_pictures_are_grey_have_their_size_and_another_key(tmp_path: Path) -> None:
    samples = PictureSet(shots(tmp_path, [1.0, 1.0], question=ASKED))
    blank = probes(samples, ())["blank_image"]
    assert len(blank) == 2
    for index in range(2):
        picture = blank[index]
        assert picture.images[0].shape == samples[index].images[0].shape
        assert (picture.images[0] == 128).all()
        assert blank.key(index) == f"blank {samples.key(index)}"
        assert picture.question == blank.question(index) == ASKED
        assert picture.conditions["gsd"] == 1.0


def test_a_users_picture_with_gsd_question_and_choices(tmp_path: Path) -> None:
    data = PictureDataModule()
    picture_files.save(tmp_path / "a.png", RGB)
    picture, notes = data.read(tmp_path / "a.png", {})
    assert math.isnan(picture.conditions["gsd"])
    assert notes == ["its ground sampling distance is not known (gsd=METRES tells it)"]
    settings = {"gsd": "0.3", "question": "What?", "choices": "a field | water", "other": "x"}
    picture, notes = data.read(tmp_path / "a.png", settings)
    assert (notes, settings) == ([], {"other": "x"})
    assert picture.question == Question("What?", ("a field", "water"))
    assert picture.conditions["gsd"] == pytest.approx(0.3)
    path = geotiff(tmp_path / "a.tif", RGB[..., :1].transpose(2, 0, 1), crs=UTM, pixel=2.5)
    picture, notes = data.read(path, {})
    assert picture.conditions["gsd"] == 2.5
    assert notes == ["grey pictures, whose one band is repeated"]
    assert data.read(tmp_path / "a.png", {"gsd": "1"})[1] == [], "notes are of this picture alone"
    assert data.read(path, {"gsd": "4"})[0].conditions["gsd"] == 4.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gsd": "10cm"}, "gsd: expected metres per pixel, got '10cm'"),
        ({"gsd": "0"}, r"a\.png: gsd = 0; expected metres per pixel from 0\.01 to 1000"),
        ({"gsd": "nan"}, r"a\.png: gsd = nan"),
        ({"question": "What?", "choices": "a||b"}, r"choices: expected words between bars, .* got 'a\|\|b'"),
        ({"choices": "a|b"}, "choices without a question"),
    ],
)
def test_wrong_settings_of_a_users_picture_are_clear_errors(
    settings: dict[str, str], message: str, tmp_path: Path
) -> None:
    picture_files.save(tmp_path / "a.png", RGB)
    with pytest.raises(DataError, match=message):
        PictureDataModule().read(tmp_path / "a.png", settings)


def test_pictures_that_needed_mending_are_counted_in_the_report(tmp_path: Path) -> None:
    data = PictureDataModule()
    Image.fromarray(RGB).convert("L").save(tmp_path / "a.png")
    samples = data.pictures([PictureRecord("a", (tmp_path / "a.png",), gsd=1.0), *shots(tmp_path, [1.0])])
    for index in range(len(samples)):
        samples[index]
    assert data.report()["remarks"] == {"grey pictures, whose one band is repeated": 1}


def test_loader_workers_read_the_same_after_their_parent_has_read(tmp_path: Path) -> None:
    paths = [
        geotiff(tmp_path / f"{k}.tif", np.roll(RGB, k).transpose(2, 0, 1), crs=UTM, pixel=1.0 + k) for k in range(6)
    ]
    samples = PictureSet([PictureRecord(path.stem, (path,)) for path in paths])
    expected = [read_picture(path, "")[0] for path in paths]
    loader = DataLoader(samples, batch_size=None, num_workers=2)
    for index, picture in enumerate(loader):
        assert (np.asarray(picture.images[0]) == expected[index]).all()
        assert picture.conditions["gsd"] == 1.0 + index


def test_a_split_takes_its_share_of_every_stratum_and_moves_little_when_a_file_is_added() -> None:
    ids = [f"{kind}{number}" for kind in "abc" for number in range(40)]
    shares = {"test": 0.5, "val": 0.1}
    found = split(ids, [name[0] for name in ids], shares)
    assert sorted(row for rows in found.values() for row in rows) == list(range(120))
    for kind in "abc":
        counts = {name: sum(ids[row][0] == kind for row in rows) for name, rows in found.items()}
        assert counts == {"train": 16, "val": 4, "test": 20}
    place = {ids[row]: name for name, rows in found.items() for row in rows}
    for number in range(40, 60):
        more = [*ids, f"b{number}"]
        again = split(more, [name[0] for name in more], shares)
        moved = [more[row] for name, rows in again.items() for row in rows if place.get(more[row], name) != name]
        assert len(moved) <= 2, "at most one over each border"
        assert all(name[0] == "b" for name in moved)
    shuffled = ids[::-1]
    again = split(shuffled, [name[0] for name in shuffled], shares)
    assert {name: {shuffled[row] for row in rows} for name, rows in again.items()} == {
        name: {ids[row] for row in rows} for name, rows in found.items()
    }
