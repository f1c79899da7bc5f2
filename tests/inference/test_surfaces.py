"""Whole pictures of any size: predicted square by square as if at once, and written as mask files."""

import json
import re
from pathlib import Path

import mask_tiny
import numpy as np
import picture_files
import predict_files
import pytest
import rasterio
import torch
from answers_of import records, run
from mask_files import blob, nifti, picture, save
from mask_tiny import dark_and_light
from PIL import Image

from data_modules.folder_masks import MaskFolder
from data_modules.kinds.tiles import Surface
from zoo.inference import surfaces
from zoo.inference.job import Run
from zoo.inference.predictor import predict_batch
from zoo.report.kinds.masks import colours

TILES = {"tile": 32, "overlap": 16}


def surface(path: Path, frame: dict[str, int] = TILES) -> Surface:
    return MaskFolder(root="", frame=frame).read(path, {})[0]


def noise(path: Path, height: int, width: int) -> Path:
    """A picture of smooth light and dark."""
    rough = np.random.default_rng(0).integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8)
    image = Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC)
    image.save(path)
    return path


# --- square by square -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(10, 12), (32, 32), (20, 150), (150, 20), (71, 53)])
@pytest.mark.parametrize("frame", [TILES, {"tile": 32}, {"letterbox": 32}, {"squash": 48}])
def test_whoever_says_one_thing_says_it_of_every_pixel(
    tmp_path: Path, size: tuple[int, int], frame: dict[str, int]
) -> None:
    made = dark_and_light()
    with torch.no_grad():
        made.task.head.lateral[0].weight.zero_()
        made.task.head.lateral[0].bias.copy_(torch.tensor([0.0, 2.0]))
    found = surfaces.predict(made, surface(noise(tmp_path / "a.png", *size), frame))
    assert found["mask"].shape == size
    assert found["mask"].dtype == torch.uint8
    assert (found["mask"] == 1).all()
    assert found["confidence"][0].isnan()
    assert found["confidence"][1].item() == pytest.approx(torch.tensor(2.0).sigmoid().item(), abs=1e-3)


@pytest.mark.parametrize("size", [(96, 96), (80, 96)])
def test_squares_put_together_are_the_picture_seen_at_once(tmp_path: Path, size: tuple[int, int]) -> None:
    """Of a model that looks three pixels around each, less than what neighbouring squares share."""
    file = noise(tmp_path / "a.png", *size)
    parts = surfaces.predict(dark_and_light(32, blur=1.0), surface(file))
    whole = surfaces.predict(dark_and_light(96, blur=1.0), surface(file, {"tile": 96}))
    assert 0.2 < parts["mask"].float().mean() < 0.8
    inner = (slice(4, -4), slice(4, -4)) if size[0] < 96 else (slice(None), slice(None))
    differing = (parts["mask"] != whole["mask"])[inner].float().mean()
    assert differing < 1e-3  # of scores in half precision, at the border of two classes
    torch.testing.assert_close(parts["confidence"], whole["confidence"], atol=5e-3, rtol=0)


def test_a_surface_is_answered_like_any_sample(tmp_path: Path) -> None:
    file = noise(tmp_path / "a.png", 40, 60)
    made = dark_and_light()
    (found,) = predict_batch(made, [surface(file)])
    assert found.mask.shape == (40, 60)
    assert found.record["id"] == str(file)
    assert found.record["size"] == [60, 40]
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-5)
    assert found.shares["cell"] == pytest.approx((found.mask == 1).mean(), abs=1e-5)
    assert json.loads(json.dumps(found.record, allow_nan=False)) == found.record


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_png_holds_numbers_of_classes_and_colours_to_look_at(tmp_path: Path) -> None:
    mask = blob((40, 60), 3)
    written = surfaces.write(mask, surface(noise(tmp_path / "a.png", 40, 60)), tmp_path / "out" / "a", 3)
    assert written == tmp_path / "out" / "a.png"
    with Image.open(written) as image:
        assert image.mode == "P"
        assert (np.array(image) == mask).all()
        assert (np.array(image.convert("RGB")) == colours(3)[mask]).all()
    assert [path.name for path in written.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize("side", [40, 300])
def test_the_mask_of_a_geotiff_lies_where_the_picture_lies(tmp_path: Path, side: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, side, side + 20), dtype=np.uint8)
    file = picture_files.geotiff(tmp_path / "a.tif", rgb, crs=picture_files.UTM, pixel=0.5, photometric="rgb")
    mask = blob((side, side + 20))
    written = surfaces.write(mask, surface(file), tmp_path / "out" / "a", 2)
    assert written == tmp_path / "out" / "a.tif"
    with rasterio.open(file) as one, rasterio.open(written) as other:
        assert (other.crs, other.transform, other.shape) == (one.crs, one.transform, one.shape)
        assert (other.read(1) == mask).all()
        assert other.colormap(1)[1] == (*colours(2)[1].tolist(), 255)


def test_a_tiff_without_a_place_is_written_as_png(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", picture(blob((40, 60))))
    assert surfaces.write(blob((40, 60)), surface(tmp_path / "a.tif"), tmp_path / "m", 2).name == "m.png"


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["data.root=none", "data.classes=[rest,cell]", "data.window=[-160,240]"]
    return predict_files.untrained(str(mask_tiny.RECIPE), tmp_path_factory.mktemp("adapter") / "a", *words)


def test_what_a_picture_is_called_does_not_decide_how_its_mask_is_written(tmp_path: Path, adapter: Path) -> None:
    save(tmp_path / "x.png", picture(blob((9, 20))))
    (tmp_path / "x.png").rename(tmp_path / "x.tif")
    assert run(f"adapter={adapter}", f"input={tmp_path / 'x.tif'}", f"masks={tmp_path / 'masks'}") == 0
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["x.png"]


def test_two_pictures_of_one_name_are_refused_before_one_mask_is_written_over_the_other(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("x.png", "x.jpg"):
        save(tmp_path / "in" / name, picture(blob((9, 20))))
    assert run(f"adapter={adapter}", f"input={tmp_path / 'in'}", f"masks={tmp_path / 'masks'}") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "x.jpg" in told
    assert "x.png would have one mask; predict them apart" in told
    assert not list((tmp_path / "masks").glob("*"))


def test_a_mask_is_not_written_over_a_picture_that_is_asked_about(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("x.png", "a/y.png"):
        save(tmp_path / name, picture(blob((9, 20))))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        assert run(f"adapter={adapter}", f"input={tmp_path}", f"masks={folder}") == 1
        assert "the mask of" in (told := capsys.readouterr().err.splitlines()[-1])
        assert told.endswith("choose another folder")
    assert {path: path.read_bytes() for path in before} == before


def test_a_mask_is_not_written_over_the_label_of_its_picture(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "images" / "train" / "x.tif", picture(blob((9, 20))))
    save(tmp_path / "masks" / "train" / "x.png", blob((9, 20)))
    before = (tmp_path / "masks" / "train" / "x.png").read_bytes()
    assert run(f"adapter={adapter}", f"input={tmp_path / 'images'}", f"masks={tmp_path / 'masks'}") == 1
    assert "would be written over" in capsys.readouterr().err
    assert (tmp_path / "masks" / "train" / "x.png").read_bytes() == before
    assert run(f"adapter={adapter}", f"input={tmp_path / 'images'}", f"masks={tmp_path / 'found'}") == 0


def test_masks_of_a_folder_lie_as_its_files_do_and_a_second_run_writes_what_is_missing(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "in" / "a" / "x.png", picture(blob((40, 60))))
    save(tmp_path / "in" / "small.jpg", picture(blob((9, 20))))
    rgb = np.random.default_rng(0).integers(0, 256, (3, 50, 40), dtype=np.uint8)
    picture_files.geotiff(tmp_path / "in" / "map.tif", rgb, crs=picture_files.UTM, pixel=0.5, photometric="rgb")
    words = [f"adapter={adapter}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'o.jsonl'}"]
    words += [f"masks={tmp_path / 'masks'}", f"pictures={tmp_path / 'drawn'}"]
    assert run(*words) == 0
    found = {str(path.relative_to(tmp_path / "masks")) for path in (tmp_path / "masks").rglob("*.*")}
    assert found == {"a/x.png", "small.png", "map.tif"}
    for record in records(tmp_path / "o.jsonl"):
        name = Path(record["id"]).relative_to(tmp_path / "in")
        mask = next((tmp_path / "masks").glob(f"{name.with_suffix('')}.*"))
        values = rasterio.open(mask).read(1) if mask.suffix == ".tif" else np.array(Image.open(mask))
        assert list(values.shape[::-1]) == record["size"]
        shares = {name: (values == k).mean() for k, name in enumerate(("rest", "cell"))}
        told = {name: one["share"] for name, one in record["classes"].items()}
        assert told == pytest.approx({name: share for name, share in shares.items() if share}, abs=1e-6)
        with Image.open(tmp_path / "drawn" / f"{name}.png") as drawn:
            assert np.ptp(np.array(drawn.convert("L"))) > 100
    (tmp_path / "masks" / "small.png").unlink()
    seen: list[str] = []
    whole = Run.over
    monkeypatch.setattr(Run, "over", lambda self, items: (seen.extend(item.id for item in items), whole(self, items)))
    assert run(*words) == 0
    assert seen == [str(tmp_path / "in" / "small.jpg")]
    assert (tmp_path / "masks" / "small.png").is_file()
    assert "3 inputs: 3 answered (2 of them earlier)" in capsys.readouterr().err


def test_a_volume_gets_one_mask_that_lies_on_it(tmp_path: Path, adapter: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="volumes need nibabel")
    affine = np.array([[1.9, -0.4, 0.1, -7], [0.5, 2.9, -0.3, 4], [0.0, 0.4, 4.9, 9], [0, 0, 0, 1.0]])
    values = np.random.default_rng(0).integers(-200, 300, (12, 40, 5)).astype(np.int16)
    file = nifti(tmp_path / "scan.nii.gz", values, affine)
    words = [f"adapter={adapter}", f"input={file}", f"output={tmp_path / 'o.jsonl'}", f"masks={tmp_path / 'masks'}"]
    assert run(*words, "batch_size=2") == 0
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["scan.nii.gz"]
    written, shown = nibabel.load(tmp_path / "masks" / "scan.nii.gz"), records(tmp_path / "o.jsonl")
    assert written.shape == values.shape
    assert np.array_equal(written.affine, nibabel.load(file).affine)
    assert [record["id"] for record in shown] == [f"{file}#{k}" for k in range(5)]
    cells = [record["classes"].get("cell", {"share": 0.0})["share"] for record in shown]
    assert np.asarray(written.dataobj).mean() == pytest.approx(np.mean(cells), abs=1e-5)


def test_one_slice_alone_makes_no_volume_and_that_is_said(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nibabel", reason="volumes need nibabel")
    file = nifti(tmp_path / "scan.nii.gz", np.random.default_rng(0).integers(0, 300, (12, 10, 3)).astype(np.int16))
    assert run(f"adapter={adapter}", f"input={file}#1", f"masks={tmp_path / 'masks'}") == 0
    assert not list((tmp_path / "masks").iterdir())
    assert f"{file}: 1 of 3 slices; a mask is written of whole volumes" in capsys.readouterr().err


def test_masks_of_an_adapter_that_gives_none_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud = predict_files.untrained("mantis", tmp_path / "mantis")
    np.save(tmp_path / "a.npy", predict_files.points(0))
    assert run(f"adapter={cloud}", f"input={tmp_path / 'a.npy'}", f"masks={tmp_path / 'masks'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("this adapter predicts no masks, but classification")


@pytest.mark.parametrize(
    ("name", "word", "message"),
    [("page.png", "", r"page\.png"), ("page.png", "window=3", r"window: got '3'; expected LOW\.\.HIGH")],
)
def test_what_is_no_picture_is_one_line(
    tmp_path: Path, adapter: Path, name: str, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("<html>404</html>")
    words = [f"adapter={adapter}", f"input={tmp_path / name}", f"masks={tmp_path / 'masks'}", *filter(None, [word])]
    assert run(*words) in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
    assert not list((tmp_path / "masks").glob("*"))
