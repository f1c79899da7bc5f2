"""Clicks on the page's picture become prompts in pixels of the picture, and a prompted object is shown."""

from pathlib import Path

import numpy as np
import pytest
from mask_files import blob, pairs, picture, ready, save
from sam_tiny import made

from data_modules.errors import DataError
from zoo.demos.offers import from_split
from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.ops.prompts import Prompts
from zoo.pairing import Pairing
from zoo.tasks.promptable import PromptableSegmentation

pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from zoo.demos import masks, pointing
from zoo.demos.page import Answerer, build


def prompted(prompts: str = "clicks", name: str = "sam") -> Pairing:
    task = PromptableSegmentation(prompts=prompts, least=4)  # type: ignore[arg-type]
    return Pairing({"vision": made(name)}, Frozen(), task, classes=["background", "cell"]).eval()


def test_a_click_is_the_pixel_below_it() -> None:
    assert pointing.pixel((0, 0), (40, 60, 3), (40, 60)) == (0, 0)
    assert pointing.pixel((59, 39), (40, 60, 3), (40, 60)) == (59, 39)
    assert pointing.pixel((119, 1), (80, 120, 3), (40, 60)) == (59, 0)  # shown twice as large
    assert pointing.pixel((10, 10), (100, 200, 3), (1000, 2000)) == (105, 105)  # shown ten times smaller
    assert pointing.pixel((500, 500), (100, 200, 3), (1000, 2000)) == (1999, 999)


def test_clicks_fill_the_fields_and_two_corners_are_a_box() -> None:
    texts, corner = pointing.told(5, 6, pointing.ON, {"points": "", "box": ""}, None)
    texts, corner = pointing.told(7, 8, pointing.OFF, texts, corner)
    assert (texts, corner) == ({"points": "5,6,1|7,8,0", "box": ""}, None)
    texts, corner = pointing.told(30, 20, pointing.CORNER, texts, corner)
    assert (texts["box"], corner) == ("", (30, 20))
    texts, corner = pointing.told(30, 4, pointing.CORNER, texts, corner)  # no box has a width of nothing
    assert (texts["box"], corner) == ("", (30, 4))
    texts, corner = pointing.told(10, 24, pointing.CORNER, texts, corner)
    assert (texts["box"], corner) == ("10,4,30,24", None)
    assert Prompts.parse(texts) == Prompts(((5, 6, 1), (7, 8, 0)), (10, 4, 30, 24))


def test_prompts_are_drawn_where_they_lie_and_half_typed_ones_are_not() -> None:
    plain = np.zeros((80, 120, 3), np.uint8)
    shown = pointing.marked(plain, (40, 60), {"points": "10,20,1|50,20,0", "box": ""}, None)
    assert tuple(shown[41, 21]) == pointing.GREEN
    assert tuple(shown[41, 101]) == pointing.RED
    assert (shown[:, 40:80] == 0).all()
    boxed = pointing.marked(plain, (40, 60), {"points": "", "box": "10,10,30,30"}, (50, 5))
    assert tuple(boxed[21, 40]) == pointing.GREEN
    assert boxed[11, 101 - pointing.WIDTH].any()
    assert (pointing.marked(plain, (40, 60), {"points": "10,2", "box": "1,2,3"}, None) == 0).all()


@pytest.mark.parametrize(
    ("prompts", "taken"), [("clicks", ("points", "box")), ("box", ("points", "box")), ("none", ())]
)
def test_fields_are_those_that_the_adapter_takes(prompts: str, taken: tuple[str, ...], tmp_path: Path) -> None:
    pairing = prompted(prompts)
    assert pointing.taken(pairing) == taken
    assert [name for name in masks.fields(ready(pairs(tmp_path)), pairing) if name in ("points", "box")] == list(taken)


def test_an_object_of_an_offered_picture_or_a_file_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uploads").mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    data = ready(pairs(tmp_path / "own"))
    page = Answerer(prompted(), data, from_split(data))
    file = str(save(tmp_path / "mine.png", picture(blob((50, 90)))))
    for chosen, upload in ((0, None), (None, file)):
        _, said, plain, over, judged, _, _ = page.answer(chosen, upload, {"points": "20,20,1"})
        assert said.count("<tr>") == 1 + ("cell" in said)
        assert not judged["visible"]
        assert plain.shape == over.shape
        with pytest.raises(SettingError, match="say box=x0,y0,x1,y1 or points"):
            page.answer(chosen, upload, {})
        with pytest.raises((SettingError, DataError), match=r"outside of the picture"):
            page.answer(chosen, upload, {"points": "2000,20,1"})
        assert page.picture(chosen, upload, {"points": "half"}).shape[2] == 3
    assert page.picture(None, file, {}).shape == (50, 90, 3)


def test_the_page_has_a_picture_to_point_at_where_prompts_are_taken(tmp_path: Path) -> None:
    data = ready(pairs(tmp_path / "own"))
    counts = []
    for prompts in ("clicks", "none"):
        page = Answerer(prompted(prompts), data, from_split(data))
        built = build(page, heading="<h1>x</h1>", card="card", window="x", source="somewhere")
        counts.append(sum(found.name in ("show", "click", "typed") for found in built.fns.values()))
    assert counts == [2 + 1 + 2, 0]  # offers and files; clicks; two fields
