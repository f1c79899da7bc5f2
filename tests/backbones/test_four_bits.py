"""QLoRA on the CPU: the language model alone in four bits, steps that learn, answers on whole weights afterwards."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import vlm_files
import vlm_tiny as tiny
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from zoo.adapter import directory, places
from zoo.adapter.directory import AdapterError
from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.batch import Batch
from zoo.errors import UserError
from zoo.methods.lora import LoRA
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing

pytest.importorskip("bitsandbytes", reason="four bits need bitsandbytes")
names = pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "smolvlm"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: vlm_files.qwen(name, tmp_path_factory.mktemp(name)) for name in ("qwen2_5_vl", "qwen3_vl")}
    return {**made, "smolvlm": vlm_files.smolvlm("smolvlm", tmp_path_factory.mktemp("smolvlm"))}


def quantized(name: str, folders: dict[str, Path], **settings: Any) -> HFVisionLanguage:
    told = {"source": f"file:{folders[name]}", "config": None, "quantize": "4bit", "dtype": "bfloat16"}
    return tiny.model(name, **{**told, **settings})


def asked(model: HFVisionLanguage) -> Batch:
    samples = tiny.pictures()
    questions = [sample.question for sample in samples]
    return Batch(ids=["a", "b", "c"], inputs={"scene": tiny.inputs(model, samples)}, target={}, questions=questions)


@names
def test_four_bits_are_the_language_models_blocks_and_nothing_else(name: str, folders: dict[str, Path]) -> None:
    from bitsandbytes.nn import Linear4bit

    model = quantized(name, folders)
    linear = {id(m) for m in model.net.modules() if isinstance(m, torch.nn.Linear)}
    inside = {id(m) for block in model.towers["language"] for m in block.modules()} & linear
    assert {id(m) for m in model.net.modules() if isinstance(m, Linear4bit)} == inside
    assert len(inside) == 14


@names
@pytest.mark.parametrize("projector", [0.0, 0.1])
def test_steps_of_qlora_start_at_the_base_and_learn(name: str, folders: dict[str, Path], projector: float) -> None:
    model = quantized(name, folders, checkpointing=True)
    data = asked(model)
    before = tiny.likelihood(model, tiny.pictures())
    lora = LoRA(rank=4, alpha=8.0, targets={"language": ["q_proj", "down_proj"]}, projector_lr=projector)
    lora.attach({"scene": model})
    start = lora({"scene": model}, data.inputs, data)["scene"]
    torch.testing.assert_close(start, before, equal_nan=True, rtol=0.02, atol=0.02)  # the projector's copy is float32
    assert projector or torch.equal(start[~start.isnan()], before[~before.isnan()])
    trained = [p for p in [*model.parameters(), *lora.parameters()] if p.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, lr=0.02), []
    for _ in range(4):
        found = lora({"scene": model}, data.inputs, data)["scene"]
        loss = -found[~found.isnan()].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


def recipe(folder: Path, **backbone: Any) -> Any:
    block = {
        "_target_": "zoo.backbones.qwen2_5_vl.Qwen25VL",
        "source": f"file:{folder}",
        "quantize": "4bit",
        "dtype": "bfloat16",
        "max_pixels": tiny.PIXELS,
    }
    return OmegaConf.create(
        {
            "seed": 0,
            "data": {"_target_": "data_modules.rsvqa.RSVQA", "root": "nowhere", "variant": "lr"},
            "loader": {"batch_size": 1, "num_workers": 0},
            "backbones": {"scene": {**block, **backbone}},
            "method": {"_target_": "zoo.methods.lora.LoRA", "targets": {"language": ["q_proj"]}},
            "task": {"_target_": "zoo.tasks.open_vqa.OpenVQA"},
            "optimizer": {
                "_target_": "zoo.training.optimizer.Optimizer",
                "lr": 0.1,
                "weight_decay": 0.0,
                "warmup": 0.0,
            },
            "trainer": {"_target_": "zoo.training.trainer.build_trainer", "max_epochs": 1},
        }
    )


@pytest.fixture
def base(folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(folders["qwen2_5_vl"], tmp_path / "base"))


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    config = recipe(base)
    pairing = build_pairing(config, ["a", "b"], cached=False)
    with torch.no_grad():
        for name, parameter in pairing.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    text = OmegaConf.to_yaml(config)
    return directory.save(pairing, tmp_path / "adapter", recipe=text, metrics={"n": 1}, card=lambda _: "# card\n")


def answers(pairing: Pairing) -> torch.Tensor:
    data = asked(pairing.backbones["scene"])
    with torch.no_grad():
        return pairing.method(pairing.backbones, data.inputs, data)["scene"]


def test_an_adapter_of_four_bits_answers_on_whole_weights_and_says_so(adapter: Path) -> None:
    _, trained = directory.load(adapter)
    assert trained.forced == []
    config, whole = directory.load(adapter, whole=True)
    assert (config.backbones.scene.quantize, config.backbones.scene.dtype) == ("none", "bfloat16")
    assert whole.forced == ["the scene backbone is whole, in bfloat16, and was in four bits when this was trained"]
    state, other = trained.trainable_state(), whole.trainable_state()
    assert state.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in state.items())
    both = answers(trained), answers(whole)
    assert not torch.equal(*(x[~x.isnan()] for x in both))
    torch.testing.assert_close(*both, equal_nan=True, rtol=0.3, atol=0.5)


def test_whole_weights_of_another_base_are_refused(adapter: Path, base: Path) -> None:
    (file,) = base.glob("*.safetensors")
    tensors = load_file(file)
    tensors[sorted(tensors)[0]] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(AdapterError, match="the scene backbone has other weights"):
        directory.load(adapter, whole=True)


def test_nothing_is_made_whole_that_was_whole() -> None:
    with pytest.raises(UserError, match="--unquantized: no backbone of this adapter was trained in four bits"):
        directory.load(places.find_adapter("scale_earth-rsscn7"), whole=True)


def test_the_header_names_the_base_by_its_files(adapter: Path, folders: dict[str, Path]) -> None:
    told = json.loads(directory.read(adapter)[0]["fingerprints"])["scene"]
    model = quantized("qwen2_5_vl", folders)
    assert told == {"weights": model.fingerprint.weights, "settings": model.fingerprint.settings}
    plain = quantized("qwen2_5_vl", folders, quantize="none")
    assert plain.in_four_bits() == model.fingerprint != plain.fingerprint
