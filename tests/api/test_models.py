"""Several models on one frozen backbone: attached, switched, asked sample by sample, detached."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from sum_tiny import METHODS, adapter, scan

import zoo
from zoo.adapter.one_backbone import slots
from zoo.errors import SettingError
from zoo.tasks.results import Label

NAMES = ("lora", "gpart", "bottleneck", "mantis", "lora_late", "frozen")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: adapter(root / name, *METHODS[name], seed=k) for k, name in enumerate(NAMES)}


@pytest.fixture
def models(made: dict[str, Path]) -> zoo.Models:
    return zoo.together([made[name] for name in ("lora", "gpart", "bottleneck")])


def frozen(model: zoo.Model) -> dict[str, int]:
    """Addresses of its frozen tensors."""
    found = slots(model.pairing.backbones["points"])
    return {name: getattr(module, own).data_ptr() for name, (module, own) in found.items()}


def probabilities(found: Label) -> torch.Tensor:
    return found.output["probabilities"]


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_they_hold_one_backbone_in_memory(made: dict[str, Path], models: zoo.Models) -> None:
    apart = [zoo.load(made[name]) for name in ("lora", "gpart")]
    assert not set(frozen(apart[0]).values()) & set(frozen(apart[1]).values())
    assert frozen(models["lora"]) == frozen(models["gpart"]) == frozen(models["bottleneck"])
    models.attach(f"{made['lora']}+{made['gpart']}")
    assert frozen(models["lora+gpart"]) == frozen(models["lora"])
    models.to("cpu")
    assert frozen(models["lora+gpart"]) == frozen(models["lora"])


def test_moving_them_keeps_one_copy(models: zoo.Models) -> None:
    before = frozen(models["lora"])
    models.to("meta")  # a move that any machine can make
    held = [slots(models[name].pairing.backbones["points"]) for name in models]
    for name in held[0]:
        tensors = [getattr(*each[name]) for each in held]
        assert all(tensor is tensors[0] for tensor in tensors), name
        assert tensors[0].is_meta
    assert set(before) == set(held[0])


def test_switching_changes_who_answers_and_no_frozen_bit(made: dict[str, Path], models: zoo.Models) -> None:
    alone = {name: probabilities(zoo.load(made[name]).predict(scan(0))) for name in models}
    held = slots(models["lora"].pairing.backbones["points"])
    before = {name: getattr(*slot).clone() for name, slot in held.items()}
    assert models.active == "lora"
    for name in ("gpart", "lora", "bottleneck", "gpart", "lora"):
        assert models.switch(name) is models[name]
        assert models.active == name
        close(probabilities(models.predict(scan(0))), alone[name])
    assert all(torch.equal(getattr(*slot), before[name]) for name, slot in held.items())
    assert not torch.allclose(alone["lora"], alone["gpart"], atol=1e-3)


def test_a_detached_one_leaves_nothing_behind(made: dict[str, Path]) -> None:
    models = zoo.together([made["frozen"]])
    before, addresses = probabilities(models.predict(scan(0))), frozen(models["frozen"])
    for name in NAMES[:-1]:
        gone = weakref.ref(models.attach(made[name]).pairing.method)
        assert models.names == ["frozen", name]
        models.predict(scan(0), adapters=name)
        assert torch.equal(probabilities(models.predict(scan(0))), before)
        models.detach(name)
        gc.collect()
        assert gone() is None, name
        assert torch.equal(probabilities(models.predict(scan(0))), before)
    assert frozen(models["frozen"]) == addresses


def test_the_first_may_go_and_the_others_keep_the_backbone(models: zoo.Models) -> None:
    addresses, before = frozen(models["gpart"]), probabilities(models.predict(scan(0), adapters="gpart"))
    models.detach("lora")
    gc.collect()
    assert models.active is None
    with pytest.raises(SettingError, match=r"^no adapter is active: switch to one of gpart, bottleneck$"):
        models.predict(scan(0))
    models.switch("gpart")
    assert frozen(models["gpart"]) == frozen(models["bottleneck"]) == addresses
    assert torch.equal(probabilities(models.predict(scan(0))), before)


def test_an_attached_one_answers_as_before_after_it_was_away(made: dict[str, Path], models: zoo.Models) -> None:
    before = probabilities(models.predict(scan(1), adapters="gpart"))
    models.detach("gpart")
    models.attach(made["gpart"])
    assert models.names == ["lora", "bottleneck", "gpart"]
    close(probabilities(models.predict(scan(1), adapters="gpart")), before)


def test_every_sample_is_answered_by_its_own(made: dict[str, Path]) -> None:
    models = zoo.together({name.upper(): folder for name, folder in made.items()})
    models.attach(f"{made['lora']}+{made['gpart']}", name="SUM")
    names = ["LORA", "SUM", "GPART", "LORA", "FROZEN", "BOTTLENECK", "MANTIS", "LORA_LATE", "SUM", "GPART"]
    scans = [scan(k // 2) for k in range(len(names))]
    for size in (1, 4, 16):
        found = models.predict(scans, adapters=names, batch_size=size)
        assert [one.id for one in found] == [str(k) for k in range(len(names))]
        for name, value, one in zip(names, scans, found, strict=True):
            alone = models[name].predict(value)
            close(probabilities(one), probabilities(alone))
            assert (one.label, one.notes, type(one)) == (alone.label, alone.notes, type(alone))
    assert models.active == "LORA"


LANGUAGE = [
    "method={_target_: zoo.methods.lora.LoRA, rank: 2, targets: {language: [self_attn.q_proj]}, last: {language: 1}}",
    "method={_target_: zoo.methods.gpart.GPart, dim: 60, targets: {language: [self_attn.o_proj]}, last: {language: 1}}",
]
ASKED = {"question": "What is it?", "choices": ["field", "water"]}
KINDS = {"scale_earth": (LANGUAGE, ASKED), "dinov2_cells": (["method.rank=2", "method.last={vision: 1}"], {})}


@pytest.mark.parametrize("recipe", KINDS)
def test_written_answers_and_masks_are_routed_and_added_as_well(recipe: str, tmp_path: Path) -> None:
    each, settings = KINDS[recipe]
    folders = [adapter(tmp_path / f"{k}", word, recipe=recipe, seed=k) for k, word in enumerate(each)]
    models = zoo.together([*folders, f"{folders[0]}+{folders[1]}"])
    picture = np.random.default_rng(0).integers(0, 255, (140, 200, 3), dtype=np.uint8)
    found = models.predict([picture] * 3, adapters=["1", "0+1", "0"], **settings)
    for name, one in zip(("1", "0+1", "0"), found, strict=True):
        alone = models[name].predict(picture, **settings)
        assert {**one.record, "id": ""} == {**alone.record, "id": ""}
    written = [str({**one.record, "id": "", "notes": []}) for one in found]
    assert len(set(written)) > 1  # short answers of random models may be the same
    heads = ", the logits of their 2 heads averaged" if recipe == "dinov2_cells" else ""
    said = f"sum of 0, 1: their updates are added{heads}; no card has a number of it"
    assert [said in one.notes for one in found] == [False, True, False]


def test_a_bad_sample_does_not_stop_the_others(models: zoo.Models, tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", scan(0))
    inputs = [tmp_path / "good.npy", "nowhere.npy", np.zeros((3, 2)), scan(0)]
    found = models.predict(inputs, adapters=["gpart", "lora", "gpart", "lora"])
    assert [bool(one.error) for one in found] == [False, True, True, False]
    assert [one.id for one in found] == [str(tmp_path / "good.npy"), "nowhere.npy", "2", "3"]
    close(probabilities(found[0]), probabilities(models["gpart"].predict(scan(0))))
    close(probabilities(found[3]), probabilities(models["lora"].predict(scan(0))))


def test_what_is_wrong_is_said_in_one_line_and_changes_nothing(
    models: zoo.Models, made: dict[str, Path], tmp_path: Path
) -> None:
    np.save(tmp_path / "one.npy", scan(0))
    np.save(tmp_path / "two.npy", scan(1))
    other = adapter(tmp_path / "other", *METHODS["lora"], "backbones.points.source=random:1")
    wrong = {
        "'mine' is not attached; there are lora, gpart, bottleneck": lambda: models.switch("mine"),
        "'lora+gpart' is not attached; there are lora, gpart, bottleneck; a sum is attached as one more": lambda: (
            models.switch("lora+gpart")
        ),
        "together: expected a list of adapters, or a mapping, got 'lora'": lambda: zoo.together("lora"),
        "'it' is not attached": lambda: models.predict([scan(0)], adapters=["it"]),
        "'them' is not attached": lambda: models.detach("them"),
        "lora is attached already; detach it first, or say name=": lambda: models.attach(made["lora"]),
        "gpart is attached already": lambda: models.attach(made["lora"], name="gpart"),
        "other: its points backbone has other weights than that of lora, gpart, bottleneck": lambda: models.attach(
            other
        ),
        "scale_earth-rsscn7 has the backbones vision, and lora, gpart, bottleneck points: there is nothing to share": (
            lambda: models.attach("scale_earth-rsscn7")
        ),
        "adapters= has 1 names for 2 inputs": lambda: models.predict([scan(0), scan(1)], adapters=["lora"]),
        "adapters= has 1 names for no list of inputs": lambda: models.predict(scan(0), adapters=["lora"]),
        "holds 2 samples; adapters= takes a list of single ones": lambda: models.predict([tmp_path], adapters=["lora"]),
        "batch_size=0: expected a whole number above 0": (
            lambda: models.predict([scan(0)], adapters=["lora"], batch_size=0)
        ),
        "gsd= means nothing to": lambda: models.predict([scan(0)], adapters=["lora"], gsd=3),
    }
    addresses = {name: frozen(models[name]) for name in models}
    for words, act in wrong.items():
        with pytest.raises(zoo.errors.UserError) as caught:
            act()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    assert {name: frozen(models[name]) for name in models} == addresses
    assert (models.names, models.active, len(models)) == (["lora", "gpart", "bottleneck"], "lora", 3)


def test_they_are_shown_with_the_one_that_is_active(models: zoo.Models) -> None:
    models.switch("gpart")
    assert repr(models) == "zoo.Models, * is active\n    lora\n  * gpart\n    bottleneck"
