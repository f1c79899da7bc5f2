"""Commands and own files: what is told of bands and scale reaches an adapter, and an adapter states its own scale."""

import json
from pathlib import Path

import numpy as np
import own_files
import predict_files
import pytest
from picture_files import UTM, geotiff
from scale_tiny import RATIO

from data_modules.folder_pictures import PictureFolder
from zoo import predict, show
from zoo.adapter import directory
from zoo.batch import GroundScale
from zoo.recipe.build import of_recipe
from zoo.recipe.compose import compose
from zoo.train import main as train


def test_the_command_says_notes_units_and_bands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = predict_files.untrained("scale_earth_rsscn7", tmp_path / "adapter", "data.root=DIR")
    values = np.random.default_rng(0).integers(0, 3000, (4, 20, 60)).astype(np.uint16)
    path = geotiff(tmp_path / "in" / "s2.tif", values, crs=UTM, pixel=10.0, photometric="MINISBLACK")
    (tmp_path / "in" / "scene.vrt").write_text("<VRTDataset/>")
    words = [f"adapter={folder}", f"input={tmp_path / 'in'}", "gsd=2"]
    assert predict.main([*words, "bands=sentinel-2-l2a"]) == 3
    said = capsys.readouterr()
    answer, refused = (json.loads(line) for line in said.out.splitlines())
    assert (answer["gsd"], answer["gsd_unit"], answer["gsd_from"]) == (2.0, RATIO, "told")
    assert answer["notes"] == ["only the central square is seen, 33 % of it: cut it into squares where its ends matter"]
    assert "scene.vrt is a virtual raster (VRT), which only names other files" in refused["error"]
    assert f"note: {path}: only the central square" in said.err
    assert predict.main([*words[:1], f"input={path}"]) == 1
    assert "say bands=sentinel-2-l1c or bands=sentinel-2-l2a or" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        predict.main([*words, "stretch=dark"])
    assert stopped.value.code == 2
    assert "stretch: got 'dark'; expected LOW..HIGH" in capsys.readouterr().err


def test_refused_formats_are_named_in_a_folder_to_train_on(tmp_path: Path) -> None:
    root = own_files.pictures(tmp_path)
    (root / "field" / "mosaic.vrt").write_text("<VRTDataset/>")
    with pytest.raises(Exception, match=r"1 of 11 files cannot be used: .*mosaic\.vrt is a virtual raster"):
        PictureFolder(root=str(root)).setup("fit")
    data = PictureFolder(root=str(root), on_bad="skip")
    data.setup("fit")
    assert data.remarks["files that cannot be used: left out"] == 1


def test_own_files_of_many_bands_are_shown_as_the_recipe_says(tmp_path: Path) -> None:
    for label, level in (("field", 300), ("water", 2000)):
        for k in range(5):
            values = np.full((4, 8, 8), level + 7 * k, np.uint16)
            geotiff(tmp_path / label / f"{k}.tif", values, photometric="MINISBLACK")
    with pytest.raises(Exception, match=r"10 of 10 files cannot be used: .* say bands=sentinel-2-l1c"):
        PictureFolder(root=str(tmp_path)).setup("fit")
    data = PictureFolder(root=str(tmp_path), bands="3,2,1", stretch="0..4000")
    data.setup("fit")
    for samples in data.sets.values():
        for index in range(len(samples)):
            bright = samples[index].images[0].mean()
            assert bright == pytest.approx(20 if samples[index].target["label"] == 0 else 129, abs=3)
    plain = PictureFolder(root=str(tmp_path), bands="3,2,1", stretch="0..3000")
    plain.setup("fit")
    assert {plain.sets["test"].key(0)} & {data.sets["test"].key(0)} == set()
    sample, _ = data.read(tmp_path / "field" / "0.tif", {})
    assert sample.images[0].mean() == pytest.approx(20, abs=1)


def sized(root: Path, side: int) -> Path:
    for label in ("field", "water"):
        for k in range(5):
            own_files.picture(root / label / f"{k}.png", k + 9 * (label == "water"), side)
    return root


@pytest.mark.slow
def test_a_training_states_its_side_and_one_that_starts_from_it_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["data=folder", "data.gsd=2", "trainer.max_epochs=1"]
    first, second = tmp_path / "first", tmp_path / "second"
    start = ["recipe=scale_earth_rsscn7", "--smoke", f"data.root={sized(tmp_path / 'small', 32)}", f"into={first}"]
    assert train([*start, *words]) == 0
    again = [f"init={first / 'adapter'}", f"data.root={sized(tmp_path / 'large', 64)}", f"into={second}"]
    assert train([*again, *words]) == 0
    for run, low in ((first, 2.0), (second, 2.0)):
        stored = compose(str(run / "adapter" / "recipe.yaml"), [])
        assert of_recipe(stored.data) == GroundScale("m", 32)
        _, pairing = directory.load(run / "adapter")
        assert 10 ** float(pairing.method.low) == pytest.approx(low)
    assert 10 ** float(pairing.method.high) == pytest.approx(4.0), "64 pixels at 2 m are what 32 at 4 m are"
    capsys.readouterr()
    other = predict_files.untrained("scale_earth_rsscn7", tmp_path / "relative", "data.root=DIR")
    words += ["recipe=scale_earth_rsscn7", "--smoke", f"init={other}", f"data.root={tmp_path / 'small'}"]
    with pytest.raises(SystemExit) as stopped:
        train([*words, f"into={tmp_path / 'third'}"])
    assert stopped.value.code == 1
    assert f"are in '{RATIO}', those of the data in 'm'" in capsys.readouterr().err
    assert train([*words, f"data.gsd_unit={RATIO}", f"into={tmp_path / 'fourth'}"]) == 0
    stored = compose(str(tmp_path / "fourth" / "adapter" / "recipe.yaml"), [])
    assert of_recipe(stored.data) == GroundScale(RATIO, 256)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("scale_earth-rsscn7", f"in {RATIO}; for pictures whose shorter side has 256 pixels, converted"),
        ("scale_earth-scenes", "in m; for pictures whose shorter side has 112 pixels, converted"),
        ("mantis-furniture", ""),
    ],
)
def test_an_adapter_states_what_its_scale_is_measured_in(
    name: str, scale: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show.main([name]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (f"ground sampling distance {scale}" in said) == bool(scale)
    assert ("ground sampling distance in" in said) == bool(scale)
