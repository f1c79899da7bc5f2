"""Tuners of HF peft on frozen encoders: step 0, what trains, what an adapter must hold, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import tiny
import torch
from small_vit import batch, features, pairing, step

from zoo.errors import SettingError
from zoo.interop import merged, peft_layout, peft_reading
from zoo.interop.peft_import import settings
from zoo.interop.peft_layout import CONFIG, SHARING, PeftError
from zoo.methods.deltas import by_place
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.peft import EXACT, PEFT, Tuner

SMALL: dict[str, dict[str, Any]] = {
    "c3a": {"block_size": 64},
    "fourierft": {"n_frequency": 20},
    "gralora": {"r": 4, "gralora_k": 2},
    "oft": {"oft_block_size": 4, "r": 0},
    "vblora": {"vector_length": 64, "num_vectors": 16},
}
"""Settings where the defaults do not fit layers of 192 channels."""

ELSEWHERE = {"fourierft", "c3a", "vblora"}
"""Tuners that draw where they start."""

CONVOLUTIONS = ("lora", "loha", "lokr", "hira")


def tuner(name: Tuner, **settings: Any) -> PEFT:
    return PEFT(
        tuner=name,
        settings=SMALL.get(name, {}) | settings,
        targets={"vision": ["attn.proj", "mlp.fc2"]},
        last={"vision": 2},
    )


@pytest.mark.parametrize("name", get_args(Tuner))
def test_a_tuner_learns_beside_what_is_frozen_and_is_found_again_from_what_it_trained(name: Tuner) -> None:
    frozen = features(pairing(Frozen()))
    model = pairing(tuner(name))
    assert (model.method.start > EXACT) == (name in ELSEWHERE)
    assert ("starts elsewhere" in model.method.describe()) == (name in ELSEWHERE)
    close = torch.allclose(features(model), frozen, atol=1e-5)
    assert close or name in ELSEWHERE
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}  # a shared one once
    kept = {key: value.clone() for key, value in tensors.items() if key not in model.trainable}
    step(model)
    assert [key for key, value in kept.items() if not torch.equal(tensors[key], value)] == []
    learned = features(model)
    assert not torch.allclose(learned, frozen, atol=1e-4)
    torch.testing.assert_close(features(model, [1]), learned[1:], atol=1e-5, rtol=1e-4)
    with model.method.without():
        torch.testing.assert_close(features(model), frozen, atol=1e-6, rtol=1e-6)
    plain = pairing(Frozen())
    plain.backbones["vision"].load_state_dict(
        merged.folded(model.backbones["vision"], by_place(model.backbones, model.method.deltas())["vision"])
    )
    torch.testing.assert_close(features(plain), learned, atol=2e-5, rtol=1e-4)
    assert torch.equal(features(model), learned)  # merging took nothing from the adapter
    again = pairing(tuner(name), seed=7)  # other random numbers
    again.load_trainable(model.trainable_state())
    torch.testing.assert_close(features(again), learned, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", get_args(Tuner))
def test_peft_loads_what_is_written_for_it(name: Tuner, tmp_path: Path) -> None:
    from peft import PeftModel

    model = pairing(tuner(name))
    step(model)
    deltas = peft_layout.roots(by_place(model.backbones, model.method.deltas())["vision"])["net"]
    if name in SHARING:
        with pytest.raises(PeftError, match=f"layers of {name} share vectors; format=merged folds them"):
            peft_layout.write_tuner(model.method, deltas, tmp_path / "folder", base="base")
        return
    peft_layout.write_tuner(model.method, deltas, tmp_path / "folder", base="base")
    other = pairing(Frozen(), seed=7)
    PeftModel.from_pretrained(other.backbones["vision"].get_submodule("net"), str(tmp_path / "folder"))
    torch.testing.assert_close(features(other), features(model), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(get_args(Tuner)) - {*SHARING, "lora"}))
def test_what_peft_wrote_itself_becomes_a_method_that_gives_the_same(name: Tuner, tmp_path: Path) -> None:
    from peft import PeftModel

    net = pairing(Frozen()).backbones["vision"].get_submodule("net")
    paths = [f"blocks.{block}.{layer}" for block in (10, 11) for layer in ("attn.proj", "mlp.fc2")]
    theirs = PeftModel(net, tuner(name).config(paths)).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.requires_grad:
                parameter.add_((torch.rand(parameter.shape, generator=generator) - 0.5) / 10)
    theirs.save_pretrained(str(tmp_path))
    method, state = settings({"": peft_reading.read(tmp_path)}, dict(pairing(Frozen()).backbones.items()))
    assert (method.pop("_target_"), method["tuner"]) == (peft_reading.PEFT, name)
    model = pairing(PEFT(**method), seed=9)
    own = model.trainable_state()
    model.load_trainable({key: state.get(key, value) for key, value in own.items()})
    assert {key for key in own if key.startswith("backbones.")} <= set(state)
    pictures = batch().inputs["vision"][:, 0]
    with torch.no_grad():
        expected = theirs(pictures)
        found = model.backbones["vision"].get_submodule("net")(pictures)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_folders_whose_tensors_mean_nothing_alone_are_refused(tmp_path: Path) -> None:
    model = pairing(tuner("shira"))
    deltas = peft_layout.roots(by_place(model.backbones, model.method.deltas())["vision"])["net"]
    peft_layout.write_tuner(model.method, deltas, tmp_path, base="base")
    config = json.loads((tmp_path / CONFIG).read_text())
    for change, said in (
        ({"random_seed": None}, "without random_seed, what shira drew cannot be found again"),
        ({"peft_type": "VERA"}, "is of vera, which cannot be read; read are lora, loha,"),
        ({"modules_to_save": ["norm"]}, "only a tuner's layers can be read"),
        ({"peft_type": "LOHA"}, r"holds what is not loha's: .*shira_weight"),
    ):
        (tmp_path / CONFIG).write_text(json.dumps(config | change))
        with pytest.raises(PeftError, match=said):
            peft_reading.read(tmp_path)


@pytest.mark.parametrize("name", get_args(Tuner))
def test_a_layer_may_be_called_with_maps(name: Tuner) -> None:
    model = pairing(tuner(name))
    step(model)
    layer = model.method.wrapped()[0]
    tokens = torch.randn(2, 3, 5, 192)
    torch.testing.assert_close(layer(tokens), layer(tokens.flatten(1, 2)).unflatten(1, (3, 5)), atol=1e-6, rtol=1e-5)


def test_lora_is_the_methods_own() -> None:
    targets = {"vision": ["attn.proj", "mlp.fc2"]}
    own = pairing(LoRA(rank=4, alpha=8, targets=targets, last={"vision": 2}))
    other = pairing(tuner("lora", r=4, lora_alpha=8))
    assert own.trainable == other.trainable
    other.load_trainable(own.trainable_state())
    step(own)
    step(other)
    assert torch.equal(features(own), features(other))
    assert own.method.prefix_depths() == other.method.prefix_depths() == {"vision": 10}


@pytest.mark.slow
def test_what_a_tuner_draws_and_does_not_keep_is_the_same_on_other_processors(tmp_path: Path) -> None:
    code = "import sys, torch, test_peft_tuners as own; torch.save(own.answers(), sys.argv[1])"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "found.pt")], env=environment, check=True)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, expected in answers().items():
        torch.testing.assert_close(found[name], expected, atol=1e-4, rtol=1e-4, msg=name)


def answers() -> dict[str, torch.Tensor]:
    """By tuner, features with the same trained tensors."""
    found = {}
    for name in get_args(Tuner):
        model, generator = pairing(tuner(name)), torch.Generator().manual_seed(3)
        state = model.trainable_state()
        model.load_trainable(
            {key: (torch.rand(each.shape, generator=generator) - 0.5) / 5 for key, each in state.items()}
        )
        found[name] = features(model)
    return found


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_an_audio_encoder(name: Tuner) -> None:
    frozen = tiny.pairing(Frozen(streams=["audio"]))
    model = tiny.pairing(PEFT(tuner=name, targets={"audio": ["conv1"]}))
    expected = frozen(tiny.batch(0))["audio"]
    torch.testing.assert_close(model(tiny.batch(0))["audio"], expected)
    tiny.train_steps(model, steps=2)
    assert not torch.allclose(model(tiny.batch(0))["audio"], expected, atol=1e-3)


def test_ia3_scales_inputs_of_the_layers_that_are_named() -> None:
    model = pairing(tuner("ia3", feedforward_modules=["mlp.fc2"]))
    layers = dict(zip((place.path for place in model.method.adapted), model.method.wrapped(), strict=True))
    assert {path: layer.is_feedforward for path, layer in layers.items()} == {"attn.proj": False, "mlp.fc2": True}


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (
            tuner("lora", rank=4),
            r"method\.settings\.rank: peft's lora has no such setting\. Known: .*, r, ",
        ),
        (tuner("lora", r="four"), r"method\.settings\.r: expected int, got 'four' \(str\)"),
        (tuner("lora", target_modules=["qkv"]), "targets and last say where the tuner acts"),
        (tuner("lora", bias="all"), r"method\.settings\.bias: targets and last say"),
        (tuner("lora", lora_dropout=0.1), "frozen backbones stay in evaluation mode, where dropout does nothing"),
        (tuner("lora", init_lora_weights="pissa"), "it changes the frozen weight of vision, block 10: attn.proj"),
        (
            tuner("c3a", block_size=100),
            r"method\.tuner = c3a: The block size should be a factor .* block 10: attn",
        ),
        (
            PEFT(tuner="oft", settings={"oft_block_size": 4, "r": 0}, targets={"audio": ["conv1"]}),
            r"method\.tuner = oft: audio, block 0: conv1 is a convolution over more than one place",
        ),
        (PEFT(targets={"vision": ["attn.q"]}), "'attn.q' matches no layer; it has"),
        (
            PEFT(targets={"audio": ["conv1"]}),
            r"method\.targets\.audio: the recipe's backbones have the towers",
        ),
    ],
)
def test_what_cannot_be_is_said_before_training(method: PEFT, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        (tiny.pairing if "conv1" in words else pairing)(method)
