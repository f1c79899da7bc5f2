"""The scale that a method is told is that of the pixels the encoder sees; an answer says it with unit and origin."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import own_files
import pytest
import torch
import vlm_tiny
from omegaconf import OmegaConf
from picture_files import UTM, geotiff
from PIL import Image
from scale_tiny import RATIO, encoder

from data_modules.folder_pictures import PictureFolder
from data_modules.kinds.pictures import PictureDataModule
from data_modules.rsscn7 import RSSCN7
from zoo.adapter import directory, places
from zoo.backbones.square import unseen
from zoo.batch import GroundScale
from zoo.inference import predictor
from zoo.methods.frozen import Frozen
from zoo.methods.ground import measure_in, times
from zoo.pairing import Pairing
from zoo.recipe.build import of_recipe
from zoo.recipe.compose import compose
from zoo.training.loaders import Loaders

RECIPES = {"scale_earth": [], "scale_earth_rsscn7": ["data.root=DIR"]}


def smooth(side: int) -> np.ndarray:
    """uint8 [side, side, 3]: the same place at any number of pixels."""
    rows, columns = np.mgrid[:side, :side] / side
    waves = [np.sin(6 * rows + k) * np.cos(5 * columns - k) for k in range(3)]
    return np.uint8(127 + 120 * np.stack(waves, -1))


def scaled(**ground: object) -> Pairing:
    pairing = encoder(estimate=False).eval()
    measure_in(pairing, GroundScale(**ground))
    return pairing


class Relative(PictureDataModule):
    name, classes, gsd_unit, side = "relative", ["a"], RATIO, 256


class Metres(PictureDataModule):
    name, classes = "metres", ["a"]


def told(pairing: Pairing, data: PictureDataModule, path: Path, **settings: str) -> dict:
    sample, notes = data.read(path, settings)
    (record,) = predictor.predict(pairing, [sample])
    return {**record, "read": notes}


def test_a_larger_copy_told_honestly_is_told_the_same_scale_and_answers_alike(tmp_path: Path) -> None:
    pairing = scaled(side=256)
    answers = {}
    for side in (128, 256, 400, 1000):
        Image.fromarray(smooth(side)).save(tmp_path / f"{side}.png")
        gsd = 2.0 * 256 / side  # the same place
        answers[side] = told(pairing, Metres(), tmp_path / f"{side}.png", gsd=str(gsd))
        assert 10 ** float(pairing.method.observations()["gsd/used"]) == pytest.approx(2.0, rel=1e-5)
        assert answers[side]["gsd"] == pytest.approx(gsd, rel=1e-3), "an answer speaks of the file's own pixels"
    for side in (128, 400, 1000):
        assert answers[side]["label"] == answers[256]["label"]
        assert answers[side]["probability"] == pytest.approx(answers[256]["probability"], abs=5e-3)


def test_where_nobody_knows_the_side_the_scale_is_taken_as_told(tmp_path: Path) -> None:
    Image.fromarray(smooth(400)).save(tmp_path / "a.png")
    pairing = scaled()
    assert told(pairing, Metres(), tmp_path / "a.png", gsd="2")["gsd"] == 2
    assert 10 ** float(pairing.method.observations()["gsd/used"]) == pytest.approx(2.0, rel=1e-5)


def test_training_and_prediction_tell_a_method_the_same_scale(tmp_path: Path) -> None:
    sides = {"field": (16, 32), "water": (24, 40)}
    lines = ["path,label,gsd,split"]
    for label, pair in sides.items():
        for k, (side, split) in enumerate((s, w) for s in pair for w in ("train", "val", "test")):
            own_files.picture(tmp_path / f"{label}{k}.png", k, side)
            lines.append(f"{label}{k}.png,{label},{1 + k},{split}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    data = PictureFolder(root=str(tmp_path))
    data.setup("fit")
    assert data.ground == GroundScale("m", 32), "the upper median of 16, 24, 32 and 40"
    assert data.resolved_settings() == {"classes": ["field", "water"], "side": 32}
    pairing = encoder(estimate=False)
    measure_in(pairing, data.ground)
    loaders = Loaders(data, pairing)
    for samples in data.sets.values():
        batch = loaders.samples(samples).__getitems__(range(len(samples)))
        decoded = [samples[index] for index in range(len(samples))]
        right = [float(s.conditions["gsd"]) * s.images[0].shape[0] / 32 for s in decoded]
        assert batch.conditions["gsd"].tolist() == pytest.approx(right)
        assert pairing.batch(decoded).conditions["gsd"].tolist() == pytest.approx(right)
    wrong = loaders.samples(data.probes(("gsd",))["wrong_gsd"])
    sizes = [wrong.samples.picture_size(index) for index in range(len(wrong))]
    given = [float(wrong.samples.conditions(index)["gsd"]) for index in range(len(wrong))]
    expected = [gsd * min(size) / 32 for gsd, size in zip(given, sizes, strict=True)]
    assert wrong.__getitems__(range(len(wrong))).conditions["gsd"].tolist() == pytest.approx(expected)
    assert PictureFolder(root=str(tmp_path), side=100).ground.side == 100


@pytest.mark.parametrize("size", [(32, 32), (128, 128), (40, 90), (300, 120), (1000, 700)])
def test_qwens_pixels_are_those_of_its_own_processor(size: tuple[int, int]) -> None:
    model = vlm_tiny.model("qwen3_vl")
    _, rows, columns = model.transform(vlm_tiny.picture(0, size))["image_grid_thw"][0].tolist()
    patch = model.net.config.vision_config.patch_size
    found = model.coarsens(*size, None)
    assert found == pytest.approx(math.sqrt(size[0] * size[1] / (rows * columns * patch**2)))
    assert model.coarsens(*size, 77) == found, "it sees pixels, not a square"
    assert model.unseen(*size) == []


def test_llava_sees_a_square_and_llava_next_tiles() -> None:
    llava, tiles = vlm_tiny.model("llava"), vlm_tiny.model("llava_next")
    assert llava.coarsens(100, 300, 50) == 2
    assert "33 % of it" in llava.unseen(100, 300)[0]
    # Its grids are 32 x 64, 64 x 32 and 64 x 64 pixels: of 40 x 120 the first is filled at a ratio of 120 / 64.
    assert tiles.coarsens(40, 120, 50) == pytest.approx(120 / 64)
    assert tiles.unseen(40, 120) == []


def test_an_adapters_recipe_says_what_its_scale_is_measured_in() -> None:
    said = {name: of_recipe(compose(name, words).data) for name, words in RECIPES.items()}
    assert said == {"scale_earth": GroundScale("m", 112), "scale_earth_rsscn7": GroundScale(RATIO, 256)}
    block = {"_target_": "data_modules.folder_pictures.PictureFolder", "root": "x"}
    assert of_recipe(OmegaConf.create(block)) == GroundScale("m", None), "as adapters before took it"
    assert of_recipe(OmegaConf.create(block | {"side": 300})) == GroundScale("m", 300)
    assert of_recipe(compose("mantis", []).data) == GroundScale()
    for name, recipe_name in (("scale_earth-rsscn7", "scale_earth_rsscn7"), ("scale_earth-scenes", "scale_earth")):
        shipped = compose(str(places.find_adapter(name) / "recipe.yaml"), [])
        assert of_recipe(shipped.data) == said[recipe_name]


def test_pictures_of_the_trainings_size_are_told_exactly_what_they_were_told_before() -> None:
    assert times((256, 256), [encoder().backbones["vision"]], GroundScale(RATIO, 256)) == 1.0


def test_a_files_metres_never_enter_a_relative_scale(tmp_path: Path) -> None:
    values = np.ascontiguousarray(smooth(256).transpose(2, 0, 1))
    path = geotiff(tmp_path / "a.tif", values, crs=UTM, pixel=10.0)
    Image.fromarray(smooth(256)).save(tmp_path / "a.png")
    pairing = scaled(unit=RATIO, side=256)
    tagged, plain = (told(pairing, Relative(), file) for file in (path, tmp_path / "a.png"))
    assert tagged["read"] == [
        f"pictures whose file says metres a pixel, left out where the scale is {RATIO}",
        f"its ground sampling distance is not known (gsd=NUMBER tells it, {RATIO})",
    ]
    assert {k: tagged[k] for k in ("label", "gsd", "gsd_from")} == {k: plain[k] for k in ("label", "gsd", "gsd_from")}
    assert (tagged["gsd_from"], tagged["gsd_unit"]) == ("default", RATIO)
    given = told(pairing, Relative(), path, gsd="1.86")
    assert (given["gsd"], given["gsd_unit"], given["gsd_from"], given["read"]) == (1.86, RATIO, "told", [])
    metres = told(scaled(), Metres(), path)
    assert (metres["gsd"], metres["gsd_unit"], metres["gsd_from"]) == (10.0, "m", "file")
    with pytest.raises(Exception, match=r"gsd = 5000; expected a relative number \(x the finest .* from 0\.01 to 1000"):
        Relative().require({"gsd": "5000"})
    with pytest.raises(Exception, match=r"gsd: expected a relative number \(x the finest"):
        Relative().require({"gsd": "wide"})


def test_metres_stay_out_where_own_files_are_measured_by_an_adapter_of_a_relative_scale(tmp_path: Path) -> None:
    root = own_files.pictures(tmp_path)
    for label in ("field", "water"):
        geotiff(root / label / "map.tif", np.full((3, 8, 8), 9, np.uint8) + (label == "water"), crs=UTM, pixel=10.0)
    data = PictureFolder(root=str(root))
    data.setup("fit")
    pairing = scaled(unit=RATIO, side=16)
    Loaders(data, pairing)
    every = [float(s.conditions(i)["gsd"]) for s in data.sets.values() for i in range(len(s))]
    assert all(math.isnan(gsd) for gsd in every)
    Loaders(data, scaled())
    every = [float(s.conditions(i)["gsd"]) for s in data.sets.values() for i in range(len(s))]
    assert sorted(gsd for gsd in every if not math.isnan(gsd)) == [10.0, 10.0]


def test_what_leaves_the_scales_of_training_is_said_to_be_clamped(tmp_path: Path) -> None:
    pairing = scaled()
    pairing.method.low.fill_(0.0)
    pairing.method.high.fill_(1.0)
    Image.fromarray(smooth(64)).save(tmp_path / "a.png")
    outside = told(pairing, Metres(), tmp_path / "a.png", gsd="40")
    assert (outside["gsd"], outside["gsd_from"], outside["gsd_clamped"]) == (10.0, "told", True)
    assert "gsd_clamped" not in told(pairing, Metres(), tmp_path / "a.png", gsd="4")
    assert "gsd_clamped" not in told(pairing, Metres(), tmp_path / "a.png")


def test_an_estimate_speaks_of_the_files_own_pixels() -> None:
    pairing = encoder(trust=99.0).eval()
    with torch.no_grad():
        pairing.method.estimate.body[-1].weight.zero_()
        pairing.method.estimate.body[-1].bias.copy_(torch.tensor([math.log10(4.0), -8.0]))
    measure_in(pairing, GroundScale("m", 16))
    picture = vlm_tiny.picture(0, (64, 64))
    unknown = type(picture)("a", picture.images, {}, {"gsd": torch.tensor(math.nan)})
    (said,) = predictor.predict(pairing, [unknown])
    assert said["gsd_from"] == "estimated"
    assert said["gsd"] == said["gsd_estimate"]["middle"] == pytest.approx(1.0)


def test_what_an_encoder_does_not_see_is_said_in_the_answer(tmp_path: Path) -> None:
    assert unseen(100, 100, 32) == unseen(99, 100, 32) == []
    assert (
        unseen(300, 100, 32)
        == unseen(100, 300, 32)
        == ["only the central square is seen, 33 % of it: cut it into squares where its ends matter"]
    )
    assert unseen(10_000, 10_000, 112) == ["89 x 89 pixels of it are seen as one: cut it into smaller tiles"]
    Image.fromarray(smooth(90)[:30]).save(tmp_path / "wide.png")
    pairing = scaled()
    assert "33 %" in told(pairing, Metres(), tmp_path / "wide.png")["notes"][0]
    Image.fromarray(smooth(90)).save(tmp_path / "square.png")
    assert "notes" not in told(pairing, Metres(), tmp_path / "square.png")


@pytest.mark.slow
def test_real_pictures_enlarged_to_400_pixels_and_told_honestly_answer_as_before(
    tmp_path: Path, shared_data: Path
) -> None:
    if not (shared_data / "rsscn7" / "labels.csv").is_file():
        pytest.skip(f"no RSSCN7 in {shared_data}")
    _, pairing = directory.load(places.find_adapter("scale_earth-rsscn7"))
    data = RSSCN7(root=str(shared_data / "rsscn7"))
    shots = [shot for shot, _ in data.shots()][::10]
    right = {"file": 0, "large": 0}
    agree = 0
    for shot in shots:
        large = tmp_path / "large.png"
        with Image.open(shot.sources[0]) as image:
            image.convert("RGB").resize((400, 400), Image.Resampling.BICUBIC).save(large)
        said = {
            "file": told(pairing, data, Path(str(shot.sources[0])), gsd=str(shot.gsd)),
            "large": told(pairing, data, large, gsd=str(shot.gsd * 256 / 400)),
        }
        for name, answer in said.items():
            right[name] += answer["label"] == data.classes[shot.label]
        agree += said["file"]["label"] == said["large"]["label"]
    print(f"{len(shots)} pictures: right {right}, the same answer {agree}")
    assert agree >= 0.95 * len(shots)
    assert abs(right["file"] - right["large"]) <= 0.02 * len(shots)


@pytest.mark.parametrize("taken", [True, False])
def test_only_an_adapter_that_takes_a_scale_says_that_none_is_known(tmp_path: Path, taken: bool) -> None:
    pairing: Any = scaled() if taken else SimpleNamespace(method=Frozen())
    measure_in(pairing, GroundScale())
    Image.fromarray(smooth(32)).save(tmp_path / "tile.png")
    data = PictureFolder(root=str(tmp_path))
    data.measured_in(pairing.ground)
    _, notes = data.read(tmp_path / "tile.png", {})
    assert any("ground sampling distance is not known" in note for note in notes) == taken
