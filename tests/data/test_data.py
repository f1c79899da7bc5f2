"""Data modules read the true layouts, count what they leave out, and name what is wrong."""

from pathlib import Path

import av_files
import forked
import numpy as np
import pytest
import soundfile
import torch

from data_modules.ave import AVE, CLASSES, read_rows
from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.grid_av import GridAV, segment_labels, split_of
from data_modules.llp import LLP
from data_modules.synthetic.sounds import SOUNDS
from data_modules.synthetic_events import SyntheticEvents
from zoo.errors import SettingError
from zoo.training.loaders import EpochSampler


@pytest.mark.parametrize("header", [False, True])
def test_ave_is_read_with_and_without_its_header_line(tmp_path: Path, header: bool) -> None:
    root = av_files.ave(tmp_path, header=header)
    rows = read_rows(root / "Annotations.txt")
    assert [row.video for row in rows] == ["-a_b", "cc_0", "vv1", "tt1", "-a_b"]
    assert CLASSES[rows[1].label] == "Male speech, man speaking"
    assert rows[1].segments().tolist() == [28, 28, 1, 1, 1, 1, 1, 28, 28, 28]


def test_ave_reports_clips_of_train_and_test_and_drops_them_when_told(tmp_path: Path) -> None:
    root = av_files.ave(tmp_path)
    kept, dropped = AVE(root=str(root)), AVE(root=str(root), drop_train_test_overlap=True)
    kept.setup()
    dropped.setup()
    assert kept.remarks == {"train clips whose video is also in test (kept)": 1}
    assert dropped.remarks == {"train clips whose video is also in test": 1}
    assert (len(kept.sets["train"]), len(dropped.sets["train"])) == (2, 1)
    assert kept.fingerprint() != dropped.fingerprint()


AVE_WRONG = {
    "Barking&v&good&0&3": "'Barking' is none of the 28 classes",
    "Bark&v&good&0&11": "event 0 to 11 does not lie inside the 10-second clip",
    "Bark&v&good&7&3": "event 7 to 3 does not lie inside",
    "Bark&v&good&0": "expected Category&VideoID&Quality&StartTime&EndTime",
}


@pytest.mark.parametrize(("row", "message"), AVE_WRONG.items())
def test_a_wrong_ave_row_is_named_with_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    root = av_files.ave(tmp_path)
    with (root / "valSet.txt").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(DataError, match=r"valSet\.txt, line 2: ") as caught:
        AVE(root=str(root)).setup()
    assert message in str(caught.value)


def test_missing_and_damaged_media_are_an_error_or_counted(tmp_path: Path) -> None:
    root = av_files.ave(tmp_path)
    (root / "AVE" / "cc_0.mp4").unlink()
    with pytest.raises(DataError, match=r"1 of 2 media files are missing, e\.g\. cc_0\.mp4"):
        AVE(root=str(root)).setup()
    (root / "AVE" / "cc_0.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"train: 1 media files cannot be used: .*cc_0\.mp4 cannot be decoded"):
        AVE(root=str(root)).setup()
    data = AVE(root=str(root), on_bad="skip")
    data.setup()
    assert data.remarks["train: cannot be decoded: left out"] == 1
    assert len(data.sets["train"]) == 1


def test_clips_without_sound_are_known_before_training_and_follow_the_policy(tmp_path: Path) -> None:
    root = av_files.ave(tmp_path)
    av_files.write_clip(root / "AVE" / "cc_0.mp4", sound=False)
    av_files.write_clip(root / "AVE" / "vv1.mp4", loudness=0)
    av_files.write_clip(root / "AVE" / "tt1.mp4", seconds=6)
    with pytest.raises(DataError, match=r"cc_0\.mp4 has no sound; set missing_audio=silence"):
        AVE(root=str(root)).setup()
    silent, left_out = AVE(root=str(root), missing_audio="silence"), AVE(root=str(root), on_bad="skip")
    silent.setup()
    left_out.setup()
    expected = {
        "val: a sound track of pure silence": 1,
        "test: sound ends early: padded with silence": 1,
        "test: pictures end early: the last one is repeated": 1,
    }
    overlap = {"train clips whose video is also in test (kept)": 1}
    assert silent.remarks == {**overlap, **expected, "train: no sound: silence is used": 1}
    assert left_out.remarks == {**overlap, **expected, "train: no sound: left out": 1}
    assert not silent.sets["train"][1].audio.any()
    assert silent.report()["remarks"] == silent.remarks


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    root = av_files.ave(tmp_path)
    (root / "testSet.txt").write_text("")
    with pytest.raises(DataError, match="split test is empty"):
        AVE(root=str(root)).setup()


MADE_UP = {"ave": (AVE, av_files.ave), "llp": (LLP, av_files.llp), "grid_av": (GridAV, av_files.grid)}


@pytest.mark.parametrize("name", MADE_UP)
def test_check_says_complete_or_what_is_missing(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, make = MADE_UP[name]
    make(tmp_path)

    def check() -> tuple[int, str]:
        code = check_command(name, lambda root: module(root=root), ["--check", str(tmp_path)])
        return code, capsys.readouterr().out

    code, out = check()
    assert (code, out.splitlines()[-1]) == (0, "complete")
    media = next(path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".mp4", ".ogg"))
    media.write_bytes(b"damaged")
    code, out = check()
    assert code == 1
    assert media.stem in out
    media.unlink()
    code, out = check()
    assert code == 1
    assert media.name in out


@pytest.mark.parametrize(("words", "code"), [(["--check", "/nowhere"], 1), (["/nowhere"], 2)])
def test_the_check_command_says_what_it_expects(words: list[str], code: int) -> None:
    done = forked.command("data_modules.ave", words)
    assert done.returncode == code
    assert ("/nowhere/trainSet.txt does not exist" if code == 1 else "usage: ") in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_llp_reads_weak_and_dense_labels_and_counts_strays(tmp_path: Path) -> None:
    data = LLP(root=str(av_files.llp(tmp_path)))
    data.setup()
    train, test = data.sets["train"], data.sets["test"]
    assert train.target(0)["weak"].nonzero().flatten().tolist() == [0, 3]
    assert set(train.target(0)) == {"weak"}
    assert test.target(0)["audio"][:, 3].tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    assert not test.target(0)["visual"].any()
    assert data.remarks == {
        "AVVP_eval_audio.csv: rows of files in no split": 1,
        "AVVP_eval_visual.csv: rows of empty events": 1,
    }


def test_llps_damaged_copy_is_refused(tmp_path: Path) -> None:
    root = av_files.llp(tmp_path)
    with (root / "AVVP_eval_audio.csv").open("a") as file:
        file.write("Baby_cry_infant_cry\t0\t3\tBaby_cry_infant_cry\n")
    with pytest.raises(DataError, match="line 5: the file name is the class 'Baby_cry_infant_cry'"):
        LLP(root=str(root)).setup()


def test_grid_segments_splits_and_pictures(tmp_path: Path) -> None:
    assert segment_labels(4, 1.0, 1.5).tolist() == [10] * 4 + [4, 4] + [10] * 6
    assert segment_labels(4, 1.12, 1.4).tolist() == [10] * 4 + [4, 4] + [10] * 6
    assert segment_labels(4, 1.13, 1.37).tolist() == [10] * 4 + [10, 10] + [10] * 6
    data = GridAV(root=str(av_files.grid(tmp_path)))
    data.setup()
    clip = data.sets["train"][0]
    assert clip.frames.shape == (12, 64, 64, 3)
    assert clip.audio.shape == (12, 4000)
    seen = (clip.frames[:, 32, 32, 0] / 10).round().astype(int)
    assert seen.tolist() == [round((k + 0.5) * 0.25 * 25 / 3) for k in range(12)]
    names = [f"clip{k}" for k in range(2000)]
    shares = [sum(split_of(n) == s for n in names) / 2000 for s in ("train", "val", "test")]
    assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.03)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [(0, 16_000, "lasts 0.00 s; expected 3 s"), (16_000, 16_000, "lasts 1.00 s"), (24_000, 8_000, "has 8000 Hz")],
)
def test_a_grid_sound_of_another_length_or_rate_is_refused(
    tmp_path: Path, samples: int, rate: int, message: str
) -> None:
    data = GridAV(root=str(av_files.grid(tmp_path)))
    data.setup()
    first = data.sets["train"].id(0)
    soundfile.write(tmp_path / "audio" / f"{first}.ogg", np.zeros(samples, np.float32), rate)
    with pytest.raises(DataError, match=rf"{first}\.ogg {message}"):
        data.sets["train"][0]


def test_the_real_grid_clips_split_as_the_card_says(shared_data: Path) -> None:
    data = GridAV(root=str(shared_data / "grid_av"))
    data.setup()
    assert {split: len(clips) for split, clips in data.sets.items()} == {"train": 353, "val": 117, "test": 130}


def test_the_synthetic_set_is_the_same_every_time_and_its_splits_differ() -> None:
    one, two = (SyntheticEvents(train_clips=6, val_clips=3, test_clips=3) for _ in range(2))
    one.setup()
    two.setup()
    assert one.fingerprint() == two.fingerprint()
    for split in ("train", "val", "test"):
        a, b = one.sets[split][1], two.sets[split][1]
        assert (a.frames == b.frames).all()
        assert (a.audio == b.audio).all()
        assert torch.equal(a.target["segments"], one.sets[split].target(1)["segments"])
    keys = [one.sets[s].key(i) for s in one.sets for i in range(len(one.sets[s]))]
    assert len(set(keys)) == len(keys)
    assert one.synthetic
    assert "synthetic" in one.name
    clip = one.sets["train"][0]
    assert clip.audio.dtype.name == "float32"
    assert abs(clip.audio).max() <= 1
    assert clip.frames.shape[0] == clip.audio.shape[0] == 10


AWAY = ("dog", "violin", "flute", "helicopter", "wall clock")


def test_unseen_synthetic_classes_play_in_test_alone_and_the_others_elsewhere() -> None:
    data, every = (SyntheticEvents(train_clips=60, val_clips=60, test_clips=60, unseen=u) for u in (AWAY, ()))
    data.setup()
    every.setup()
    away = torch.tensor([name in AWAY for name in data.classes])
    for split, clips in data.sets.items():
        cast = away if split == "test" else ~away
        scripts = [clips.script(index) for index in range(60)]
        played = {label for script in scripts for label in (*script.heard, *script.seen)}
        assert played == set(cast.nonzero().flatten().tolist())
        assert torch.equal(clips.conditions(0)["candidates"], cast)
        assert {clips.key(i) for i in range(60)}.isdisjoint({every.sets[split].key(i) for i in range(60)})
        assert every.sets[split].conditions(0) == {}


@pytest.mark.parametrize("names", [("dog", "cat", "violin"), ("dog", "violin"), tuple(SOUNDS)[:10]])
def test_too_few_synthetic_classes_to_play_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingError, match=r"data\.unseen(: cat not in| = .*expected none, or 3 to 9 different)"):
        SyntheticEvents(unseen=names)


def test_an_epochs_order_depends_on_seed_and_epoch_alone() -> None:
    sampler, again = EpochSampler(20, 1), EpochSampler(20, 1)
    sampler.set_epoch(3)
    list(sampler)
    again.set_epoch(3)
    assert list(sampler) == list(again)
    again.set_epoch(4)
    assert list(sampler) != list(again)
    assert sorted(again) == list(range(20))
