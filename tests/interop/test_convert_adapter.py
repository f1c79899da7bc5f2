"""Whole adapters made of official checkpoints by `zoo.convert ... into=DIR`."""

import json
import re
import shutil
from pathlib import Path

import cloud_files
import pytest
import torch
from official_files import CLOSE, SIZES, Official, backbone, classifier, filled, saa
from point_tiny import batch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

import zoo
from data_modules.scanobjectnn import CLASSES as CLASSES_15
from zoo import convert, evaluate, predict, push, reproduce, show
from zoo.adapter import directory, install
from zoo.catalog import card
from zoo.catalog import push as catalog_push
from zoo.demos import heading
from zoo.files import file_hash
from zoo.interop.checkpoints import official

WIDE = filled(backbone() | classifier(classes=15) | saa())
SMALL = [f"backbones.points.{key}={SIZES[key]}" for key in ("width", "depth", "groups", "neighbours")]
HARDEST = ["recipe=mantis_scanobjectnn_hardest", *SMALL, "data.points=64", "loader.num_workers=0"]


def made(tmp_path: Path, *words: str, state: dict[str, Tensor] = WIDE) -> Path:
    """An adapter directory out of a checkpoint."""
    torch.save({"base_model": {f"module.{name}": t for name, t in state.items()}}, tmp_path / "in.pth")
    assert convert.main([f"checkpoint={tmp_path / 'in.pth'}", f"into={tmp_path / 'made'}", *(words or HARDEST)]) == 0
    return tmp_path / "made"


def test_a_whole_adapter_computes_what_the_authors_layout_does_wherever_it_is_moved(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    shutil.move(made(tmp_path), tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    config, pairing = directory.load(Path("moved"))
    assert (config.backbones.points.second_branch, config.backbones.points.compat) == ("sequence", "official")
    data, head = batch(0, 1), Official(WIDE).below("cls_head_finetune.")
    hidden = head.bn("1", F.linear(Official(WIDE).pooled(data.inputs["points"][:, 0]), *head.at("0"))).relu()
    hidden = head.bn("5", F.linear(hidden, *head.at("4"))).relu()
    with torch.no_grad():
        logits = pairing.task.logits(pairing(data), data)
    torch.testing.assert_close(logits, F.linear(hidden, *head.at("8")), **CLOSE)
    again = official(pairing.backbones["points"].net.state_dict(), pairing.trainable_state())
    assert all(torch.equal(again[name], tensor) for name, tensor in WIDE.items())
    (tmp_path / "cloud.txt").write_text("\n".join(f"{k % 7} {k % 5} {k}" for k in range(90)), encoding="utf-8")
    capsys.readouterr()
    assert predict.main(["adapter=moved", "input=cloud.txt"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in CLASSES_15
    model = zoo.load("moved")
    model.save("copy")
    assert zoo.load("copy").predict("cloud.txt").label == model.predict("cloud.txt").label


def test_a_converted_adapter_says_where_it_comes_from_and_no_number_before_one_is_measured(
    tmp_path: Path, capsys
) -> None:
    folder, root = made(tmp_path), cloud_files.scanobjectnn(tmp_path / "data")
    install.inspect(folder)
    digest = file_hash(tmp_path / "in.pth")
    record = json.loads((folder / "metrics.json").read_text())
    assert record["manifest"]["converted"] == {"file": "in.pth", "sha256": digest}
    assert record["metrics"] == {"accuracy": None}
    page = card.read(folder / "README.md")
    assert card.validate(page) == []
    assert "model-index" not in page.front
    assert all(
        word in page.body for word in (digest, "Not by this code", "not measured", "93.48 %", "depends on the batch")
    )
    assert show.main([str(folder)]) == 0
    said = capsys.readouterr().out
    assert "not measured" in said
    assert "converted, not trained" in said
    assert "Not measured" in heading.measured(record)
    out = tmp_path / "out.json"
    assert evaluate.main([f"adapter={folder}", f"data.root={root}", "probes=false", "votes=2", f"output={out}"]) == 0
    said, found = " ".join(capsys.readouterr().out.split()), json.loads(out.read_text())
    assert re.search(r"voted over 2 views \(shuffle, rotate\): accuracy [\d.]+ %, .*; without voting [\d.]+ %", said)
    assert found["voted"]["metrics"].keys() == found["metrics"].keys()
    model = zoo.load(str(folder))
    assert model.evaluate(probes=False, votes=2, root=str(root))["voted"] == found["voted"]
    assert "voted" not in model.evaluate(probes=False, root=str(root))
    assert "its card has no number of this code's" in said
    assert "reported by others: 93.48 % accuracy" in said
    with pytest.raises(SystemExit, match="1"):
        reproduce.main([str(folder)])
    assert "no training of ours" in capsys.readouterr().err
    directory.replace(folder, record, card=card.for_adapter)
    assert directory.load(folder)[1].classes == CLASSES_15
    assert push.main([str(folder), "hf://me/mine", "--dry-run"]) == 0
    assert "a backbone's file, which is not sent" in capsys.readouterr().out
    upload = {one.path: one.content for one in catalog_push.prepared(folder)}
    assert "in.pth" not in upload["README.md"].decode()
    assert digest in upload["README.md"].decode()


def test_an_altered_backbone_of_a_converted_adapter_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path)
    weights = load_file(folder / directory.BACKBONE)
    save_file(weights | {"norm.weight": weights["norm.weight"] + 1}, folder / directory.BACKBONE)
    with pytest.raises(directory.AdapterError, match="the points backbone has other weights"):
        directory.load(folder)


MISFITS = {
    r"missing blocks.2.norm1.weight.*its own settings: .*depth=2": ["recipe=mantis_scanobjectnn_hardest"],
    r"cls_token has shape \[32\], expected \[16\].*width=32$": [
        *HARDEST[:1],
        *SMALL[1:],
        "backbones.points.width=16",
    ],
    r"task.head.8.weight has shape \[15, 256\], expected \[40, 256\]": ["recipe=mantis_modelnet40", *SMALL],
    r"unexpected method.adapters.0.proj.weight.*and \d+ more.*Mantis$": [*HARDEST, "method=frozen"],
    r"bases.0.B has shape \[8, 16\], expected \[4, 16\].*method.rank=8$": [*HARDEST, "method.rank=4"],
    "recipe=tb_ava has no backbones.points": ["recipe=tb_ava"],
    "know their classes from files alone": [*HARDEST, "data=folder"],
}


@pytest.mark.parametrize(("message", "words"), MISFITS.items(), ids=range(len(MISFITS)))
def test_a_recipe_of_another_shape_is_refused_and_nothing_written(
    tmp_path: Path, message: str, words: list[str], capsys
) -> None:
    with pytest.raises(SystemExit, match="1"):
        made(tmp_path, *words)
    out, errors = capsys.readouterr()
    assert re.search(rf"^error: {tmp_path}/in.pth: .*{message}", errors.strip())
    assert (out, errors.count("\n"), [path.name for path in tmp_path.iterdir()]) == ("", 1, ["in.pth"])


def test_an_adapter_is_made_of_a_whole_mantis_alone_and_takes_no_folders_place(tmp_path: Path, capsys) -> None:
    for words, state, message in (
        (HARDEST, filled(backbone()), "a backbone alone"),
        (HARDEST, filled(backbone() | classifier(classes=15)), "missing method.adapters.0.proj.weight"),
        ([*HARDEST, "backbones.points.wdth=3"], WIDE, "unknown key 'backbones.points.wdth'"),
        (HARDEST[1:], WIDE, "missing 'recipe=...', with into="),
        ([*HARDEST, "dtype=float16"], WIDE, "dtype: goes with output="),
    ):
        with pytest.raises(SystemExit):
            made(tmp_path, *words, state=state)
        errors = capsys.readouterr().err
        assert message in errors
        assert errors.count("\n") == 1
    made(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        made(tmp_path)
    assert "exists already" in capsys.readouterr().err
