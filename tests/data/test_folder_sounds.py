"""A user's own sounds: files of sound and films alike, one class each, and what is refused."""

from pathlib import Path

import media_files
import numpy as np
import pytest
import sound_files
from media_files import Film, Sound

from data_modules.errors import DataError
from data_modules.folder_sounds import SoundFolder


def test_class_folders_are_split_and_labelled(tmp_path: Path) -> None:
    data = SoundFolder(root=str(sound_files.folders(tmp_path)), segments=2, segment_seconds=0.25)
    data.setup()
    assert data.classes == ["dog_bark", "rain"]
    assert sum(len(samples) for samples in data.sets.values()) == 12
    train = data.sets["train"]
    for index in range(len(train)):
        clip = train[index]
        assert clip.audio.shape == (2, 4000)
        loudest = np.abs(np.fft.rfft(clip.audio[0])).argmax() * 4
        assert loudest == pytest.approx(300 + 400 * int(clip.target["label"]), abs=8)
    assert data.remarks == {}


def test_the_sound_of_a_film_is_taken_and_its_pictures_are_passed_over(tmp_path: Path) -> None:
    film = media_files.write(tmp_path / "film.mkv", film=Film(end=7), sounds=[Sound(end=7)])
    data = SoundFolder(root=str(tmp_path))
    windows = data.samples_in(film, {})
    assert [path.name for path in windows] == ["film.mkv#0", "film.mkv#1"]
    clip, notes = data.read(windows[1], {})
    assert (clip.start, clip.end) == (5.0, 10.0)
    assert not any("picture" in note for note in notes)
    heard = [int(np.abs(np.fft.rfft(second)).argmax()) for second in clip.audio[:2]]
    assert heard == pytest.approx([700, 800], abs=3)
    settings = {"start": "2"}
    again, notes = data.read(film, settings)
    assert settings == {}
    assert np.abs(np.fft.rfft(again.audio[0])).argmax() == pytest.approx(400, abs=3)


def test_files_without_sound_are_named(tmp_path: Path) -> None:
    sound_files.folders(tmp_path)
    media_files.write(tmp_path / "rain" / "mute.mp4", film=Film(end=2), sounds=[])
    with pytest.raises(DataError, match=r"mute\.mp4 has no sound"):
        SoundFolder(root=str(tmp_path)).setup()
    with pytest.raises(DataError, match=r"mute\.mp4 has no sound$"):
        SoundFolder(root=str(tmp_path)).read(tmp_path / "rain" / "mute.mp4", {})
    data = SoundFolder(root=str(tmp_path), on_bad="skip")
    data.setup()
    assert data.remarks["files that cannot be used: left out"] == 1


def test_long_recordings_and_settings_of_films_are_told(tmp_path: Path) -> None:
    data = SoundFolder(root=str(sound_files.folders(tmp_path)), segments=1, segment_seconds=0.25)
    data.setup()
    assert data.remarks == {"recordings longer than 0.25 s, of which the rest is not used": 12}
    with pytest.raises(DataError, match="missing_pictures= means nothing"):
        data.require({"missing_pictures": "blank"})
