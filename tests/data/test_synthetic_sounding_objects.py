"""Drawn clips in which one of two objects sounds: deterministic, and nothing but the sound tells which."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data_modules.synthetic_sounding_objects import CLASSES, SEGMENTS, SoundingClips, SyntheticSoundingObjects, _drawn


@pytest.fixture(scope="module")
def clips() -> SoundingClips:
    data = SyntheticSoundingObjects(train_clips=400, val_clips=1, test_clips=2, image_size=64)
    data.setup()
    train = data.sets["train"]
    assert isinstance(train, SoundingClips)
    return train


def shapes(clips: SoundingClips, index: int) -> NDArray[np.bool_]:
    """Where each object is, [5, 2, S, S]."""
    return _drawn(clips._stream(index, 1), clips.script(index).seen, clips.image_size)[1]


def test_five_pictures_sounds_and_masks_hang_on_seed_split_and_index_alone(
    clips: SoundingClips,
) -> None:
    again, other = (SoundingClips("train", 3, seed=seed, image_size=64) for seed in (0, 1))
    clip, same = clips[2], again[2]
    assert clip.frames.shape == (5, 64, 64, 3)
    assert clip.audio.shape == (5, 22_050)
    assert clip.target["masks"].shape == (5, 64, 64)
    assert (clip.frames == same.frames).all()
    assert (clip.audio == same.audio).all()
    assert torch.equal(clip.target["masks"], same.target["masks"])
    assert clips.key(2) == again.key(2)
    assert (clip.frames != other[2].frames).any()
    test = SoundingClips("test", 3, seed=0, image_size=64)
    assert len({clips.key(2), clips.key(1), other.key(2), test.key(2)}) == 4
    assert (clip.frames != test[2].frames).any()


def test_the_mask_is_the_sounding_objects_and_empty_where_neither_sounds(clips: SoundingClips) -> None:
    for index in range(12):
        masks, places = clips.target(index)["masks"].numpy(), shapes(clips, index)
        for t, sounding in enumerate(clips.script(index).sounding()):
            expected = np.zeros((64, 64), bool) if sounding is None else places[t, sounding]
            assert (masks[t] == expected).all()


def test_both_objects_are_whole_in_every_picture_and_never_meet(clips: SoundingClips) -> None:
    for index in range(40):
        places = shapes(clips, index)
        assert not (places[:, 0] & places[:, 1]).any()
        area = places.sum((2, 3))
        assert (area == area[:1]).all()
        assert area.min() > 0.01 * 64 * 64


def test_either_object_sounds_as_often_in_every_second_and_every_kind_of_second_occurs(clips: SoundingClips) -> None:
    scripts = [clips.script(index) for index in range(len(clips))]
    sounding = [script.sounding() for script in scripts]
    for t in range(SEGMENTS):
        shares = [np.mean([row[t] == k for row in sounding]) for k in (0, 1)]
        assert abs(shares[0] - shares[1]) < 0.1
        assert min(shares) > 0.3
    silent = [s.label is None for script in scripts for s in script.heard]
    absent = [s.label is not None and s.label not in script.seen for script in scripts for s in script.heard]
    assert 0.05 < np.mean(silent) < 0.15
    assert 0.05 < np.mean(absent) < 0.15
    # A change within the clip, and so one that no label of the clip could tell.
    assert np.mean([len(set(row) - {None}) == 2 for row in sounding]) > 0.4
    assert {label for script in scripts for label in script.seen} == set(range(len(CLASSES)))


def test_a_second_in_which_an_object_sounds_is_louder_than_one_without_a_sound(clips: SoundingClips) -> None:
    compared = 0
    for index in range(60):
        heard = [s.label for s in clips.script(index).heard for _ in range(s.start, s.end)]
        if None in heard and any(label is not None for label in heard):
            level = np.square(clips[index].audio.astype(float)).mean(1)
            quiet = max(v for v, label in zip(level, heard, strict=True) if label is None)
            loud = min(v for v, label in zip(level, heard, strict=True) if label is not None)
            assert loud > quiet, index
            compared += 1
    assert compared > 5
