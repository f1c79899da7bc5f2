"""Clips are shown without sound or pictures, with another's sound, or with noise; labels stay."""

import numpy as np
import pytest
import tiny
import torch
from tiny_data import Some, Tiny

from data_modules.kinds import clip_probes
from data_modules.synthetic_events import SyntheticEvents
from zoo.methods.frozen import Frozen
from zoo.training.loaders import Loaders
from zoo.training.measure import measure, single_trainer


def test_each_probe_spoils_one_thing() -> None:
    clips = Some("clips", 0, 6)
    found = clip_probes.probes(clips)
    assert list(found) == ["silence", "blank_pictures", "other_sound", "noise_10_db", "noise_0_db"]
    for name, probe in found.items():
        assert sorted(probe.id(i) for i in range(len(probe))) == [clips.id(i) for i in range(6)]
        for i in range(len(probe)):
            shown, clip = probe[i], clips[int(probe.id(i).removeprefix("sample"))]
            assert shown.id == clip.id
            assert torch.equal(shown.target["segments"], clip.target["segments"])
            assert torch.equal(probe.target(i)["segments"], clip.target["segments"])
            assert np.array_equal(shown.frames, clip.frames) == (name != "blank_pictures")
            assert np.array_equal(shown.audio, clip.audio) == (name == "blank_pictures")
    assert not found["silence"][0].audio.any()
    assert len(np.unique(found["blank_pictures"][0].frames)) == 1
    following = found["other_sound"]
    assert np.array_equal(following[0].audio, clips[int(following.id(1).removeprefix("sample"))].audio)
    keys = [probe.key(i) for probe in found.values() for i in range(6)]
    assert len(set(keys) | {clips.key(i) for i in range(6)}) == 36  # no kept feature is another's


@pytest.mark.parametrize(("name", "decibels"), [("noise_10_db", 10), ("noise_0_db", 0)])
def test_noise_has_the_level_that_its_name_says(name: str, decibels: float) -> None:
    clips = SyntheticEvents(train_clips=2, val_clips=2, test_clips=2)
    clips.setup()
    probe = clip_probes.probes(clips.sets["test"])[name]
    rows = {clips.sets["test"].id(i): i for i in range(2)}
    for i in range(2):
        shown, clip = probe[i], clips.sets["test"][rows[probe.id(i)]]
        noise = shown.audio - clip.audio
        measured = 10 * np.log10(np.mean(clip.audio**2) / np.mean(noise**2))
        assert measured == pytest.approx(decibels, abs=0.5)
        assert np.array_equal(probe[i].audio, shown.audio)  # the same in every reading


def test_of_sound_alone_only_the_sound_is_spoilt() -> None:
    assert list(clip_probes.probes(Some("clips", 0, 6), sound_alone=True)) == ["silence", "noise_10_db", "noise_0_db"]


def test_one_clip_has_no_other_sound_and_many_are_drawn() -> None:
    assert "other_sound" not in clip_probes.probes(Some("clips", 0, 1))
    many = clip_probes.probes(Some("clips", 0, 200))["silence"]
    assert len(many) == len({many.id(i) for i in range(len(many))}) == clip_probes.MOST


def test_an_evaluation_measures_them_and_a_training_does_not() -> None:
    class Heard(Tiny):
        def costly_probes(self) -> dict[str, clip_probes.SampleSet]:
            return clip_probes.probes(self.sets["test"])

    loaders = Loaders(Heard(), tiny.pairing(Frozen()), batch_size=2)
    quick, _ = measure(loaders, single_trainer("cpu"))
    assert quick["probes"] == {}
    thorough, _ = measure(loaders, single_trainer("cpu"), thorough=True)
    assert thorough["metrics"].keys() > quick["metrics"].keys()
    assert set(thorough["probes"]) == {"silence", "blank_pictures", "other_sound", "noise_10_db", "noise_0_db"}
    assert quick["metrics"].items() <= thorough["metrics"].items()
