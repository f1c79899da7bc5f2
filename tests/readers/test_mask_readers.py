"""Masks as class indices: numbers and never colours, what has no label, and errors that name file, value and place."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from mask_files import save
from picture_files import UTM, geotiff
from PIL import Image

from data_modules.errors import DataError
from data_modules.readers.mask_shapes import Drawing, Shape, coco, filled, labelme, run_lengths
from data_modules.readers.masks import EQUAL_BANDS, NO_DATA, Legend, read_stored, require_same_grid
from zoo.ops.frame import IGNORE

INDICES = np.array([[0, 1, 2, 0], [2, 1, 0, 1], [0, 0, 2, 2]], np.uint8)


def classes(path: Path, legend: Legend | None = None, number: int = 3) -> np.ndarray:
    legend = legend or Legend()
    return legend.classes(read_stored(path, legend), number, str(path))


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.bmp", "m.gif"])
@pytest.mark.parametrize("mode", [None, "P"])
def test_indices_are_read_and_never_the_colours_of_a_palette(tmp_path: Path, name: str, mode: str | None) -> None:
    assert (classes(save(tmp_path / name, INDICES, mode)) == INDICES).all()


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.bmp"])
def test_one_bit_is_0_and_1(tmp_path: Path, name: str) -> None:
    bits = INDICES > 0
    found = read_stored(save(tmp_path / name, bits), Legend())
    stored = np.unique(found.values).tolist()
    assert stored in ([0, 1], [0, 255])
    assert ((found.values > 0) == bits).all()
    if name != "m.bmp":
        assert stored == [0, 1]


def test_16_bits_real_numbers_and_signed_ones_are_class_numbers(tmp_path: Path) -> None:
    wide = INDICES.astype(np.uint16) * 1000
    legend = Legend(values={0: 0, 1000: 1, 2000: 2})
    assert (classes(save(tmp_path / "m.png", wide), legend) == INDICES).all()
    assert (classes(geotiff(tmp_path / "i.tif", INDICES[None].astype(np.int16))) == INDICES).all()
    assert (classes(geotiff(tmp_path / "f.tif", INDICES[None].astype(np.float32))) == INDICES).all()
    with pytest.raises(DataError, match=r"p\.tif: 0\.5 at x = 1, y = 0; expected whole numbers of classes, not prob"):
        classes(geotiff(tmp_path / "p.tif", INDICES[None].astype(np.float32) / 2))


def test_numbers_are_mapped_and_several_may_be_one_class(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", np.array([0, 128, 255], np.uint8)[INDICES])
    assert (classes(path, Legend(values={0: 1, 128: 0, 255: 0})) == np.array([1, 0, 0])[INDICES]).all()
    assert (classes(path, Legend(values={0: 0, 128: 1}, ignore=255)) == np.array([0, 1, IGNORE])[INDICES]).all()


def test_a_number_that_is_no_class_is_named_with_count_and_place(tmp_path: Path) -> None:
    wrong = np.zeros((30, 40), np.uint8)
    wrong[7, 9:12] = 33
    wrong[20, 3] = 255
    message = (
        r"m\.png: 33 in 3 pixels, the first at x = 9, y = 7; 255 in 1 pixels, the first at x = 3, y = 20: no class; "
    )
    with pytest.raises(DataError, match=message + r"expected 0 to 2\. .*data\.ignore=255"):
        classes(save(tmp_path / "m.png", wrong))
    with pytest.raises(DataError, match="33 in 3 pixels"):
        classes(geotiff(tmp_path / "m.tif", wrong[None].astype(np.uint16)), Legend(ignore=255))


def test_nodata_and_transparent_pixels_have_no_label(tmp_path: Path) -> None:
    found = read_stored(geotiff(tmp_path / "m.tif", INDICES[None], nodata=2), Legend())
    assert found.notes == (NO_DATA,)
    assert (Legend().classes(found, 2, "") == np.where(INDICES == 2, IGNORE, INDICES)).all()
    clear = np.dstack([INDICES, np.where(INDICES == 1, 0, 255).astype(np.uint8)])
    assert (classes(save(tmp_path / "m.png", clear)) == np.where(INDICES == 1, IGNORE, INDICES)).all()


def test_a_transparent_palette_entry_is_still_a_class(tmp_path: Path) -> None:
    image = Image.fromarray(INDICES)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / "m.png", transparency=0)
    assert (classes(tmp_path / "m.png") == INDICES).all()


def test_colours_are_classes_only_where_they_are_named(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    path = save(tmp_path / "m.png", colours[INDICES])
    with pytest.raises(
        DataError, match=r"coloured picture.*it has \[0, 0, 0\], \[0, 0, 255\], \[255, 0, 0\]; data\.colo"
    ):
        read_stored(path, Legend())
    legend = Legend(colours={(0, 0, 255): 2, (255, 0, 0): 1, (0, 0, 0): 0})
    assert (read_stored(path, legend).values == INDICES).all()
    with pytest.raises(DataError, match=r"colour \[0, 0, 255\] at x = 2, y = 0, and 4 pixels in all"):
        read_stored(path, Legend(colours={(255, 0, 0): 1, (0, 0, 0): 0}))
    with pytest.raises(DataError, match="1 bands of uint8; expected three"):
        read_stored(save(tmp_path / "grey.png", INDICES), legend)


def test_three_equal_bands_are_one_with_a_note(tmp_path: Path) -> None:
    found = read_stored(save(tmp_path / "m.png", np.repeat(INDICES[..., None], 3, 2)), Legend())
    assert (found.values == INDICES).all()
    assert found.notes == (EQUAL_BANDS,)


@pytest.mark.parametrize(("name", "kind"), [("m.jpg", "JPEG"), ("m.webp", "WebP"), ("jpeg.png", "JPEG")])
def test_formats_that_lose_values_are_refused_with_the_reason(tmp_path: Path, name: str, kind: str) -> None:
    image = Image.fromarray(np.repeat(INDICES, 8, 0).repeat(8, 1))
    image.save(tmp_path / name, format=kind)
    with pytest.raises(DataError, match=f"{name} is {kind}, which may change values near borders.*PNG or TIFF"):
        read_stored(tmp_path / name, Legend())


def test_two_and_four_bands_are_no_mask(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="4 bands; expected one"):
        read_stored(
            geotiff(tmp_path / "m.tif", np.zeros((5, 4, 4), np.uint8), photometric="rgb", alpha="yes"), Legend()
        )


# --- maps -------------------------------------------------------------------------------------------------------------


def test_a_mask_lies_where_its_picture_does(tmp_path: Path) -> None:
    values = np.zeros((1, 8, 8), np.uint8)
    picture = geotiff(tmp_path / "p.tif", values, crs=UTM, pixel=10.0)
    require_same_grid(picture, geotiff(tmp_path / "same.tif", values, crs=UTM, pixel=10.0))
    require_same_grid(picture, geotiff(tmp_path / "bare.tif", values))
    require_same_grid(picture, save(tmp_path / "m.png", values[0]))
    with pytest.raises(
        DataError, match=r"lies elsewhere on the map than p\.tif: its pixel \(0, 0\) is pixel \(0\.500, 0\.0"
    ):
        require_same_grid(picture, geotiff(tmp_path / "off.tif", values, crs=UTM, pixel=10.0, at=(500_005, 5_000_000)))
    with pytest.raises(DataError, match=r"its pixel \(8, 0\) is pixel \(8\.8"):
        require_same_grid(picture, geotiff(tmp_path / "large.tif", values, crs=UTM, pixel=11.0))
    with pytest.raises(DataError, match=r"EPSG:32633, but p\.tif has EPSG:32632"):
        require_same_grid(picture, geotiff(tmp_path / "zone.tif", values, crs="EPSG:32633", pixel=10.0))


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_a_polygon_holds_the_pixels_whose_centres_it_holds() -> None:
    square = filled(np.array([[2, 1], [5, 1], [5, 4], [2, 4]], float), 6, 7)
    right = np.zeros((6, 7), bool)
    right[1:4, 2:5] = True
    assert (square == right).all()
    rng = np.random.default_rng(0)
    ring = rng.uniform(-3, 33, (7, 2))
    from matplotlib.path import Path as Outline

    y, x = np.mgrid[:30, :30] + 0.5
    convex = ring[np.argsort(np.arctan2(*(ring - ring.mean(0)).T[::-1]))]
    inside = Outline(convex).contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(30, 30)
    assert (filled(convex, 30, 30) == inside).all()


def test_run_lengths_go_down_the_columns() -> None:
    mask = np.zeros((5, 4), bool)
    mask[1:4, 1:3] = True
    assert (Shape("a", runs=(6, 3, 2, 3, 6)).drawn(5, 4, "") == mask).all()


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_labelme(tmp_path: Path) -> None:
    bitmap = io.BytesIO()
    Image.fromarray(np.array([[0, 255], [255, 255]], np.uint8)).save(bitmap, "PNG")
    shapes = [
        {"label": "a", "points": [[1, 1], [5, 1], [5, 5], [1, 5]], "shape_type": "polygon"},
        {"label": "b", "points": [[3, 3], [8, 6]], "shape_type": "rectangle"},
        {"label": "_background_", "points": [[1, 1], [2, 2]], "shape_type": "rectangle"},
        {"label": "a", "points": [[15, 5], [15, 8]], "shape_type": "circle"},
        {
            **{"label": "b", "points": [[18, 0], [19, 1]], "shape_type": "mask"},
            "mask": base64.b64encode(bitmap.getvalue()).decode(),
        },
    ]
    file = write(tmp_path / "x.json", {"imageHeight": 10, "imageWidth": 20, "shapes": shapes})
    found = labelme(file).classes(["background", "a", "b"])
    assert found[4, 2] == 1
    assert found[4, 4] == 2
    assert found[1, 1] == 0
    assert found[:2, 18:].tolist() == [[0, 2], [2, 2]]
    y, x = np.mgrid[:10, 10:18] + 0.5
    assert ((found[:, 10:18] == 1) == (np.hypot(y - 5, x - 15) < 3)).all()
    with pytest.raises(DataError, match=r"x\.json: b: no class of background, a"):
        labelme(file).classes(["background", "a"])
    with pytest.raises(DataError, match=r"what lies in no shape is 'background'; name it in data\.classes"):
        labelme(file).classes(["a", "b"])
    line = {"label": "a", "points": [[0, 0], [3, 3]], "shape_type": "line"}
    with pytest.raises(DataError, match=r"a line of 2 points, called 'a', has no area"):
        labelme(write(tmp_path / "l.json", {"imageHeight": 9, "imageWidth": 9, "shapes": [line]}))
    with pytest.raises(DataError, match=r"no file of labelme .*expected imageHeight"):
        labelme(write(tmp_path / "n.json", {"shapes": []}))


def compressed(counts: list[int]) -> str:
    """Run lengths as COCO's compressed text: an independent encoder."""
    text = ""
    for k, count in enumerate(counts):
        value, more = count - counts[k - 2] if k > 2 else count, True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr((bits | 32 * more) + 48)
    return text


@pytest.mark.parametrize("counts", [[6, 3, 2, 3, 6], [0, 40_000], [5, 1, 900, 2, 1, 70, 31, 32, 16, 15], [3]])
def test_compressed_run_lengths(counts: list[int]) -> None:
    assert run_lengths(compressed(counts)) == counts
    with pytest.raises(ValueError, match=r"cut short|run lengths"):
        run_lengths(compressed([40_000])[:-1])


def test_coco(tmp_path: Path) -> None:
    def annotation(number: int, category: int, segmentation: object, **more: object) -> dict[str, object]:
        return {"id": number, "image_id": 7, "category_id": category, "segmentation": segmentation, **more}

    crowd = [0, 50]  # the left half, column by column
    content = {
        "images": [{"id": 7, "file_name": "x.jpg", "height": 10, "width": 10}],
        "categories": [{"id": 9, "name": "b"}, {"id": 3, "name": "a"}],
        "annotations": [
            annotation(1, 3, [[1, 1, 4, 1, 4, 4, 1, 4], [6, 6, 9, 6, 9, 9, 6, 9]]),
            annotation(2, 9, {"size": [10, 10], "counts": compressed([95, 5])}),
            annotation(3, 3, {"size": [10, 10], "counts": [*crowd, 50]}, iscrowd=1),
        ],
    }
    drawings, names = coco(write(tmp_path / "c.json", content))
    assert names == ["a", "b"]
    found = drawings["x.jpg"].classes(["background", *names])
    assert (found[1:4, 1:4] == 1).all()
    assert (found[6:9, 6:9] == 1).all()
    assert (found[5:, 9] == 2).all()
    assert (found[:, :5] == IGNORE).sum() == 50 - 9
    assert (found == 0).sum() == 50 - 9 - 5
    content["annotations"] = [annotation(1, 3, [])]
    with pytest.raises(DataError, match="annotation 1 has no segmentation, only a box"):
        coco(write(tmp_path / "c.json", content))
    content["annotations"] = [annotation(1, 4, [[0, 0, 1, 1, 1, 0]])]
    with pytest.raises(DataError, match="annotation 1 is of image 7, category 4: no such one"):
        coco(write(tmp_path / "c.json", content))
    with pytest.raises(DataError, match="run lengths of 12 pixels; expected 3 x 3"):
        Drawing("c.json", 3, 3, (Shape("a", runs=(6, 6)),)).classes(["background", "a"])
