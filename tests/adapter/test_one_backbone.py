"""Pairings of methods of every kind on one copy of the frozen tensors, which nobody writes to."""

import copy
import gc
import weakref
from pathlib import Path

import pytest
import sum_tiny
import tiny
import torch
from sum_tiny import METHODS, adapter, features
from torch import Tensor, nn

from zoo.adapter import directory
from zoo.adapter.one_backbone import share, slots, unlike
from zoo.backbones.base import Backbone
from zoo.backbones.fingerprint import Fingerprint
from zoo.errors import SettingError
from zoo.methods.deltas import plain_state
from zoo.methods.frozen import Frozen
from zoo.methods.tb_ava import TBAVA
from zoo.pairing import Pairing


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: adapter(root / name, *words, seed=k) for k, (name, words) in enumerate(METHODS.items())}


def loaded(folder: Path) -> Pairing:
    return directory.load(folder)[1]


def held(backbone: Backbone) -> dict[str, Tensor]:
    """The tensors themselves, where no method is attached."""
    return {name: getattr(module, own) for name, (module, own) in slots(backbone).items()}


def test_every_frozen_tensor_is_the_same_object_and_every_answer_as_before(made: dict[str, Path]) -> None:
    models = {name: loaded(folder) for name, folder in made.items()}
    alone = {name: features(model) for name, model in models.items()}
    first = models["frozen"].backbones["points"]
    before = {name: tensor.clone() for name, tensor in held(first).items()}
    assert set(before) >= set(plain_state(first))
    for name, model in models.items():
        if name != "frozen":
            assert not any(one is held(first)[key] for key, one in held(model.backbones["points"]).items())
            share(model, {"points": first}, name=name, others="frozen")
    for name, model in models.items():
        own = held(model.backbones["points"])
        assert own.keys() == before.keys()
        assert all(tensor is held(first)[key] for key, tensor in own.items()), name
        # Together, one after the other: what one method does to its modules is not seen by another.
        torch.testing.assert_close(features(model), alone[name], atol=1e-6, rtol=1e-5)
    assert all(torch.equal(tensor, before[key]) for key, tensor in held(first).items())
    different = [alone[name] for name in alone if name not in ("frozen", "mantis")]
    assert all(not torch.allclose(each, alone["frozen"], atol=1e-3) for each in different)


def test_what_was_its_own_is_freed(made: dict[str, Path]) -> None:
    first = loaded(made["frozen"])
    for name in METHODS:
        model = loaded(made[name])
        own = [weakref.ref(tensor) for tensor in held(model.backbones["points"]).values()]
        share(model, first.backbones, name=name, others="frozen")
        gc.collect()
        assert [ref for ref in own if ref() is not None] == [], name


def test_a_pairing_that_goes_leaves_the_frozen_outputs_exactly(made: dict[str, Path]) -> None:
    frozen = loaded(made["frozen"])
    before = features(frozen)
    for name in METHODS:
        model = loaded(made[name])
        share(model, frozen.backbones, name=name, others="frozen")
        features(model)
        assert torch.equal(features(frozen), before), name
        del model
        gc.collect()
        assert torch.equal(features(frozen), before), name


def test_streams_are_shared_one_by_one() -> None:
    both, other = tiny.pairing(TBAVA(rank=4)), tiny.pairing(Frozen())
    assert not any(a is b for a, b in zip(both.parameters(), other.parameters(), strict=False))
    share(other, {"audio": both.backbones["audio"]}, name="other", others="both")
    same = {
        n: all(held(both.backbones[n])[k] is t for k, t in held(other.backbones[n]).items()) for n in both.backbones
    }
    assert same == {"vision": False, "audio": True}


def test_another_backbone_is_refused_and_nothing_is_changed() -> None:
    one, other = tiny.pairing(Frozen()), tiny.pairing(Frozen())
    with torch.no_grad():
        other.backbones["audio"].stages[1].conv1.bias[0] += 1e-3  # after its fingerprint was taken
    before = {name: held(backbone) for name, backbone in other.backbones.items()}
    with pytest.raises(SettingError, match=r"^other: its audio backbone has other weights than that of one \([^\n]*$"):
        share(other, one.backbones, name="other", others="one")
    for name, tensors in before.items():
        assert all(tensor is held(other.backbones[name])[key] for key, tensor in tensors.items())
    with pytest.raises(
        SettingError, match=r"^other has the backbones vision, audio, and one points: there is nothing to"
    ):
        share(other, {"points": sum_tiny.batch}, name="other", others="one")  # type: ignore[dict-item]


@pytest.mark.parametrize("change", ["settings", "weights", "tensor", "type"])
def test_what_differs_is_named(change: str) -> None:
    one, other = tiny.TinyVision(), tiny.TinyVision()
    assert unlike(one, other) == ""
    if change == "settings":
        other.fingerprint = Fingerprint(other.fingerprint.weights, "others")
    if change == "weights":
        other = tiny.TinyVision(seed=1)
    if change == "tensor":
        other.register_buffer("more", torch.zeros(1), persistent=False)
    if change == "type":
        other = copy.deepcopy(other).bfloat16()
    assert unlike(one, other) == ("settings" if change == "settings" else "weights")


def test_one_hash_of_both_must_be_the_same() -> None:
    """Of format 1, whose fingerprints do not tell settings from weights."""
    one, other = tiny.TinyVision(), tiny.TinyVision()
    one.fingerprint, other.fingerprint = Fingerprint("a"), Fingerprint("b")
    assert unlike(one, other) == "settings"
    other.fingerprint = Fingerprint("a")
    assert unlike(one, other) == ""


def test_fingerprints_of_two_formats_are_of_one_backbone_where_its_tensors_are() -> None:
    one, other = tiny.TinyVision(), tiny.TinyVision()
    one.fingerprint = Fingerprint("as format 2 has it", other.fingerprint.settings)
    assert unlike(one, other) == ""


def test_tied_tensors_stay_tied() -> None:
    one, other = tiny.TinyVision(), tiny.TinyVision()
    for each in (one, other):
        each.layers[1] = nn.Sequential(each.layers[0][0], each.layers[0][1], nn.GELU())
    models = [
        Pairing({"vision": each}, Frozen(), tiny.EventLocalization(hidden=8), classes=["a"]) for each in (one, other)
    ]
    share(models[1], models[0].backbones, name="b", others="a")
    assert other.layers[1][1].weight is other.layers[0][1].weight is one.layers[0][1].weight
