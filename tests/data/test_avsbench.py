"""AVSBench: both parts are read in their true layouts, whatever masks are made of, and what is missing is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from data_modules.avsbench import AVSBench, Part
from data_modules.check import check_command
from data_modules.errors import DataError
from zoo.ops.frame import IGNORE

S4 = [("train", "dog_barking", "aaaaaaaaaaa_1_6"), ("val", "race_car", "bbbbbbbbbbb_2_7"),
      ("test", "horse_clip-clop", "-cccccccccc_3_8"), ("train", "male_speech", "ddddddddddd_0_5")]  # fmt: skip
MS3 = [("train", "e_MULT1"), ("val", "--fff"), ("test", "aaaaaaaaaaa2"), ("train", "g.h")]
GAP = 2
"""Every third second of MS3, from 0, nothing is seen of what sounds."""


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.random.default_rng(seed).integers(0, 255, (7, 7, 3), dtype=np.uint8)
    Image.fromarray(grey).resize((224, 224), Image.Resampling.NEAREST).save(path, compress_level=1)


def mask(path: Path, *, mode: str, empty: bool = False) -> None:
    """A square of 50 x 100 pixels, in one bit or as index 1 of a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    there = np.zeros((224, 224), np.uint8)
    if not empty:
        there[20:70, 60:160] = 1
    if mode == "1":
        image = Image.fromarray(there * 255).convert("1", dither=Image.Dither.NONE)
    else:
        image = Image.fromarray(there)
        image.putpalette([0, 0, 0, 128, 0, 0])
    assert image.mode == mode
    image.save(path, compress_level=1)


def sound(path: Path, *, rate: int) -> None:
    """A second of silence, then louder by the second, in both channels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(5 * rate) / rate
    wave = 0.1 * np.floor(time) * np.sin(2 * np.pi * 440 * time)
    soundfile.write(path, np.stack([wave, wave], axis=1), rate)


def write(root: Path) -> Path:
    """Both parts."""
    single, several = root / "Single-source", root / "Multi-sources"
    rows = ["name,start,category,split", *(f"{name},0,{category},{split}" for split, category, name in S4)]
    single.mkdir(parents=True)
    several.mkdir()
    (single / "s4_meta_data.csv").write_text("\n".join(rows) + "\n")
    (several / "ms3_meta_data.csv").write_text("video_id,split\n" + "".join(f"{n},{split}\n" for split, n in MS3))
    for seed, (split, category, name) in enumerate(S4):
        base, own = single / "s4_data", Path(split, category)
        sound(base / "audio_wav" / own / f"{name}.wav", rate=16_000)
        for k in range(1, 6):
            picture(base / "visual_frames" / own / name / f"{name}_{k}.png", 10 * seed + k)
            if k == 1 or split != "train":
                mask(base / "gt_masks" / own / name / f"{name}_{k}.png", mode="1")
    for seed, (split, name) in enumerate(MS3):
        base = several / "ms3_data"
        sound(base / "audio_wav" / split / f"{name}.wav", rate=44_100)
        for k in range(1, 6):
            picture(base / "visual_frames" / name / f"{name}.mp4_{k}.png", 50 + 10 * seed + k)
            mask(base / "gt_masks" / split / name / f"{name}_{k}.png", mode="P", empty=k % 3 == GAP)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("avsbench"))


@pytest.fixture
def own(root: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(root, tmp_path / "own"))


@pytest.mark.parametrize(
    ("part", "names"),
    [("s4", {"train": [S4[0][2], S4[3][2]], "val": [S4[1][2]], "test": [S4[2][2]]}),
     ("ms3", {"train": ["e_MULT1", "g.h"], "val": ["--fff"], "test": ["aaaaaaaaaaa2"]})],
)  # fmt: skip
def test_a_clip_is_five_pictures_with_five_sounds_and_masks(
    root: Path, part: Part, names: dict[str, list[str]]
) -> None:
    data = AVSBench(root=str(root), variant=part)
    data.setup()
    assert {split: [every.id(i) for i in range(len(every))] for split, every in data.sets.items()} == names
    clip = data.sets["test"][0]
    assert clip.frames.shape == (5, 224, 224, 3)
    assert clip.audio.shape == (5, 16_000)
    level = np.abs(clip.audio).max(1)
    assert level == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.03)
    first = data.sets["train"][0]
    assert len({frame.tobytes() for frame in first.frames}) == 5
    assert first.frames[0, 0, 0].tolist() == np.random.default_rng(1 if part == "s4" else 51).integers(
        0, 255, (7, 7, 3), dtype=np.uint8
    )[0, 0].tolist()  # fmt: skip


def test_in_training_s4_has_the_first_mask_alone_and_no_mask_is_no_empty_one(root: Path) -> None:
    data = AVSBench(root=str(root))
    data.setup()
    masks = data.sets["train"].target(0)["masks"]
    assert masks.shape == (5, 224, 224)
    assert masks[0].sum() == 50 * 100
    assert bool((masks[0, 20:70, 60:160] == 1).all())
    assert bool((masks[1:] == IGNORE).all())
    assert data.sets["val"].target(0)["masks"].flatten(1).sum(1).tolist() == [5000] * 5


def test_index_1_of_a_palette_is_an_object_and_an_empty_mask_is_a_label(root: Path) -> None:
    data = AVSBench(root=str(root), variant="ms3")
    data.setup()
    for split in ("train", "test"):
        masks = data.sets[split].target(0)["masks"]
        assert masks.flatten(1).sum(1).tolist() == [5000, 0, 5000, 5000, 0]
        assert masks.max() == 1


def test_what_any_file_holds_is_part_of_its_clips_key_alone(own: Path) -> None:
    root = own
    before, after = AVSBench(root=str(root)), AVSBench(root=str(root))
    before.setup()
    name = S4[0][2]
    mask(root / "Single-source/s4_data/gt_masks/train/dog_barking" / name / f"{name}_1.png", mode="1", empty=True)
    after.setup()
    assert before.sets["train"].key(0) != after.sets["train"].key(0)
    assert before.sets["train"].key(1) == after.sets["train"].key(1)
    assert before.fingerprint() != after.fingerprint()


def test_all_missing_files_of_all_splits_are_counted_in_one_message(own: Path) -> None:
    root = own / "Multi-sources/ms3_data"
    (root / "visual_frames/e_MULT1/e_MULT1.mp4_3.png").unlink()
    (root / "gt_masks/test/aaaaaaaaaaa2/aaaaaaaaaaa2_5.png").unlink()
    for split, name in MS3:
        (root / "audio_wav" / split / f"{name}.wav").unlink()
    with pytest.raises(DataError, match=r"6 files are missing .*\(1 of visual_frames, 4 of audio_wav, 1 of gt_masks\)"):
        AVSBench(root=str(own), variant="ms3").setup()


def test_all_files_that_cannot_be_used_are_named_at_once(own: Path) -> None:
    root = own / "Single-source/s4_data"
    name = S4[0][2]
    (root / "audio_wav/train/dog_barking" / f"{name}.wav").write_bytes(b"no sound")
    (root / "visual_frames/train/dog_barking" / name / f"{name}_2.png").write_bytes(b"no picture")
    Image.new("1", (64, 64)).save(root / "gt_masks/train/dog_barking" / name / f"{name}_1.png")
    with pytest.raises(DataError) as caught:
        AVSBench(root=str(own)).setup()
    said = str(caught.value)
    assert "3 mistakes" in said
    for part in (f"{name}_2.png is no PNG", "64 x 64 pixels; expected 224 x 224", f"{name}.wav"):
        assert part in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,0,dog_barkin,train", "category 'dog_barkin' is none of"),
        ("x,0,race_car,tset", "split 'tset' is none of train, val, test"),
        ("../x,0,race_car,train", r"'\.\./x' is no name of a file"),
        ("-cccccccccc_3_8,0,race_car,train", "stands in line 4 as well"),
        ("x,race_car,train", "3 cells; the header has 4"),
    ],
)
def test_a_wrong_line_of_the_list_is_named(own: Path, line: str, message: str) -> None:
    listed = own / "Single-source/s4_meta_data.csv"
    listed.write_text(listed.read_text() + line + "\n")
    with pytest.raises(DataError, match=rf"line 6: .*{message}"):
        AVSBench(root=str(own)).setup()


def test_check_says_complete_or_what_is_missing(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def check(*words: str) -> tuple[int, list[str]]:
        code = check_command("x", lambda root, **s: AVSBench(root=root, **s), [*words], settings=("variant",))
        return code, capsys.readouterr().out.splitlines()

    for words in ([], ["data.variant=ms3"]):
        code, lines = check("--check", str(own), *words)
        assert code == 0
        assert lines[-1] == "complete"
        assert lines[0] == f"train: 2 clips; published: {296 if words else 3452}"
    (own / "Single-source/s4_meta_data.csv").unlink()
    code, lines = check("--check", str(own))
    assert code == 1
    assert "github.com/OpenNLPLab/AVSBench" in lines[-1]
    assert check("--check", str(own), "data.variant=s5") == (1, ["error: data.variant = s5: expected s4 or ms3"])
