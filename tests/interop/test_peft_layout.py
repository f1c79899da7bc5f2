"""LoRA in PEFT's layout: written as `peft` writes it, read by `peft` itself, and read back."""

import json
from pathlib import Path
from typing import Any

import export_tiny
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from zoo import export as zoo_export
from zoo import import_peft
from zoo.adapter import directory
from zoo.backbones.timm_vit import TimmViT
from zoo.interop import export as interop_export
from zoo.interop import peft_import, peft_layout, peft_reading
from zoo.interop.peft_import import settings
from zoo.interop.peft_layout import CONFIG, TENSORS, PeftError

TARGETS = ["attn.qkv", "mlp.fc1"]


def vit() -> TimmViT:
    return TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=32)


def by_peft(folder: Path, **changes: Any) -> nn.Module:
    """A LoRA on timm's model that `peft` made and wrote; the adapted model."""
    from peft import LoraConfig, get_peft_model

    layers = [f"blocks.{block}.{layer}" for block in (10, 11) for layer in TARGETS]
    chosen: dict[str, Any] = {"r": 3, "lora_alpha": 6, "target_modules": layers}
    made = get_peft_model(vit().net, LoraConfig(**chosen | {"init_lora_weights": False} | changes))
    made.save_pretrained(str(folder))
    model: nn.Module = made.eval()
    return model


@pytest.mark.parametrize("streams", [["vision"], ["vision", "audio"]])
def test_peft_loads_what_is_written_onto_the_same_module_and_gives_the_same(streams: list[str], tmp_path: Path) -> None:
    from peft import PeftModel

    whole = export_tiny.config()
    targets = {stream: export_tiny.LORA["targets"][stream] for stream in streams}  # type: ignore[index]
    config = export_tiny.config(method={**export_tiny.LORA, "targets": targets, "last": {"vision": 2}})
    pairing = export_tiny.moved(config)
    folders = peft_layout.write_all(pairing, config, tmp_path)
    assert {stream: (root, path.name) for (stream, root), path in folders.items()} == {
        stream: ("net", stream) for stream in streams
    }
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        plain = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32).eval()
        plain.load_state_dict(vit().net.state_dict())
        before = plain(image)
        loaded = PeftModel.from_pretrained(plain, str(tmp_path / "vision"))
        adapted: nn.Module = pairing.backbones["vision"].net  # type: ignore[assignment]
        assert torch.equal(loaded(image), adapted(image))
        assert not torch.allclose(loaded(image), before, atol=1e-2)
    assert whole.backbones.vision.source in json.loads((tmp_path / "vision" / CONFIG).read_text()).values()


def test_the_export_is_checked_through_peft_itself(tmp_path: Path) -> None:
    config = export_tiny.config()
    record = interop_export.export(
        config, export_tiny.moved(config), export_tiny.samples(config), tmp_path / "out", "peft", tolerance=1e-5
    )
    assert record["parity"]["peft_max_abs"] <= 1e-5
    assert [(each["backbone"], each["module"]) for each in record["folders"]] == [("vision", "net"), ("audio", "net")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "SHA256SUMS",
        "audio",
        "export.json",
        "head.safetensors",
        "recipe.yaml",
        "vision",
    ]


def test_the_files_are_those_that_peft_writes(tmp_path: Path) -> None:
    by_peft(tmp_path / "theirs")
    loaded = peft_reading.read(tmp_path / "theirs")
    method, state = settings({"": loaded}, {"vision": vit()})
    pairing = export_tiny.moved(export_tiny.config(method=method))
    own = pairing.trainable_state()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
    peft_layout.write_all(pairing, export_tiny.config(), tmp_path / "ours")
    ours, theirs = (load_file(tmp_path / place / TENSORS) for place in ("ours/vision", "theirs"))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    configs = [json.loads((tmp_path / place / CONFIG).read_text()) for place in ("ours/vision", "theirs")]
    assert set(configs[0]) == set(configs[1])
    same = ("peft_type", "r", "lora_alpha", "bias", "use_dora", "use_rslora", "inference_mode", "peft_version")
    assert [configs[0][key] for key in same] == [configs[1][key] for key in same]


@pytest.mark.parametrize("rslora", [False, True])
def test_a_folder_of_peft_becomes_our_method_and_gives_the_same(rslora: bool, tmp_path: Path) -> None:
    theirs = by_peft(tmp_path, use_rslora=rslora)
    method, state = settings({"": peft_reading.read(tmp_path)}, {"vision": vit()})
    assert method["targets"] == {"vision": TARGETS}
    assert method["last"] == {"vision": 2}
    pairing = export_tiny.moved(export_tiny.config(method=method))
    head = {name: t for name, t in pairing.trainable_state().items() if name.startswith("task.")}
    pairing.load_trainable(state | head, source="peft")
    image = torch.randn(2, 3, 32, 32)
    ours: nn.Module = pairing.backbones["vision"].net  # type: ignore[assignment]
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), atol=1e-6 if rslora else 0, rtol=0)


@pytest.mark.slow
def test_an_adapter_survives_the_way_out_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = export_tiny.config()
    before = export_tiny.saved(config, tmp_path / "mine")
    words = [f"adapter={tmp_path / 'mine'}", f"output={tmp_path / 'peft'}", "format=peft"]
    assert zoo_export.main(words) == 0
    assert import_peft.main([f"folder={tmp_path / 'peft'}", f"output={tmp_path / 'back'}"]) == 0
    assert f"adapter: {tmp_path / 'back'}" in capsys.readouterr().out
    _, after = directory.load(tmp_path / "back")
    state = after.trainable_state()
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.trainable_state().items())
    record = json.loads((tmp_path / "back" / "metrics.json").read_text())
    assert record["n"] == 3
    assert record["manifest"]["recipe"] == "tb_ava"


@pytest.mark.slow
def test_without_a_head_a_new_one_is_made_and_said(tmp_path: Path) -> None:
    by_peft(tmp_path / "theirs")
    _, pairing, record, notes = peft_import.convert(tmp_path / "theirs", export_tiny.config(), "tb_ava", None)
    assert "cannot be verified" in notes[0]
    assert "the head is new and untrained" in notes[1]
    assert record["manifest"]["notes"] == notes
    assert pairing.method.rank == 3


def test_an_exported_lora_of_other_weights_is_refused(tmp_path: Path) -> None:
    config = export_tiny.config()
    peft_layout.write_all(export_tiny.moved(config), config, tmp_path)
    with pytest.raises(PeftError, match="was trained on another vision and audio"):
        peft_import.convert(tmp_path, config, "tb_ava", {})


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["norm"]}, "modules_to"),
    ],
)
def test_a_variant_of_lora_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    by_peft(tmp_path, **change)
    with pytest.raises(PeftError, match=f"{said}.*only plain LoRA"):
        peft_reading.read(tmp_path)


def test_tensors_beside_the_updates_and_half_a_pair_are_refused(tmp_path: Path) -> None:
    by_peft(tmp_path)
    tensors = load_file(tmp_path / TENSORS)
    save_file(tensors | {"base_model.model.head.weight": torch.ones(2)}, tmp_path / TENSORS)
    with pytest.raises(PeftError, match=r"more than LoRA's A and B: base_model\.model\.head\.weight"):
        peft_reading.read(tmp_path)
    save_file(dict(list(tensors.items())[1:]), tmp_path / TENSORS)
    with pytest.raises(PeftError, match=r"blocks\.10\.attn\.qkv has no pair of A and B of rank 3"):
        peft_reading.read(tmp_path)


def test_pickled_weights_and_damaged_files_are_refused(tmp_path: Path) -> None:
    by_peft(tmp_path)
    (tmp_path / TENSORS).rename(tmp_path / "adapter_model.bin")
    with pytest.raises(PeftError, match=r"no adapter_model\.safetensors \(pickled weights are not read\)"):
        peft_reading.read(tmp_path)
    (tmp_path / TENSORS).write_bytes(b"12345678nonsense")
    with pytest.raises(PeftError, match="is damaged"):
        peft_reading.read(tmp_path)


def test_layers_that_no_backbone_has_or_that_differ_between_blocks_are_refused(tmp_path: Path) -> None:
    by_peft(tmp_path)
    loaded = peft_reading.read(tmp_path)
    with pytest.raises(PeftError, match=r"none of the backbones other have"):
        settings({"": loaded}, {"other": nn.Linear(1, 1)})  # type: ignore[dict-item]
    del loaded.layers["blocks.11.mlp.fc1"]
    with pytest.raises(PeftError, match="block 11 of vision has other layers updated than block 10"):
        settings({"": loaded}, {"vision": vit()})


def test_a_folder_that_is_nothing_of_peft_or_was_altered_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PeftError, match="nothing that PEFT wrote"):
        peft_import.found(tmp_path)
    by_peft(tmp_path)
    (tmp_path / "SHA256SUMS").write_text("0  adapter_model.safetensors\n")
    with pytest.raises(PeftError, match="was altered"):
        peft_import.found(tmp_path)


def test_a_folder_without_recipe_asks_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        import_peft.main([f"folder={tmp_path}", f"output={tmp_path / 'out'}"])
    assert "has no recipe.yaml: say recipe=NAME" in capsys.readouterr().err


def test_a_backbone_of_several_modules_gets_a_folder_for_each() -> None:
    update: Any = object()
    paths = {"net.model.layers.0.q_proj": update, "vision.net.blocks.0.attn.qkv": update, "layers.1": update}
    assert peft_layout.roots(paths) == {
        "net": {"model.layers.0.q_proj": update},
        "vision.net": {"blocks.0.attn.qkv": update},
        "": {"layers.1": update},
    }
    assert [peft_layout.folder_name("vlm", root) for root in ("net", "vision.net", "")] == ["vlm", "vlm-vision", "vlm"]
