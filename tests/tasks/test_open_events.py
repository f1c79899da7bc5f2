"""Events by name: logits by formula, other names can be asked for, and what is background does not hang on them."""

from collections.abc import Sequence

import pytest
import tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.metrics.names import CALIBRATION
from zoo.metrics.ov_ave import OFFICIAL, means, trivial_baselines, video_scores
from zoo.pairing import Pairing
from zoo.tasks.open_events import OpenEvents

CLASSES = ["bell", "dog", "race_car"]
OTHERS = ["dog", "storm", "church bell", "engine", "wind"]


class Meaning(tiny.TinyText):
    """Vectors with a large common part, as those of short texts have."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(super().encode(texts) + 1, dim=-1)


def pairing(task: OpenEvents) -> Pairing:
    torch.manual_seed(0)
    encoders = {"audio": tiny.TinyAudio(), "vision": tiny.TinyVision()}
    return Pairing(encoders, Frozen(), task, classes=CLASSES, text=Meaning()).eval()


def batch(model: Pairing, **target: Tensor) -> Batch:
    clips = [tiny.clip(index) for index in range(4)]
    inputs = {name: torch.stack([e.transform(clip) for clip in clips]) for name, e in model.backbones.items()}
    segments = torch.arange(4 * len(clips[0].frames)).reshape(4, -1) % (len(CLASSES) + 1)
    return Batch(ids=[clip.id for clip in clips], inputs=inputs, target={"segments": segments, **target})


def test_probabilities_are_the_formula() -> None:
    model = pairing(OpenEvents(temperature=0.2))
    with torch.no_grad():
        features = model(batch(model))
        found = model.task.predict(features, batch(model))
        out = model.task.head(features).double()
    names = Meaning().encode([name.replace("_", " ") for name in CLASSES]).double()
    cosine = F.cosine_similarity(out[..., None, :-1], names - names.mean(0), dim=-1)
    quiet = out[..., -1:].sigmoid()
    expected = torch.cat([(1 - quiet) * (cosine / 0.2).softmax(-1), quiet], dim=-1)
    torch.testing.assert_close(found["probabilities"].double(), expected, atol=1e-6, rtol=0)
    for segments, row in zip(found["segments"].flatten(), expected.flatten(0, 1), strict=True):
        assert segments == (3 if row[3] >= 0.5 else row[:3].argmax())


def test_the_loss_trains_the_head_and_its_temperature_alone() -> None:
    model = pairing(OpenEvents())
    model.losses(batch(model))["task"].backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved == {name for name in model.trainable if "metrics" not in name}
    assert {"task.log_scale", "task.head.body.0.weight"} <= moved
    assert not [name for name in moved if "anchors" in name or name.startswith("backbones.")]


def test_what_is_background_does_not_hang_on_the_names() -> None:
    model = pairing(OpenEvents(hidden=None))
    with torch.no_grad():
        model.task.head.body.weight[-1] *= 5  # segments on either side
        own = model.predict(batch(model))
        with model.naming(OTHERS, Meaning()):
            assert model.task.names == [*OTHERS, "background"]
            found = model.predict(batch(model))
            answer = model.task.answer({name: value[0] for name, value in found.items()})
    quiet = own["segments"] == len(CLASSES)
    assert quiet.any()
    assert not quiet.all()
    assert torch.equal(found["segments"] == len(OTHERS), quiet)
    torch.testing.assert_close(found["probabilities"][..., -1], own["probabilities"][..., -1])
    assert set(answer["segments"]) <= {*OTHERS, "background"}
    chosen = found["probabilities"][0].gather(-1, found["segments"][0][:, None])[:, 0]
    assert answer["probability"] == pytest.approx(chosen.tolist(), abs=1e-6)
    assert model.task.names == [*CLASSES, "background"]
    assert torch.equal(model.predict(batch(model))["segments"], own["segments"])


def test_a_name_that_was_trained_has_the_same_anchor_among_others() -> None:
    task = pairing(OpenEvents()).task
    dog = task.anchors[CLASSES.index("dog")]
    with task.naming(OTHERS, Meaning()):
        torch.testing.assert_close(task.anchors[OTHERS.index("dog")], dog)
        with pytest.raises(ZeroDivisionError), task.naming(["a", "b"], Meaning()):
            raise ZeroDivisionError
        assert task.names[:-1] == OTHERS


def test_it_counts_by_seen_and_unseen_classes() -> None:
    model, unseen = pairing(OpenEvents(monitor="event_f1")), torch.tensor([False, True, True, False])
    whole = batch(model, unseen=unseen)
    with torch.no_grad():
        predicted = model.predict(whole)
    for rows in (slice(0, 3), slice(3, 4)):
        part = Batch(ids=whole.ids[rows], inputs={}, target={k: v[rows] for k, v in whole.target.items()})
        model.task.update({name: value[rows] for name, value in predicted.items()}, part)
    scores = video_scores(predicted["segments"], whole.target["segments"], len(CLASSES))
    metrics = model.task.compute()
    assert {name: metrics[name] for name in means(scores, unseen)} == pytest.approx(means(scores, unseen))
    assert {"event_f1_unseen", "mean_of_three_seen", "foreground_accuracy"} <= set(metrics)
    assert model.task.per_sample().mean() == pytest.approx(metrics["event_f1"])
    baselines = model.task.baselines()
    assert baselines == trivial_baselines(whole.target["segments"], len(CLASSES), unseen)
    assert set(baselines["all_background"]) == set(metrics) - set(CALIBRATION)
    model.task.reset()
    model.task.update(predicted, batch(model))  # of files that do not say
    assert set(OFFICIAL) <= set(model.task.compute())
    assert not [name for name in model.task.compute() if name.endswith("seen")]


def test_controls_and_a_tower_that_is_not_there() -> None:
    rows = [pairing(OpenEvents(text=text)).task.vectors for text in ("class", "shuffled", "random")]
    assert not torch.allclose(rows[0], rows[1])
    assert not torch.allclose(rows[0], rows[2])
    assert {tuple(row) for row in rows[0].tolist()} == {tuple(row) for row in rows[1].tolist()}
    with pytest.raises(SettingError, match="classes by name need a text tower"):
        Pairing({"audio": tiny.TinyAudio()}, Frozen(), OpenEvents(), classes=CLASSES)


def test_candidates_are_all_that_a_clip_is_decided_between_and_background_stays_as_it_is() -> None:
    model = pairing(OpenEvents())
    free = model.predict(batch(model))["probabilities"]
    candidates = torch.tensor([[True, True, False], [False, True, True], [True, True, True], [False, True, True]])
    data = batch(model)
    data.conditions["candidates"] = candidates
    told = model.predict(data)["probabilities"]
    assert not told[..., :3][~candidates[:, None].expand(-1, told.shape[1], -1)].any()
    torch.testing.assert_close(told[..., 3], free[..., 3])
    among = free[..., :3] * candidates[:, None]
    torch.testing.assert_close(told[..., :3], (1 - free[..., 3:]) * among / among.sum(-1, keepdim=True))
