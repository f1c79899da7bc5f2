"""Methods whose trained part is a change of weights: what all of them keep to, and the equations of each."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from small_vit import batch, features, pairing, step
from torch import nn
from torch.nn import functional as F

from zoo.errors import SettingError
from zoo.interop import merged, peft_layout
from zoo.methods.base import Method
from zoo.methods.bitfit import BitFit
from zoo.methods.deltas import by_place
from zoo.methods.frozen import Frozen
from zoo.methods.gse import GSE
from zoo.methods.lora_xs import LoRAXS, vectors
from zoo.methods.olora import OLoRA
from zoo.methods.pissa import PiSSA
from zoo.methods.ssf import SSF

PLACE: dict[str, Any] = {"targets": {"vision": ["attn.proj", "mlp.fc2"]}, "last": {"vision": 2}}
WIDE: dict[str, Any] = {"targets": {"vision": ["norm1", "attn.qkv", "mlp.fc1"]}, "last": {"vision": 2}}

METHODS: dict[str, Callable[[], Method]] = {
    "bitfit": lambda: BitFit(**WIDE),
    "ssf": lambda: SSF(**WIDE),
    "pissa": lambda: PiSSA(**PLACE, rank=4),
    "olora": lambda: OLoRA(**PLACE, rank=4),
    "lora_xs": lambda: LoRAXS(**PLACE, rank=6),
}

COUNTS = {
    "bitfit": 2 * (192 + 576 + 768),
    "ssf": 2 * 2 * (192 + 576 + 768),
    "pissa": 2 * 4 * (192 + 192 + 768 + 192),
    "olora": 2 * 4 * (192 + 192 + 768 + 192),
    "lora_xs": 2 * 2 * 36,
}


@pytest.mark.parametrize("name", METHODS)
def test_it_starts_frozen_learns_merges_and_is_found_again_from_what_it_trained(name: str) -> None:
    frozen = features(pairing(Frozen()))
    model = pairing(METHODS[name]())
    assert torch.equal(features(model), frozen)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    own = [key for key in model.trainable if not key.startswith("task.")]
    assert sum(tensors[key].numel() for key in own) == COUNTS[name]
    assert all(key.startswith("method.") for key in own)
    before = {key: value.clone() for key, value in tensors.items()}
    step(model)
    changed = [key for key, value in before.items() if not torch.equal(tensors[key], value)]
    assert sorted(changed) == sorted(model.trainable)
    learned = features(model)
    assert not torch.allclose(learned, frozen, atol=1e-3)
    torch.testing.assert_close(features(model, [1]), learned[1:], atol=1e-5, rtol=1e-4)
    with model.method.without():
        assert torch.equal(features(model), frozen)
    again = pairing(METHODS[name](), seed=7)
    again.load_trainable(model.trainable_state())
    assert torch.equal(features(again), learned)
    deltas = by_place(model.backbones, model.method.deltas())["vision"]
    plain = pairing(Frozen())
    plain.backbones["vision"].load_state_dict(merged.folded(model.backbones["vision"], deltas))
    torch.testing.assert_close(features(plain), learned, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["pissa", "olora", "lora_xs"])
def test_it_leaves_as_a_lora_that_peft_loads(name: str, tmp_path: Path) -> None:
    from peft import PeftModel

    model = pairing(METHODS[name]())
    step(model)
    deltas = peft_layout.roots(by_place(model.backbones, model.method.deltas())["vision"])["net"]
    peft_layout.write({path: delta.factors for path, delta in deltas.items() if delta.factors}, tmp_path, base="base")
    other = pairing(Frozen())
    PeftModel.from_pretrained(other.backbones["vision"].get_submodule("net"), str(tmp_path))
    torch.testing.assert_close(features(other), features(model), atol=2e-5, rtol=1e-4)


def test_pissa_and_olora_train_as_if_what_they_start_at_had_left_the_weight() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(7, 5, dtype=torch.float64), torch.randn(3, 5)
    for kind in (PiSSA, OLoRA):
        method = kind(targets={}, rank=2)
        layer = nn.Linear(5, 7, bias=False)
        layer.weight.data = weight.float()
        up, down = method.start(weight)
        one = method.update(layer)
        with torch.no_grad():
            one.up.add_(0.3)
            one.down.mul_(1.5)
        rest = (weight - up @ down).float()
        torch.testing.assert_close(layer(x) + one(x), F.linear(x, rest + one.up @ one.down), atol=1e-5, rtol=1e-5)
    u, values, v = torch.linalg.svd(weight)
    up, down = PiSSA(targets={}, rank=2).start(weight)
    torch.testing.assert_close(up @ down, (u[:, :2] * values[:2]) @ v[:2])
    torch.testing.assert_close(up.norm(dim=0), values[:2].sqrt())
    up, down = OLoRA(targets={}, rank=2).start(weight)
    torch.testing.assert_close(up.T @ up, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(up @ down, up @ up.T @ weight)


def test_what_trained_beside_another_start_is_refused() -> None:
    state = pairing(METHODS["pissa"]()).trainable_state()
    with pytest.raises(ValueError, match="olora_up"):
        pairing(METHODS["olora"]()).load_trainable(state)


def test_vectors_of_lora_xs_are_those_of_the_weight_whatever_signs_a_library_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    weight = torch.randn(7, 5, dtype=torch.float64)
    up, down = vectors(weight, 3)
    u, values, v = torch.linalg.svd(weight, full_matrices=False)
    torch.testing.assert_close(up.T @ up, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(down.norm(dim=1), values[:3])
    torch.testing.assert_close(up @ down, (u[:, :3] * values[:3]) @ v[:3])
    signs = torch.tensor([-1.0, 1, -1, 1, 1], dtype=torch.float64)
    monkeypatch.setattr(torch.linalg, "svd", lambda *_, **__: (u * signs, values, signs[:, None] * v))
    for found, expected in zip(vectors(weight, 3), (up, down), strict=True):
        torch.testing.assert_close(found, expected)


def test_scales_and_shifts_reach_the_channels_of_every_kind_of_layer() -> None:
    model = tiny.pairing(SSF(targets={"audio": ["conv1"], "vision": ["1"]}))
    before = {key: value.detach().clone() for key, value in model(tiny.batch(0)).items()}
    with torch.no_grad():
        for scale in model.method.scales.values():
            scale.mul_(1.3)
        for shift in model.method.shifts.values():
            shift.add_(0.2)
    found = model(tiny.batch(0))
    for name, deltas in by_place(model.backbones, model.method.deltas()).items():
        plain = tiny.pairing(Frozen(streams=["audio", "vision"]))
        plain.backbones[name].load_state_dict(merged.folded(model.backbones[name], deltas))
        assert not torch.allclose(found[name], before[name], atol=1e-3)
        torch.testing.assert_close(plain(tiny.batch(0))[name], found[name], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_what_is_computed_anew_from_a_weight_is_the_same_on_other_processors(tmp_path: Path) -> None:
    code = "import sys, torch, test_weight_methods as own; torch.save(own.answers(), sys.argv[1])"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "found.pt")], env=environment, check=True)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, expected in answers().items():
        torch.testing.assert_close(found[name], expected, atol=1e-4, rtol=1e-4, msg=name)


def answers() -> dict[str, torch.Tensor]:
    """By method, features with the same trained tensors."""
    found = {}
    published = {"gse": lambda: GSE(**PLACE, start="published")}
    for name, make in {**METHODS, **published}.items():
        model, generator = pairing(make()), torch.Generator().manual_seed(3)
        state = {
            key: (torch.rand(each.shape, generator=generator) - 0.5) / 5
            for key, each in model.trainable_state().items()
        }
        model.load_trainable(state)
        found[name] = features(model)
    return found


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (PiSSA(**PLACE, rank=200), r"method\.rank = 200: a weight of \(192, 192\) has no such rank"),
        (LoRAXS(**PLACE, rank=200), r"method\.rank = 200: a weight of \(192, 192\) has no such rank"),
        (BitFit(targets={"vision": ["attn.q"]}), r"'attn\.q' matches no layer; it has .*'norm1'"),
        (SSF(targets={"sound": ["norm1"]}), r"method\.targets\.sound: the recipe's backbones have the towers"),
        (SSF(targets=WIDE["targets"], last={"vision": 99}), r"method\.last\.vision = 99: expected 1 to 12, the blocks"),
        (SSF(targets=WIDE["targets"], last={"vision": 0}), r"method\.last\.vision = 0: expected 1 to 12, the blocks"),
    ],
)
def test_what_cannot_be_is_said_before_training(method: Method, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        pairing(method)


def test_a_shift_without_a_bias_to_take_it_is_not_folded() -> None:
    model = pairing(SSF(**WIDE))
    model.backbones["vision"].net.blocks[-1].mlp.fc1.bias = None
    model(batch())
    with pytest.raises(SettingError, match="vision/11/mlp_fc1 has no bias for its shift"):
        model.method.deltas()
