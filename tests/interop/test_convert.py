"""Official checkpoints, made up here name by name from the authors' modules, under our names and back."""

import re
from pathlib import Path

import pytest
import torch
from official_files import (
    CLASSES,
    CLOSE,
    KINDS,
    OFFICIAL,
    PARTS,
    SIZES,
    C,
    Official,
    backbone,
    classifier,
    filled,
    layer,
    saa,
)
from point_tiny import batch, clouds
from safetensors.torch import load_file
from torch.nn import functional as F

from zoo import convert
from zoo.adapter import directory
from zoo.backbones.mamba3d import Mamba3D
from zoo.interop.checkpoints import official, split
from zoo.methods.mantis import Mantis
from zoo.methods.point_mae import PointMAE
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.tasks.part_segmentation import PartSegmentation
from zoo.tasks.reconstruction import Reconstruction


def converted(tmp_path: Path, checkpoint: object, *words: str) -> Path:
    torch.save(checkpoint, tmp_path / "in.pth")
    assert convert.main([f"checkpoint={tmp_path / 'in.pth'}", f"output={tmp_path / 'out.safetensors'}", *words]) == 0
    return tmp_path / "out.safetensors"


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_bit_equal(kind: str) -> None:
    state = filled(KINDS[kind])
    found = split(state)
    assert bool(found.trainable) == (kind != "backbone")
    again = official(found.backbone, found.trainable)
    assert again.keys() == state.keys()
    assert all(again[n].dtype == t.dtype and torch.equal(again[n], t) for n, t in state.items())


def test_a_converted_backbone_computes_what_the_authors_layout_does(tmp_path: Path, capsys) -> None:
    state = filled(KINDS["backbone"])
    path = converted(tmp_path, {"base_model": state})
    encoder = Mamba3D(source=f"file:{path}", **SIZES, compat="official")
    assert all(torch.equal(t, split(state).backbone[name]) for name, t in encoder.net.state_dict().items())
    assert rb'"architecture":"{\"width\": 32, \"depth\": 2, \"states\": 16}"' in path.read_bytes()[:200]
    tokens = encoder.embed(clouds(0, 1)[:, 0])
    for block in encoder.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(
        encoder.pool(encoder.finish(tokens)), Official(state).pooled(clouds(0, 1)[:, 0]), **CLOSE
    )
    assert "dropped 0 tensors; set to zero, for want of one: nothing" in capsys.readouterr().out


def test_a_mantis_checkpoint_classifies_as_in_the_authors_layout(tmp_path: Path, capsys) -> None:
    state = filled(KINDS["classification"])
    path = converted(tmp_path, {"base_model": {f"module.{name}": t for name, t in state.items()}})
    encoder = Mamba3D(source=f"file:{path}", **SIZES, **OFFICIAL)
    pairing = Pairing({"points": encoder}, Mantis(), Classification(), classes=CLASSES).eval()
    pairing.load_trainable(load_file(path.with_suffix(".adapter.safetensors")), source="the file")
    data, head = batch(0, 1), Official(state).below("cls_head_finetune.")
    pooled = Official(state).pooled(data.inputs["points"][:, 0])
    with torch.no_grad():
        features = pairing(data)
        torch.testing.assert_close(features["points"][:, 0], pooled, **CLOSE)
        hidden = head.bn("1", F.linear(pooled, *head.at("0"))).relu()
        hidden = head.bn("5", F.linear(hidden, *head.at("4"))).relu()
        torch.testing.assert_close(pairing.task.logits(features, data), F.linear(hidden, *head.at("8")), **CLOSE)
    said = capsys.readouterr().out
    words = ('"second_branch": "sequence"', '"compat": "official"', f'"width": {C}', '"rank": 8', '"hidden": 64')
    assert all(word in said for word in words)


def test_a_training_step_under_official_compatibility_is_the_authors(tmp_path: Path) -> None:
    """Each of the three orders is a batch with its own first sample and deviation; with one batch of all it is not."""
    state = filled(KINDS["classification"])
    path = converted(tmp_path, {"base_model": state})
    data, trained = batch(0, 1, 2), [n for n in state if re.search("saa_|head.*(weight|bias)$", n)]
    theirs = Official(state | {name: state[name].clone().requires_grad_() for name in trained})
    expected = theirs.loss(data.inputs["points"][:, 0], data.target["label"])
    expected.backward()
    encoder = Mamba3D(source=f"file:{path}", **SIZES, **OFFICIAL)
    pairing = Pairing({"points": encoder}, Mantis(drop_path=0.0), Classification(dropout=0.0), classes=CLASSES)
    pairing.load_trainable(load_file(path.with_suffix(".adapter.safetensors")), source="the file")
    pairing.train()
    loss = sum(pairing.losses(data).values())
    torch.testing.assert_close(loss, expected, **CLOSE)
    loss.backward()
    gradients = {n: p.grad for n, p in pairing.named_parameters() if p.grad is not None}
    ours = official({}, gradients)
    assert ours.keys() == {*trained}
    beside_norm = {"cls_head_finetune.0.bias", "cls_head_finetune.4.bias"}  # whose gradients are zero but for rounding
    for name, gradient in ours.items():
        scale = theirs[name].grad.abs().max()
        assert name in beside_norm or (gradient - theirs[name].grad).abs().max() <= 1e-3 * scale, name


def test_a_part_segmentation_checkpoint_fits_a_pairing(tmp_path: Path) -> None:
    path = converted(tmp_path, {"model": filled(KINDS["part segmentation"])})
    encoder = Mamba3D(source=f"file:{path}", **SIZES, **OFFICIAL, taps=(0, 1))
    task = PartSegmentation(propagation=(4 * C, 1024))
    pairing = Pairing({"points": encoder}, Mantis(), task, classes=PARTS)
    pairing.load_trainable(load_file(path.with_suffix(".adapter.safetensors")), source="the file")


@pytest.mark.parametrize("top", ["model", "base_model"])
@pytest.mark.parametrize("prefix", ["module.MAE_encoder.", "MAE_encoder.", "base_model."])
def test_a_pretraining_checkpoint(tmp_path: Path, top: str, prefix: str, capsys) -> None:
    state = {name: t for name, t in filled(KINDS["backbone"]).items() if not name.startswith("cls_")}
    decoder = layer("MAE_decoder.norm", 4) | {"mask_token": [1, 1, 4]} | layer("increase_dim.0", 9, 4, 1)
    stored = {f"{prefix}{name}": t for name, t in state.items()}
    stored |= {"module." * prefix.startswith("module.") + name: t for name, t in filled(decoder).items()}
    path = converted(tmp_path, {top: stored, "optimizer": [torch.ones(2)]}, "dtype=float16", "class_token=zeros")
    said = capsys.readouterr().out
    assert "dropped 5 tensors (MAE_decoder 2, increase_dim 2, mask_token 1)" in said
    assert "set to zero, for want of one: cls_token, cls_pos" in said
    net = Mamba3D(source=f"file:{path}", **SIZES).net.state_dict()
    assert not torch.cat([net["cls_token"], net["cls_pos"]]).any()
    assert all(torch.equal(t.half(), net[n].half()) for n, t in split(state, class_token=True).backbone.items())
    assert not path.with_suffix(".adapter.safetensors").exists()


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


WHOLE = filled(KINDS["classification"])
WRONG = {
    "missing blocks.blocks.1.mixer.D_b$": {"model": {n: t for n, t in WHOLE.items() if "1.mixer.D_b" not in n}},
    "norm.weight is missing": {"model": {"conv1.weight": torch.ones(3)}},
    "left over prompt_pos$": {"model": WHOLE | {"prompt_pos": torch.ones(3)}},
    r"left over x10; left over x11; and 3 more$": {"model": WHOLE | {f"x{k}": torch.ones(1) for k in range(15)}},
    r"cls_pos \[32\], expected \[1, 1, 32\]$": {"model": WHOLE | {"cls_pos": torch.ones(C)}},
    "expected a network under one of the keys .* found .'epoch', 'net'": {"epoch": 1, "net": WHOLE},
    "found a Tensor without keys": torch.ones(3),
    r"adapters in blocks \[0\] of 2": {"model": filled(backbone() | classifier() | saa(blocks=[0]))},
    "norm.bias is there twice": {"model": WHOLE | {"module.norm.bias": torch.ones(C)}},
    "'epoch', a int, is no dense tensor": {"model": WHOLE | {"epoch": 3}},
    "not finite as float32: cls_pos$": {"model": WHOLE | {"cls_pos": torch.full((1, 1, C), torch.nan)}},
    "missing cls_token; class_token=zeros": {"model": {n: t for n, t in WHOLE.items() if n != "cls_token"}},
    "cannot be loaded safely": {"model": WHOLE, "metrics": Evil()},
}


@pytest.mark.parametrize(("message", "checkpoint"), WRONG.items(), ids=range(len(WRONG)))
def test_a_wrong_file_is_refused_and_nothing_written(tmp_path: Path, message: str, checkpoint: object, capsys) -> None:
    with pytest.raises(SystemExit, match="1"):
        converted(tmp_path, checkpoint)
    out, errors = capsys.readouterr()
    assert re.search(rf"^error: {tmp_path}/in.pth.*{message}", errors.strip())
    assert (out, errors.count("\n"), [path.name for path in tmp_path.iterdir()]) == ("", 1, ["in.pth"])


def test_the_backbone_of_a_pretraining_run(tmp_path: Path, capsys) -> None:
    encoder = Mamba3D(source="random:0", **SIZES)
    pairing = Pairing({"points": encoder}, PointMAE(decoder_depth=1), Reconstruction(), classes=CLASSES)
    folder = directory.save(pairing, tmp_path / "run", recipe="a: 1\n", metrics={}, card=lambda _: "# Card\n")
    path = tmp_path / "net.safetensors"
    assert convert.main([f"adapter={folder}", f"output={path}"]) == 0
    assert re.search(
        r"dropped \d+ tensors \(decoder \d+, mask_token 1, norm 2, positions 4, rebuild 2\)", capsys.readouterr().out
    )
    loaded = Mamba3D(source=f"file:{path}", **SIZES).net.state_dict()
    assert all(torch.equal(t, loaded[name]) for name, t in pairing.method.student.state_dict().items())
    (folder / "recipe.yaml").write_text("a: 2\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="1"):
        convert.main([f"adapter={folder}", f"output={path}"])


def test_a_wrong_command_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        convert.main(["checkpoint=a", "adapter=b", f"output={tmp_path}/no/a.bin", "dtype=int8", "class_token=ones"])
    assert len(capsys.readouterr().err.splitlines()) == 4
