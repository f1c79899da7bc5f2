"""Masks of what sounds in clips, as files: where they lie, what they hold, and what they are never written over."""

import json
from pathlib import Path

import media_files
import numpy as np
import predict_files
import pytest
from answers_of import records, run
from kept import kept_encoders
from media_files import Film, Sound
from PIL import Image

from data_modules.folder_sounding_objects import central, mask_files
from data_modules.readers.object_masks import object_mask, opened
from zoo.batch import Clip
from zoo.errors import UserError
from zoo.inference.inputs import Input
from zoo.inference.mask_files import masks_of, require_own, write_clip

__all__ = ["kept_encoders"]  # a fixture of every test here


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained one."""
    return predict_files.untrained("tb_ava_avs_synthetic", tmp_path_factory.mktemp("adapters") / "sounding")


@pytest.mark.parametrize(("height", "width"), [(28, 28), (28, 51), (40, 28)])
def test_masks_are_read_as_own_masks_are(tmp_path: Path, height: int, width: int) -> None:
    masks = np.random.default_rng(0).integers(0, 2, (3, 28, 28), dtype=np.uint8)
    clip = Clip("walk", np.zeros((3, height, width, 3), np.uint8), np.zeros((3, 16), np.float32), 16, {})
    write_clip(masks, clip, tmp_path / "walk_masks")
    found = mask_files(tmp_path / "walk.mp4")
    assert list(found) == [1, 2, 3]
    for number, path in found.items():
        picture = Image.open(path)
        assert (picture.size, picture.mode) == ((width, height), "L")
        assert set(np.unique(np.asarray(picture))) == {0, 255}
        assert np.array_equal(central(object_mask(opened(path)), 28), masks[number - 1])


def test_every_window_of_a_film_has_a_folder_of_masks_and_a_second_run_writes_none(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, end in (("a/film.mkv", 10), ("short.mkv", 5)):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        media_files.write(tmp_path / "in" / name, film=Film(end=end), sounds=[Sound(end=end)])
    words = [f"adapter={adapter}", f"input={tmp_path / 'in'}", f"masks={tmp_path / 'out'}"]
    words.append(f"output={tmp_path / 'o.jsonl'}")
    assert run(*words) == 0
    folders = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*_masks")}
    assert folders == {"a/film#0_masks", "a/film#1_masks", "short_masks"}
    for record in records(tmp_path / "o.jsonl"):
        name = Path(record["id"]).relative_to(tmp_path / "in")
        folder = tmp_path / "out" / name.with_name(name.name.replace(".mkv", "") + "_masks")
        assert sorted(path.name for path in folder.iterdir()) == [f"{k}.png" for k in range(1, 6)]
        for k, found in enumerate(record["sounding"], 1):
            mask = np.asarray(Image.open(folder / f"{k}.png")) > 0
            short = min(mask.shape)
            assert mask.sum() / short**2 == pytest.approx(found["share"] if found else 0, abs=0.02)
    capsys.readouterr()
    assert run(*words) == 0
    assert "nothing is left to do" in capsys.readouterr().err
    (tmp_path / "out" / "short_masks" / "1.png").unlink()
    assert run(*words) == 0
    assert (tmp_path / "out" / "short_masks" / "1.png").exists()


def test_labels_beside_a_clip_are_not_written_over(tmp_path: Path) -> None:
    clip = tmp_path / "walk.mp4"
    item = Input(str(clip), clip, clip, Path(clip.name), {})
    assert masks_of(item, tmp_path) == tmp_path / "walk_masks"
    with pytest.raises(UserError, match=r"the mask of .*walk.mp4 would be written over .*walk_masks/1.png; choose"):
        require_own([item], tmp_path)
    require_own([item], tmp_path / "other")


def test_an_answer_is_the_same_with_and_without_masks(
    tmp_path: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = media_files.write(tmp_path / "film.mkv", film=Film(end=5), sounds=[Sound(end=5)])
    assert run(f"adapter={adapter}", f"input={film}") == 0
    plain = json.loads(capsys.readouterr().out)
    assert run(f"adapter={adapter}", f"input={film}", f"masks={tmp_path / 'out'}") == 0
    assert json.loads(capsys.readouterr().out) == plain
