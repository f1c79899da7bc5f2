"""Vision-language models merge: updates and a trained projector go into a folder that transformers itself reads."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import vlm_files
import vlm_tiny
from omegaconf import DictConfig, OmegaConf

from zoo.backbones import hf_weights
from zoo.batch import Batch
from zoo.interop import export, peft_layout
from zoo.interop.graph import ExportError
from zoo.interop.peft_layout import PeftError
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose

CLASSES = {
    "qwen2_5_vl": "zoo.backbones.qwen2_5_vl.Qwen25VL",
    "qwen3_vl": "zoo.backbones.qwen3_vl.Qwen3VL",
    "smolvlm": "zoo.backbones.smolvlm.SmolVLM",
}


def base(name: str, folder: Path) -> Path:
    """A tiny model in transformers' layout."""
    made = vlm_files.smolvlm(name, folder) if name == "smolvlm" else vlm_files.qwen(name, folder)
    return Path(made)


def recipe(name: str, source: str, **settings: Any) -> DictConfig:
    """LoRA on both towers, the projector beside it unless said otherwise."""
    vision = "attn.proj" if name.startswith("qwen") else "self_attn.out_proj"
    method = {
        "_target_": "zoo.methods.lora.LoRA",
        "rank": 2,
        "targets": {"vision": [vision], "language": ["self_attn.q_proj", "mlp.down_proj"]},
        "projector_lr": 0.1,
    }
    plain: Any = OmegaConf.to_container(compose("lora_rsvqa", ["data.root=/nowhere"]))
    backbones = {"vlm": {"_target_": CLASSES[name], "source": source, **settings}}
    made: DictConfig = OmegaConf.create({**plain, "backbones": backbones, "method": method, "cache": None})
    return made


def moved(config: DictConfig) -> Pairing:
    """The pairing, everything trained away from its start."""
    pairing = build_pairing(config, [], cached=False)
    with torch.no_grad():
        for index, tensor in enumerate(pairing.trainable_state().values()):
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(index)))
    return pairing.eval()


def answers(pairing: Pairing, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        (found,) = pairing(batch).values()
    return found.nan_to_num()


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_merged_answers_as_the_adapter_does_and_is_a_folder_of_transformers(name: str, tmp_path: Path) -> None:
    config = recipe(name, f"file:{base(name, tmp_path / 'base')}")
    pairing, samples = moved(config), vlm_tiny.pictures()
    before = {key: tensor.clone() for key, tensor in pairing.backbones.state_dict().items()}
    record = export.export(config, pairing, samples, tmp_path / "out", "merged", tolerance=1e-4)
    assert record["files"] == ["vlm"]
    assert record["parity"]["merge_max_abs"] < 1e-4
    assert all(torch.equal(before[key], tensor) for key, tensor in pairing.backbones.state_dict().items())
    frozen = {**OmegaConf.to_container(config), "method": {"_target_": "zoo.methods.frozen.Frozen"}}  # type: ignore[dict-item]
    found = {}
    for which, folder in (("merged", tmp_path / "out" / "vlm"), ("base", tmp_path / "base")):
        frozen["backbones"] = {"vlm": {"_target_": CLASSES[name], "source": f"file:{folder}"}}
        plain = build_pairing(OmegaConf.create(frozen), [], cached=False).eval()
        found[which] = answers(plain, plain.batch(samples))
    expected = answers(pairing, pairing.batch(samples))
    torch.testing.assert_close(found["merged"], expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found["base"], expected, atol=1e-2)
    own, theirs = (json.loads((tmp_path / each / "config.json").read_text()) for each in ("out/vlm", "base"))
    assert [own[key] for key in ("model_type", "architectures")] == [
        theirs[key] for key in ("model_type", "architectures")
    ]
    files = [{path.name for path in (tmp_path / each).iterdir()} for each in ("out/vlm", "base")]
    assert files[0] == files[1]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", vlm_tiny.NAMES)
def test_every_architecture_comes_back_from_its_folder_with_tied_words_and_without(
    name: str, tied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Processor:
        def save_pretrained(self, folder: Path) -> None:
            (folder / "processor_config.json").write_text("{}")

    monkeypatch.setattr(hf_weights, "processor_of", lambda source: Processor())
    net = vlm_tiny.model(name).net
    for config in (net.config, net.config.text_config):
        config.tie_word_embeddings = tied
    net = type(net)(net.config)
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    hf_weights.save(net, state, "random:0", tmp_path / "out")
    found, info = type(net).from_pretrained(tmp_path / "out", output_loading_info=True, dtype=torch.float32)
    assert not info["missing_keys"]
    own = found.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[key], tensor) for key, tensor in state.items())


def test_bfloat16_weights_stay_so_and_the_difference_is_recorded(tmp_path: Path) -> None:
    config = recipe("qwen3_vl", f"file:{base('qwen3_vl', tmp_path / 'base')}", dtype="bfloat16")
    pairing = moved(config)
    record = export.export(config, pairing, vlm_tiny.pictures(), tmp_path / "out", "merged", tolerance=1.0)
    assert 0 < record["parity"]["merge_max_abs"] < 1
    assert json.loads((tmp_path / "out" / "vlm" / "config.json").read_text())["dtype"] == "bfloat16"
    with pytest.raises(ExportError, match=r"differs from the adapter by .* more than the tolerance of 1e-06"):
        export.export(config, pairing, vlm_tiny.pictures(), tmp_path / "more", "merged", tolerance=1e-6)
    assert not (tmp_path / "more").exists()


def test_a_trained_projector_has_no_place_in_pefts_layout(tmp_path: Path) -> None:
    config = recipe("qwen3_vl", f"file:{base('qwen3_vl', tmp_path / 'base')}")
    with pytest.raises(PeftError, match="is changed by other means than two matrices"):
        peft_layout.write_all(moved(config), config, tmp_path / "out")
