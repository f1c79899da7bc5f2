"""An open vocabulary: what the names of classes bring, by formula, and that other names can be asked for."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.tasks.open_vocabulary import OpenVocabulary

WORDS = ("hum", "bark", "bell ring", "wind")
CLASSES = ["bell", "dog", "car"]


class Knowing(tiny.TinyAudio):
    """An encoder whose classifier scores four names."""

    vocabulary = WORDS

    def scores(self, pooled: Tensor) -> Tensor:
        return torch.sigmoid(pooled[..., : len(WORDS)])


class Meaning(tiny.TinyText):
    """Vectors with a large common part, as those of short texts have."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(super().encode(texts) + 1, dim=-1)


def pairing(task: OpenVocabulary, audio: tiny.TinyAudio | None = None, text: Any = None) -> Pairing:
    torch.manual_seed(0)
    encoders = {"audio": audio or Knowing()}
    return Pairing(encoders, Frozen(), task, classes=CLASSES, text=text or Meaning()).eval()


def batch(model: Pairing, **conditions: Tensor) -> Batch:
    clips = [tiny.clip(index) for index in range(4)]
    inputs = {"audio": torch.stack([model.backbones["audio"].transform(clip) for clip in clips])}
    return Batch(
        ids=[clip.id for clip in clips],
        inputs=inputs,
        target={"label": torch.tensor([0, 1, 2, 1])},
        conditions=conditions,
    )


def expected(model: Pairing, classes: list[str], tau: float) -> np.ndarray:
    """Probabilities of the prior alone, written out."""
    words, names = (Meaning().encode(texts).double().numpy() for texts in (WORDS, classes))
    centre = words.mean(0)
    words, names = ((v - centre) / np.linalg.norm(v - centre, axis=1, keepdims=True) for v in (words, names))
    with torch.no_grad():
        scores = model.backbones["audio"].scores(model(batch(model))["audio"]).mean(1).double().numpy()
    relevance = np.zeros((len(scores), len(classes)))
    for k in range(len(classes)):
        weights = np.exp([word @ names[k] / tau for word in words])
        relevance[:, k] = scores @ (weights / weights.sum())
    return relevance / relevance.sum(1, keepdims=True)  # softmax of a logarithm


def test_the_prior_is_the_formula_and_needs_no_training() -> None:
    model = pairing(OpenVocabulary(learned=False, tau=0.5))
    assert {name: p.shape for name, p in model.named_parameters() if p.requires_grad} == {
        "task.weights.audio": torch.Size([])
    }
    with torch.no_grad():
        found = model.predict(batch(model))["probabilities"]
    np.testing.assert_allclose(found.numpy(), expected(model, CLASSES, 0.5), atol=1e-6)


def test_the_learned_part_is_a_cosine_at_a_temperature() -> None:
    model = pairing(OpenVocabulary(prior=False, temperature=0.2))
    features = model(batch(model))
    logits = model.task.logits(features, batch(model))
    mapped = model.task.head({"audio": features["audio"].mean(1)})
    names = Meaning().encode(CLASSES)
    cosine = F.cosine_similarity(mapped[:, None], (names - names.mean(0))[None], dim=-1)
    torch.testing.assert_close(logits, 5 * cosine)
    loss = model.losses(batch(model))["task"]
    loss.backward()
    assert model.task.log_scale.grad is not None
    assert all(parameter.grad is None for parameter in model.backbones.parameters())


def test_candidates_are_all_that_a_sample_is_decided_between() -> None:
    model = pairing(OpenVocabulary())
    free = model.predict(batch(model))["probabilities"]
    candidates = torch.tensor([[True, True, False], [False, True, True], [True, True, True], [False, True, True]])
    told = model.predict(batch(model, candidates=candidates))["probabilities"]
    assert not told[~candidates].any()
    torch.testing.assert_close(told, free * candidates / (free * candidates).sum(1, keepdim=True))
    assert all(bool(term.isfinite().all()) for term in model.losses(batch(model, candidates=candidates)).values())


def test_other_names_are_told_apart_within_and_its_own_afterwards() -> None:
    model = pairing(OpenVocabulary(learned=False, tau=0.5))
    others = ["dog_bark", "church bell", "storm", "engine"]
    before = model.predict(batch(model))["probabilities"]
    with model.naming(others, Meaning()), torch.no_grad():
        assert model.classes == model.task.names == others
        found = model.predict(batch(model))
        assert set(model.task.answer({name: value[0] for name, value in found.items()})["likely"]) < set(others)
    names = ["dog bark", *others[1:]]  # as a text tower is told
    np.testing.assert_allclose(found["probabilities"].numpy(), expected(model, names, 0.5), atol=1e-6)
    assert model.classes == model.task.names == CLASSES
    assert torch.equal(model.predict(batch(model))["probabilities"], before)
    state = model.trainable_state()
    assert not [name for name in state if "anchors" in name or "near" in name or name.startswith("backbones.")]


def test_an_error_within_leaves_its_own_names() -> None:
    model = pairing(OpenVocabulary())
    with pytest.raises(ZeroDivisionError), model.naming(["a", "b"], Meaning()):
        raise ZeroDivisionError
    assert model.classes == model.task.names == CLASSES


@pytest.mark.parametrize("count", range(2, 8))
def test_shuffled_gives_no_class_its_own_name(count: int) -> None:
    names = [f"class {number}" for number in range(count)]
    for seed in range(10):
        own, others = (
            OpenVocabulary(text=text, seed=seed)._encoded(Meaning(), names) for text in ("class", "shuffled")
        )
        assert not any(torch.equal(one, other) for one, other in zip(own, others, strict=True))
        assert {tuple(row) for row in own.tolist()} == {tuple(row) for row in others.tolist()}


def test_controls_change_the_prediction_and_random_ones_follow_the_seed() -> None:
    found = [
        pairing(OpenVocabulary(learned=False, tau=0.5, text=text, seed=seed))
        for text, seed in (("class", 0), ("shuffled", 0), ("random", 0), ("random", 1), ("random", 0))
    ]
    rows = [model.predict(batch(model))["probabilities"] for model in found]
    assert all(not torch.allclose(one, other) for one, other in itertools.combinations(rows[:4], 2))
    assert torch.equal(rows[2], rows[4])


def test_what_cannot_be_is_refused_in_one_line() -> None:
    with pytest.raises(SettingError, match=r"task\.learned and task\.prior are both false"):
        OpenVocabulary(learned=False, prior=False)
    with pytest.raises(SettingError, match=r"no vocabulary in the backbones audio; set task\.prior: false"):
        pairing(OpenVocabulary(), tiny.TinyAudio())
    with pytest.raises(SettingError, match="needs a text tower"):
        Pairing({"audio": Knowing()}, Frozen(), OpenVocabulary(), classes=CLASSES)
    with pytest.raises(SettingError, match="gives 3 features of audio, whose classifier reads 6"):
        OpenVocabulary().attach({"audio": 3}, CLASSES, text=Meaning(), encoders={"audio": Knowing()})
    fixed = Pairing({"audio": Knowing()}, Frozen(), Classification(hidden=()), classes=CLASSES)
    refused = pytest.raises(SettingError, match="its classes are those that it was trained on")
    with refused, fixed.naming(["a", "b"], Meaning()):
        pytest.fail("it was asked for other classes")
