"""The page for pictures to segment: offers are whole pictures, the mask is shown, judged and given as a file."""

from pathlib import Path

import numpy as np
import pytest
from mask_files import blob, pairs, picture, ready, save
from mask_tiny import dark_and_light, pairing
from PIL import Image

from data_modules.errors import DataError
from data_modules.synthetic_cells import SyntheticCells
from zoo.demos.answer import ask
from zoo.demos.offers import from_folder, from_split
from zoo.demos.parts import _in_short

pytest.importorskip("gradio", reason="the page needs the extra `demo`")

from zoo.demos import masks
from zoo.demos.page import Answerer, build, kind


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's files lie until its command stops."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def test_an_offered_square_is_answered_as_its_whole_picture_beside_the_label(tmp_path: Path, uploads: Path) -> None:
    data = ready(pairs(tmp_path / "own"))
    offers = from_split(data)
    assert kind(data) is masks
    assert all(masks.thumbnail(offer.sample, data).shape[2] == 3 for offer in offers)
    page = Answerer(dark_and_light(cut=0.2), data, offers)
    notes, said, plain, over, judged, wrong, file = page.answer(0, None, {})
    assert not notes["visible"]
    assert plain.shape == over.shape == wrong.shape
    assert plain.shape[0] / plain.shape[1] == pytest.approx(40 / 60)
    assert (plain != over).any()
    assert judged["visible"]
    assert "Beside its label: mean IoU" in said
    assert said.count("<tr>") == 1 + 2
    assert Path(file).is_relative_to(uploads)
    with Image.open(file) as mask:
        assert mask.mode == "P"
        assert mask.size == (60, 40)
        assert 0 < np.array(mask).mean() < 1
    with pytest.raises(DataError, match="window: this sample is read already; expected a file of your own"):
        page.answer(0, None, {"window": "0..80"})


def test_a_drawn_picture_which_no_file_holds_has_its_mask_written(uploads: Path) -> None:
    data = SyntheticCells(train_pictures=1, val_pictures=1, test_pictures=2)
    data.setup()
    (*_, wrong, file) = Answerer(pairing(classes=data.classes).eval(), data, from_split(data)).answer(0, None, {})
    assert wrong is not None
    assert Path(file).suffix == ".png"


def test_a_file_of_ones_own_has_no_label_beside_it(tmp_path: Path, uploads: Path) -> None:
    data = ready(pairs(tmp_path / "own"))
    file = save(tmp_path / "mine.png", picture(blob((50, 90))))
    page = Answerer(dark_and_light(cut=0.2), data, from_folder(data, tmp_path / "own" / "images", {}))
    for chosen, upload, name in ((None, str(file), "mine-mask.png"), (0, None, "p0-mask.png")):
        _, said, _, _, judged, wrong, mask = page.answer(chosen, upload, {})
        assert "label" not in said
        assert (judged["visible"], wrong) == (False, None)
        assert Path(mask).name == name
    (tmp_path / "page.png").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"page\.png"):
        page.answer(None, str(tmp_path / "page.png"), {})


def test_the_page_is_built_and_a_part_that_is_replaced_is_told_in_shares(tmp_path: Path, uploads: Path) -> None:
    data = ready(pairs(tmp_path / "own"))
    page = Answerer(dark_and_light(cut=0.2), data, from_split(data))
    built = build(page, heading="<h1>x</h1>", card="card", window="x", source="somewhere")
    (press,) = [found for found in built.fns.values() if found.name == "answer"]
    assert len(press.inputs) == 2 + len(masks.fields(data, page.pairing))
    surface, _ = data.read(tmp_path / "own" / "images" / "p0.png", {})
    assert _in_short(ask(page.pairing, surface)).startswith("rest ")
