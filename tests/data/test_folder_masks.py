"""A user's own pictures with masks: pairs by stem, classes, mistakes all at once, orientation, squares and splits."""

import json
from pathlib import Path

import numpy as np
import pytest
from mask_files import blob, pairs, picture, ready, save, whole
from own_files import table
from picture_files import UTM, geotiff
from PIL import Image

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.folder.mask_labels import TWO
from data_modules.folder.pairs import ENDED
from data_modules.folder_masks import MaskFolder
from zoo.errors import SettingError
from zoo.ops.frame import IGNORE

# --- layouts ----------------------------------------------------------------------------------------------------------


def test_pictures_and_masks_pair_by_stem_whatever_their_order_and_endings(tmp_path: Path) -> None:
    for number in (10, 2, 1, 30, 4):
        mask = blob(seed=number)
        save(tmp_path / "images" / f"img_{number}.jpg", picture(mask))
        mask[0, number] = 1  # tells them apart
        save(tmp_path / "masks" / f"img_{number}{'_seg' if number == 4 else ''}.png", mask)
    data = ready(tmp_path)
    found = whole(data)
    assert len(found) == 5
    for name, mask in found.items():
        assert mask[0].tolist().index(1) == int(name.partition("_")[2][:-4])
    assert data.remarks[ENDED] == 1
    assert data.classes == ["background", "object"]


def test_every_missing_partner_and_every_doubled_stem_is_told_at_once(tmp_path: Path) -> None:
    pairs(tmp_path, 4)
    (tmp_path / "masks" / "p0.png").unlink()
    save(tmp_path / "masks" / "q.png", blob())
    save(tmp_path / "images" / "p1.tif", picture(blob()))
    save(tmp_path / "masks" / "p2_mask.png", blob())
    with pytest.raises(DataError) as caught:
        ready(tmp_path)
    text = str(caught.value)
    assert "4 mistakes" in text
    assert "no mask 'p0'" in text
    assert "no picture 'q'" in text
    assert "p1.tif and p1.png have one stem" in text
    assert "p2_mask.png and" in text
    assert "are both the mask of p2.png" in text


@pytest.mark.parametrize("way", ["{split}/images/{name}", "images/{split}/{name}"])
def test_given_splits_are_kept(tmp_path: Path, way: str) -> None:
    for k, split in enumerate(["train", "train", "val", "test"]):
        place = way.format(split=split, name=f"{k}.png")
        save(tmp_path / place, picture(blob(seed=k), k))
        save(tmp_path / place.replace("images", "masks"), blob(seed=k))
    data = ready(tmp_path)
    assert {s: [p.id[-5] for p in samples.pictures] for s, samples in data.sets.items()} == {
        "train": ["0", "1"], "val": ["2"], "test": ["3"],
    }  # fmt: skip
    assert data.plan["rule"].startswith("as given")


def test_a_manifest_names_masks_splits_and_groups(tmp_path: Path) -> None:
    rows = []
    for k in range(6):
        save(tmp_path / f"{k}.png", picture(blob(seed=k), k))
        save(tmp_path / "labels" / f"of{k}.tif", blob(seed=k))
        rows.append(f"{k}.png,labels/of{k}.tif,patient{k // 2}")
    data = ready(table(tmp_path, "path,mask,group", *rows))
    of = {picture.id[0]: split for split, samples in data.sets.items() for picture in samples.pictures}
    assert of["0"] == of["1"]
    assert of["2"] == of["3"]
    assert of["4"] == of["5"]
    assert set(of.values()) == {"train", "val", "test"}
    assert not data.remarks
    table(tmp_path, "path,mask", "0.png,labels/of0.tif", "1.png,labels/none.png", "2.png,labels/x.doc")
    with pytest.raises(
        DataError, match=r"2 mistakes(.|\n)*line 3: .*none\.png is no mask(.|\n)*line 4: .*x\.doc is no"
    ):
        ready(tmp_path)


def test_no_such_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        ready(tmp_path / "none")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"no folder .*masks; expected .*images and .*masks, or both in train"):
        ready(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no picture in images"):
        ready(tmp_path)


# --- classes ----------------------------------------------------------------------------------------------------------


def test_palettes_and_plain_numbers_give_classes_by_number(tmp_path: Path) -> None:
    pairs(tmp_path, values=(0, 1, 2))
    save(tmp_path / "masks" / "p0.png", blob(classes=3), "P")
    data = ready(tmp_path)
    assert data.classes == ["class 0", "class 1", "class 2"]
    assert (whole(data)["images/p0.png"] == blob(classes=3)).all()


def test_0_and_255_alone_are_background_and_object_with_a_note(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path, values=(0, 255)))
    assert data.classes == ["background", "object"]
    assert data.remarks[TWO] == 5
    assert (whole(data)["images/p1.png"] == blob(seed=1)).all()


def test_what_has_only_ignored_pixels_or_one_class_is_refused_before_training(tmp_path: Path) -> None:
    pairs(tmp_path / "one", values=(0, 255))
    with pytest.raises(DataError, match=r"one class alone.*data\.ignore or data\.values right"):
        ready(tmp_path / "one", ignore=255, values={0: "background"})
    pairs(tmp_path / "none", values=(255, 255))
    with pytest.raises(DataError, match="no labelled pixel in any mask"):
        ready(tmp_path / "none", ignore=255)
    with pytest.raises(DataError, match="no labelled pixel in any mask"):
        ready(tmp_path / "none", ignore=255, classes=("a", "b"))


def test_values_name_classes_and_their_order(tmp_path: Path) -> None:
    pairs(tmp_path, values=(0, 7, 9, 255))
    values = {0: "background", 7: "cell", 9: "cell"}
    data = ready(tmp_path, values=values, ignore=255)
    assert data.classes == ["background", "cell"]
    right = np.array([0, 1, 1, IGNORE])[blob(classes=4, seed=2)]
    assert (whole(data)["images/p2.png"] == right).all()
    turned = ready(tmp_path, values=values, ignore=255, classes=("cell", "background"))
    assert (whole(turned)["images/p2.png"] == np.array([1, 0, 0, IGNORE])[blob(classes=4, seed=2)]).all()


def test_colours_with_classes_in_another_order(tmp_path: Path) -> None:
    colours = np.array([[9, 9, 9], [255, 0, 0]], np.uint8)
    for k in range(4):
        save(tmp_path / "images" / f"{k}.png", picture(blob(seed=k), k))
        save(tmp_path / "masks" / f"{k}.png", colours[blob(seed=k)])
    data = ready(tmp_path, colours={"ground": (9, 9, 9), "roof": (255, 0, 0)}, classes=("roof", "ground"))
    assert (whole(data)["images/3.png"] == 1 - blob(seed=3)).all()
    assert data.check()[-2].startswith("roof: 216 pixels (2.25% of the labelled), in 4 of 4 files")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"values": {0: "a"}, "colours": {"a": (0, 0, 0)}}, "expected one of them"),
        ({"values": {0: "a", 255: "b"}, "ignore": 255}, "ignore = 255 is 'b'"),
        ({"colours": {"a": (0, 0, 0), "b": (0, 0, 0)}}, "no two alike"),
        ({"colours": {"a": (0, 0, 256)}}, "three numbers 0 to 255"),
        ({"values": {0: "a", 1: "b"}, "classes": ("a", "c")}, "b not in data.classes"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        MaskFolder(root="", **settings)  # type: ignore[arg-type]


def test_a_stray_number_is_named_with_file_count_and_place(tmp_path: Path) -> None:
    pairs(tmp_path, values=(0, 1, 2))
    wrong = blob(classes=3)
    wrong[30, 50:52] = 33
    save(tmp_path / "masks" / "p3.png", wrong)
    with pytest.raises(
        DataError, match=r"p3\.png: 33 in 2 pixels, the first at x = 50, y = 30: no class; expected 0 to 2"
    ):
        ready(tmp_path, classes=("a", "b", "c"))
    with pytest.raises(
        DataError, match=r"numbers 0, 1, 2, 33 \(33 in 1 files, e\.g\. p3\.png\); expected 0, 1, \.\.\. K"
    ):
        ready(tmp_path)


def test_labelme_and_coco_files_are_masks(tmp_path: Path) -> None:
    square = {"label": "cell", "points": [[3, 2], [12, 8]], "shape_type": "rectangle"}
    content = {"imageHeight": 40, "imageWidth": 60, "shapes": [square]}
    coco = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": 40, "width": 60} for k in range(4)],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"image_id": k, "category_id": 1, "segmentation": [[3, 2, 12, 2, 12, 8, 3, 8]]} for k in range(4)
        ],
    }
    for k in range(4):
        for root in ("labelme", "coco"):
            save(tmp_path / root / "images" / f"{k}.png", picture(blob(), k))
        (tmp_path / "labelme" / "masks").mkdir(exist_ok=True)
        (tmp_path / "labelme" / "masks" / f"{k}.json").write_text(json.dumps(content))
    (tmp_path / "coco" / "masks").mkdir()
    (tmp_path / "coco" / "masks" / "all.json").write_text(json.dumps(coco))
    for root in ("labelme", "coco"):
        data = ready(tmp_path / root)
        assert data.classes == ["background", "cell"]
        assert all((mask == blob()).all() for mask in whole(data).values())
        assert data.check()[-1].startswith("cell: 216 pixels")
    save(tmp_path / "coco" / "images" / "4.png", picture(blob()))
    coco["images"].append({"id": 5, "file_name": "gone.png", "height": 1, "width": 1})
    (tmp_path / "coco" / "masks" / "all.json").write_text(json.dumps(coco))
    with pytest.raises(DataError, match=r"names 1 pictures that are not in .*gone\.png(.|\n)*4\.png: no mask '4'"):
        ready(tmp_path / "coco")


# --- mistakes ---------------------------------------------------------------------------------------------------------


def test_all_sizes_that_differ_are_told_at_once(tmp_path: Path) -> None:
    pairs(tmp_path)
    for k in (1, 3):
        save(tmp_path / "masks" / f"p{k}.png", blob((40, 62)))
    with pytest.raises(DataError, match=r"p1\.png: 62 x 40 pixels.*p1\.png has 60 x 40.*p3\.png: 62 x 40 pixels"):
        ready(tmp_path)
    data = ready(tmp_path, on_bad="skip")
    assert len(whole(data)) == 3


def test_check_tells_every_kind_of_mistake_and_the_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def check(*words: str) -> tuple[int, str]:
        settings = ("values", "ignore", "frame", "classes")
        code = check_command(
            "x",
            lambda root, **more: MaskFolder(root=root, **more),
            ["--check", str(tmp_path), *words],
            settings=settings,
        )
        return code, capsys.readouterr().out

    pairs(tmp_path, 12, values=(0, 255))
    save(tmp_path / "masks" / "p7.png", np.zeros((40, 60), np.uint8))
    code, out = check("data.values={0: background, 255: cell}", "data.frame={tile: 32, overlap: 8}")
    assert code == 0
    assert "background: 28,206 pixels (97.94% of the labelled), in 12 of 12 files" in out
    assert "cell: 594 pixels (2.06% of the labelled), in 11 of 12 files" in out
    assert "masks of background alone: images/p7.png" in out
    assert out.endswith("complete\n")
    (tmp_path / "masks" / "p0.png").unlink()
    save(tmp_path / "masks" / "q.png", blob())
    save(tmp_path / "masks" / "p1.png", blob((40, 62)))
    save(tmp_path / "masks" / "p2.png", np.full((40, 60), 33, np.uint8))
    Image.fromarray(blob()).save(tmp_path / "masks" / "p3.png", "JPEG")
    (tmp_path / "images" / "p4.png").write_bytes(b"no picture")
    for k in range(5, 12):
        save(tmp_path / "masks" / f"p{k}.png", np.full((40, 60), 34 + k, np.uint8))
    code, out = check("data.values={0: background, 255: cell}")
    assert code == 1
    assert "error: 13 mistakes:" in out
    for part in ("no mask 'p0'", "no picture 'q'", "62 x 40", "33 in 2400", "is JPEG", "p4.png is no picture", "45 in"):
        assert part in out
    assert check("data.valeus={}")[0] == 2
    assert check("data.values={0: a")[0] == 1
    assert check("data.ignore=0", "data.values={0: a, 1: b}")[1].startswith("error: data.ignore = 0 is 'a'")


def test_a_class_that_no_mask_has_is_counted(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path), classes=("background", "cell", "debris"))
    assert data.check()[-1] == "debris: 0 pixels (0.00% of the labelled), in 0 of 5 files"
    assert data.remarks["classes without a pixel in the training masks"] == 1


def test_a_mask_elsewhere_on_the_map_is_refused(tmp_path: Path) -> None:
    for k in range(4):
        grey = np.repeat(picture(blob(seed=k), k)[None, ..., 0], 3, 0)
        geotiff(tmp_path / "images" / f"{k}.tif", grey, crs=UTM, pixel=10.0, photometric="rgb")
        at = (500_000, 5_000_000 + 10 * (k == 2))
        geotiff(tmp_path / "masks" / f"{k}.tif", blob(seed=k)[None], crs=UTM, pixel=10.0, at=at, nodata=1)
    with pytest.raises(DataError, match=r"1 of 4 files.*2\.tif lies elsewhere on the map"):
        ready(tmp_path)


def test_a_tiff_that_is_cut_short_is_found_before_training(tmp_path: Path) -> None:
    pairs(tmp_path)
    file = geotiff(tmp_path / "images" / "p9.tif", np.random.default_rng(0).integers(0, 255, (3, 40, 60), np.uint8))
    file.write_bytes(file.read_bytes()[:4000])
    save(tmp_path / "masks" / "p9.png", blob())
    with pytest.raises(DataError, match=r"1 of 6 files cannot be used: .*p9\.tif"):
        ready(tmp_path)
