"""Masks of what sounds: the head with and without sound, losses of labelled pictures alone, and what is counted."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from data_modules.synthetic_sounding_objects import SoundingClips
from zoo.backbones.dinov2 import DINOv2
from zoo.backbones.pixels import Pixels
from zoo.batch import Batch, Clip
from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.methods.tb_ava import TBAVA
from zoo.metrics import avs
from zoo.ops.frame import IGNORE
from zoo.pairing import Pairing
from zoo.tasks.audio_visual_segmentation import SIDE, AudioVisualSegmentation

SIZE = 28


def pairing(method: TBAVA | Frozen | None = None, **settings: object) -> Pairing:
    torch.manual_seed(0)
    encoders = {"vision": DINOv2(source="random:0", image_size=SIZE, blocks=4), "audio": tiny.TinyAudio()}
    task = AudioVisualSegmentation(width=8, hidden=8, **settings)  # type: ignore[arg-type]
    method = TBAVA(rank=2, sites={"vision": [2, 4], "audio": [1, 2]}) if method is None else method
    return Pairing(encoders, method, task, classes=tiny.CLASSES, text=tiny.TinyText())


def clip(index: int, *, unlabelled: tuple[int, ...] = ()) -> Clip:
    """Three pictures; a square of masks in the first two, nothing sounds in the third."""
    rng = np.random.default_rng(index)
    masks = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    masks[:2, 4 + index : 14, 7:21] = 1
    masks[list(unlabelled)] = IGNORE
    return Clip(
        id=f"clip{index}",
        frames=rng.integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8),
        audio=rng.standard_normal((3, 16)).astype(np.float32),
        sample_rate=16,
        target={"masks": masks},
    )


def certain(masks: Tensor) -> dict[str, Tensor]:
    """A prediction that is sure of these masks."""
    return {"masks": masks, "logits": torch.where(masks == 1, 30.0, -30.0)}


def spoken(made: Pairing, *clips: Clip) -> Batch:
    return made.batch(list(clips))


@torch.no_grad()
def test_every_picture_has_a_mask_that_hangs_on_its_own_second_and_on_no_other_clip() -> None:
    made = pairing().eval()
    one, two = clip(0), clip(1)
    found = made.predict(spoken(made, one, two))
    assert found["masks"].shape == found["logits"].shape == (2, 3, SIZE, SIZE)
    alone = made.predict(spoken(made, two))
    torch.testing.assert_close(found["logits"][1:], alone["logits"], atol=1e-5, rtol=1e-5)
    audio = two.audio.copy()
    audio[1] = -audio[1]
    changed = made.predict(spoken(made, replace(two, audio=audio)))["logits"]
    moved = (changed - alone["logits"]).abs().amax((2, 3))[0] > 1e-5
    assert moved.tolist() == [False, True, False]


@torch.no_grad()
def test_the_control_without_sound_hears_nothing_and_has_the_same_head_otherwise() -> None:
    deaf, hearing = pairing(Frozen(streams=("vision",))).eval(), pairing(Frozen()).eval()
    one = clip(0)
    other = replace(one, audio=-one.audio)
    assert "audio" not in deaf.depths
    assert torch.equal(deaf.predict(spoken(deaf, one))["logits"], deaf.predict(spoken(deaf, other))["logits"])
    assert not torch.equal(
        hearing.predict(spoken(hearing, one))["logits"], hearing.predict(spoken(hearing, other))["logits"]
    )
    names = [{name for name in made.trainable if name.startswith("task.")} for made in (deaf, hearing)]
    assert {name.split(".")[2] for name in names[1] - names[0]} == {"film"}
    assert not names[0] - names[1]


@torch.no_grad()
def test_tb_ava_is_the_frozen_encoders_at_first_and_adapts_the_maps_from_its_sites_on() -> None:
    frozen, made = pairing(Frozen()).eval(), pairing().eval()
    data = spoken(made, clip(0))
    before, plain = made(data), frozen(data)
    assert set(before) == set(plain) == {f"vision@{after}" for after in (1, 2, 3, 4)} | {"audio"}
    for key, each in plain.items():
        torch.testing.assert_close(before[key], each, atol=1e-5, rtol=1e-5)
    for name, parameter in made.method.named_parameters():
        if name.endswith("up.weight") and "vision" in name:
            torch.nn.init.normal_(parameter)  # not alike: a norm would take it away
    after = made(data)
    moved = {key for key in before if not torch.allclose(before[key], after[key], atol=1e-4)}
    assert moved >= {"vision@2", "vision@3", "vision@4"}  # a site after block 2 acts before the map that is taken there
    assert "vision@1" not in moved


def test_pictures_without_a_label_change_neither_loss_nor_metric() -> None:
    made = pairing().eval()
    whole, part = spoken(made, clip(0)), spoken(made, clip(0, unlabelled=(1, 2)))
    features = made(whole)
    both = made.task.loss(features, part)
    # Of the first picture alone: the mean of one.
    first = replace(whole, target={"masks": whole.target["masks"][:, :1]})
    firsts = {key: each[:, :1] for key, each in features.items()}
    for name, loss in made.task.loss(firsts, first).items():
        torch.testing.assert_close(both[name], loss)
        assert loss.shape == (1,)
        assert loss > 0
    made.task.update(made.predict(part), part)
    assert sum(len(one) for one in made.task.counted) == 1
    none = spoken(made, clip(0, unlabelled=(0, 1, 2)))
    assert [loss.item() for loss in made.task.loss(features, none).values()] == [0, 0]


def test_a_few_steps_learn_which_of_two_objects_sounds() -> None:
    """On pixels: everything is learned by the head, from what the sound's feature and the map say."""
    torch.manual_seed(0)
    encoders = {"vision": Pixels(image_size=16), "audio": tiny.TinyAudio()}
    task = AudioVisualSegmentation(width=16, hidden=16)
    made = Pairing(encoders, Frozen(), task, classes=tiny.CLASSES).train()
    frames = np.full((2, 16, 16, 3), 128, np.uint8)
    frames[:, 2:7, 2:7] = (255, 0, 0)
    frames[:, 9:14, 9:14] = (0, 0, 255)
    masks = torch.zeros(2, 16, 16, dtype=torch.uint8)
    masks[0, 2:7, 2:7] = masks[1, 9:14, 9:14] = 1
    audio = np.stack([np.ones(16), np.tile([1.0, -1.0], 8)]).astype(np.float32)
    data = made.batch([Clip("both", frames, audio, 16, {"masks": masks})])
    optimizer = torch.optim.AdamW([p for p in made.parameters() if p.requires_grad], lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        made.losses(data)["task"].backward()
        optimizer.step()
    made.eval()
    task.reset()
    task.update(made.predict(data), data)
    assert task.compute()["object_iou"] > 0.9
    silent = replace(data, inputs={**data.inputs, "audio": torch.zeros_like(data.inputs["audio"])})
    task.reset()
    task.update(made.predict(silent), data)
    assert task.compute()["object_iou"] < 0.6


# --- counting ---------------------------------------------------------------------------------------------------------


def counted(*clips: Clip, predicted: Tensor | None = None) -> AudioVisualSegmentation:
    made = pairing().eval()
    for one in clips:
        data = spoken(made, one)
        made.task.update(certain(data.target["masks"] if predicted is None else predicted), data)
    assert isinstance(made.task, AudioVisualSegmentation)
    return made.task


def test_what_is_counted_is_what_the_metric_says_and_clips_add_up_to_it() -> None:
    guess = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    guess[:, :, 4:14, 7:21] = 1
    task = counted(clip(0), clip(3, unlabelled=(1,)), predicted=guess)
    logits = torch.where(guess[0] == 1, 30.0, -30.0)
    truths = [clip(0).target["masks"], clip(3).target["masks"][[0, 2]]]
    parts = [avs.count(logits[: len(truth)], truth == 1) for truth in truths]
    found = task.compute()
    assert found == avs.values(avs.FrameCounts.joined(parts), (5, 20))
    assert found["object_iou"] == pytest.approx((1 + 1 + 0.7) / 3, abs=1e-6)
    assert found["empty_iou"] == pytest.approx(1 - 140 / SIZE**2)
    assert len(task.per_sample()) == 2
    assert float(task.per_sample().mean()) == pytest.approx(found["frame_iou"])
    low, high = task.intervals()["frame_iou"]
    assert low <= found["frame_iou"] <= high
    assert counted(clip(0)).intervals() == {}


def test_trivial_predictors_stand_beside_and_the_mean_training_mask_is_of_training_alone() -> None:
    made = pairing().train()
    data = spoken(made, clip(0), clip(0))
    made.losses(data)
    made.losses(spoken(made, clip(0, unlabelled=(0, 1, 2))))
    made.eval()
    made.task.loss(made(data), data)
    assert float(made.task.masks_seen) == 6
    made.task.update(certain(data.target["masks"]), data)
    found = made.task.baselines()
    assert set(found) == {"nothing", "everything", "usual_mask"}
    assert found["nothing"]["frame_iou"] == pytest.approx(1 / 3)
    assert found["everything"]["empty_iou"] == 0
    # Two masks of three are the same square, whose cells are all as frequent.
    assert 0.8 < found["usual_mask"]["object_iou"] <= 1
    assert {"task.mask_sum", "task.masks_seen"} <= set(made.trainable_state())
    assert made.task.mask_sum.shape == (SIDE, SIDE)


def test_an_answer_says_what_sounds_where_and_when() -> None:
    task = counted(clip(0))
    masks = clip(0).target["masks"]
    answer = task.answer(certain(masks))
    assert answer["size"] == [SIZE, SIZE]
    assert answer["sounding"][0] == {"share": round(140 / SIZE**2, 6), "box": [7, 4, 14, 10], "probability": 1.0}
    assert answer["sounding"][2] is None


def test_what_cannot_be_done_is_refused_in_one_line() -> None:
    with pytest.raises(
        SettingError, match=r"^task\.audio_visual_segmentation reads maps of backbones\.vision; .* none$"
    ):
        Pairing(tiny.backbones(), Frozen(), AudioVisualSegmentation(), classes=tiny.CLASSES)
    with pytest.raises(SettingError, match=r"no map after blocks \[7\]; it gives maps after blocks 1, 2, 3, 4$"):
        pairing(levels=(7,))
    with pytest.raises(SettingError, match=r"task\.batches = \[0\]"):
        AudioVisualSegmentation(batches=(0,))


def test_drawn_clips_are_what_it_reads() -> None:
    made = pairing().eval()
    samples = SoundingClips("train", 2, seed=0, image_size=56)
    short = replace(samples[0], audio=samples[0].audio[:, :16])
    data = made.batch([short])
    assert data.target["masks"].shape == (1, 5, 56, 56)
    made.task.update(made.predict(data), data)
    assert made.task.compute()["frame_iou"] > 0
