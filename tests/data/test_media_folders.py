"""A folder of one's own clips, of any kind that FFmpeg reads: what lacks pictures or sound is refused, or counted."""

from pathlib import Path

import pytest
from media_files import Film, Sound, opposite, write

from data_modules.ave import AVE
from data_modules.errors import DataError
from data_modules.folder_clips import ClipFolder
from data_modules.readers.media import READER

SHORT = {"segments": 2, "segment_seconds": 0.5, "frame_size": 16}


def folder(root: Path) -> Path:
    """Two classes of four clips: films of several kinds, and in each a sound alone and pictures alone."""
    for label, end in (("dog", 1), ("car", 1.5)):  # no two of the same content
        for k, (suffix, codec) in enumerate({"mp4": "mpeg4", "ts": "libx264"}.items()):
            write(root / label / f"{k}.{suffix}", film=Film(codec=codec, end=end + k), sounds=[Sound(end=end + k)])
        write(root / label / "talk.mp3", film=None, sounds=[Sound(codec="libmp3lame", end=end)])
        write(root / label / "dumb.gif", film=Film(codec="gif", end=end), sounds=[])
        (root / label / "notes.srt").write_text("1")
    return root


def test_every_kind_is_taken_or_counted_by_name(tmp_path: Path) -> None:
    root = str(folder(tmp_path))
    with pytest.raises(
        DataError, match=r"4 of 8 files cannot be used: .*(missing_audio=silence|missing_pictures=blank)"
    ):
        ClipFolder(root=root, **SHORT).setup()
    data = ClipFolder(root=root, missing_audio="silence", missing_pictures="blank", **SHORT)
    data.setup()
    assert sum(map(len, data.sets.values())) == 8
    assert data.remarks["files of another kind (.srt): left out"] == 2
    assert data.remarks["no sound: silence is used"] == 2
    assert data.remarks["no pictures: grey ones are used"] == 2
    clips = [samples[i] for samples in data.sets.values() for i in range(len(samples))]
    assert {clip.frames.shape[0] for clip in clips} == {2}
    assert sum(not clip.audio.any() for clip in clips) == 2
    assert sum(bool((clip.frames == 128).all()) for clip in clips) == 2
    left = ClipFolder(root=root, on_bad="skip", val_share=0, **SHORT)
    left.setup("test")
    assert left.remarks["files that cannot be used: left out"] == 4


def test_what_is_odd_about_the_sound_is_known_before_training(tmp_path: Path) -> None:
    odd = {
        "opposite": Sound(codec="pcm_s16le", end=1, wave=opposite, layout="stereo"),
        "hole": Sound(codec="pcm_s16le", end=1, hole=(0.25, 0.5)),
        "late": Sound(codec="pcm_s16le", begin=0.75, end=1),
        "plain": Sound(codec="pcm_s16le", end=1),
    }
    for name, sound in odd.items():
        for label in ("dog", "car"):
            film = Film(end=1, size=(64, 48) if label == "dog" else (48, 64))
            write(tmp_path / label / f"{name}.mkv", film=film, sounds=[sound])
    data = ClipFolder(root=str(tmp_path), **SHORT)
    data.setup()
    assert data.remarks["sound whose channels cancel each other (opposite phase)"] == 2
    assert data.remarks["holes in the sound: silent"] == 2
    assert data.remarks["sound begins late: silence before"] == 2


def test_a_benchmark_has_the_same_policy(tmp_path: Path) -> None:
    for split in ("train", "val", "test", "Annotations"):
        name = f"{split}Set.txt" if split != "Annotations" else "Annotations.txt"
        (tmp_path / name).write_text(f"Bark&{split}&good&0&10\n")
        write(tmp_path / "AVE" / f"{split}.mp4", film=None)
    with pytest.raises(DataError, match=r"has no pictures.*missing_pictures=blank"):
        AVE(root=str(tmp_path)).setup()
    data = AVE(root=str(tmp_path), missing_pictures="blank", frame_size=8)
    data.setup()
    assert data.sets["test"][0].frames.shape == (10, 8, 8, 3)
    assert data.remarks["test: no pictures: grey ones are used"] == 1


def test_what_a_file_decodes_to_is_part_of_what_caches_call_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that an earlier reader left in a cache, of pictures that lay on their side, are not taken."""
    data = ClipFolder(root=str(folder(tmp_path)), missing_audio="silence", missing_pictures="blank", **SHORT)
    data.setup()
    before = data.sets["test"].key(0)
    monkeypatch.setattr("data_modules.folder_clips.READER", READER + 1)
    assert data.sets["test"].key(0) != before
