"""Prompts as a user gives them, in the square that an encoder sees; and as they are drawn from labels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import SettingError
from zoo.ops import drawn_prompts as drawn
from zoo.ops.frame import Frame, Place
from zoo.ops.prompts import Prompts


def prompts(**settings: str) -> Prompts:
    found = Prompts.parse(settings)
    assert found is not None
    return found


def test_settings_are_read() -> None:
    assert Prompts.parse({"gsd": "1"}) is None
    assert prompts(box="3,4,10,20") == Prompts(box=(3.0, 4.0, 10.0, 20.0))
    assert prompts(points="3,4,1|5,6.5,0") == Prompts(((3.0, 4.0, 1), (5.0, 6.5, 0)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box": "1,2,3"}, r"box=1,2,3: expected x0,y0,x1,y1"),
        ({"box": "1,2,nan,4"}, r"expected x0,y0,x1,y1"),
        ({"box": "5,2,3,4"}, r"expected x0 < x1 and y0 < y1"),
        ({"points": "1,2"}, r"points=1,2: expected x,y,1"),
        ({"points": "1,2,3"}, r"3 is no mark; expected x,y,1"),
        ({"points": "1,2,0"}, r"no point is on the object"),
    ],
)
def test_what_is_no_prompt_is_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Prompts.parse(settings)


@pytest.mark.parametrize("way", ["letterbox", "squash", "tile"])
def test_a_point_stays_on_its_pixel(way: str) -> None:
    """The one bright pixel of a picture is where the point is, in the square as well."""
    height, width, x, y = 40, 64, 50, 30
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y, x] = 255
    frame, asked = Frame.parse({way: 32}), prompts(points=f"{x},{y},1")
    place = asked.place(frame, height, width)
    _, left, rows, columns = inside = place.inside(height, width)
    square = frame.image(picture[inside.y : inside.y + rows, left : left + columns], place)
    ((share,),) = asked.conditions(place)["points"].tolist()
    found = np.array(share) * 32
    brightest = np.unravel_index(square[..., 0].argmax(), square.shape[:2])
    assert [int(found[1]), int(found[0])] == list(map(int, brightest))


@given(st.integers(20, 200), st.integers(20, 200), st.data())
def test_a_tile_shows_the_whole_box(height: int, width: int, data: st.DataObject) -> None:
    side = 32
    x0, y0 = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    x1 = data.draw(st.integers(x0 + 1, min(width - 1, x0 + side - 1)))
    y1 = data.draw(st.integers(y0 + 1, min(height - 1, y0 + side - 1)))
    place = Prompts(box=(x0, y0, x1, y1)).place(Frame("tile", side), height, width)
    assert place.x <= x0 < x1 < place.x + side
    assert place.y <= y0 < y1 < place.y + side
    assert 0 <= place.x <= max(0, width - side)
    assert 0 <= place.y <= max(0, height - side)


def test_what_no_square_shows_is_refused() -> None:
    with pytest.raises(SettingError, match=r"the prompt 64,3 lies outside of the picture, 64 x 40 pixels"):
        prompts(points="64,3,1").place(Frame("letterbox", 32), 40, 64)
    with pytest.raises(SettingError, match=r"33 pixels apart; the adapter sees squares of 32"):
        prompts(box="0,0,32,5").place(Frame("tile", 32), 40, 64)
    assert prompts(box="0,0,31,5").place(Frame("tile", 32), 40, 64) == Place(0, 0, 32, 32)


def test_a_box_over_all_is_all_of_the_square_but_half_a_pixel() -> None:
    found = prompts(box="0,0,63,63").conditions(Place(0, 0, 64, 64))["box"]
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5, 63.5, 63.5]]) / 64)


# --- drawn from a label -----------------------------------------------------------------------------------------------


def label() -> np.ndarray:
    """Two objects of class 1, one of class 2, and a speck."""
    mask = np.zeros((24, 24), np.uint8)
    mask[2:9, 3:12] = 1
    mask[15:22, 1:6] = 1
    mask[12:20, 12:22] = 2
    mask[1, 20] = 1
    return mask


def test_objects_are_components_of_a_class() -> None:
    assert [int(each.sum()) for each in drawn.objects(label(), [1, 2], 10)] == [63, 35, 80]
    assert [int(each.sum()) for each in drawn.objects(label(), [1], 1)] == [1, 63, 35]
    assert drawn.objects(label(), [2], 81) == []


def test_a_box_is_the_extent_and_a_jitter_moves_it_by_its_share() -> None:
    (region,) = drawn.objects(label(), [2], 10)
    random = np.random.default_rng(0)
    assert drawn.box(region, 0.0, random) == (12, 12, 21, 19)
    assert np.array_equal(drawn.filled((12, 12, 21, 19), 24, 24), region)
    moved = np.array([drawn.box(region, 0.2, random) for _ in range(200)])
    assert (np.abs(moved - [12, 12, 21, 19]).max(0) <= [2, 1.6, 2, 1.6]).all()
    assert (moved.std(0) > 0.5).all()
    far = np.array([drawn.box(region, 0.99, random) for _ in range(20)])
    assert far.min() >= 0
    assert far.max() <= 23


def test_the_first_click_is_in_the_middle_and_further_ones_in_the_largest_error() -> None:
    region = np.zeros((21, 21), bool)
    region[5:16, 5:16] = True
    every, nothing = np.ones_like(region), np.zeros_like(region)
    assert drawn.next_click(nothing, region, every) == (10, 10, 1)
    missed = region.copy()
    missed[5:8, 5:8] = False  # nine pixels that are missed, twenty-five that are claimed
    missed[0:5, 0:5] = True
    assert drawn.next_click(missed, region, every) == (2, 2, 0)
    unknown = every.copy()
    unknown[0:5, 0:5] = False
    assert drawn.next_click(missed, region, unknown) == (6, 6, 1)
    assert drawn.next_click(region, region, every) is None
