"""What is exported gives what the adapter gives, or nothing is left behind."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import export_tiny
import numpy as np
import point_tiny
import pytest
import scale_tiny
import tiny
import torch
import vlm_tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.backbones.small_llava import SmallLLaVA
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.export import main
from zoo.files import file_hash
from zoo.interop import export as interop_export
from zoo.interop import merged
from zoo.interop.graph import ExportError, Parity, compare, run_onnx, run_torch, to_onnx, to_torch
from zoo.interop.language_graph import NextToken, graph_of
from zoo.methods.deltas import low_rank
from zoo.methods.gse import GSE
from zoo.methods.mantis import Mantis
from zoo.methods.scale_earth import ScaleEarth
from zoo.methods.tb_ava import TBAVA
from zoo.pairing import Pairing
from zoo.records import provenance
from zoo.tasks.multiple_choice import MultipleChoice
from zoo.tasks.part_segmentation import PartSegmentation


def away(pairing: Pairing) -> Pairing:
    """From the start, where methods are silent."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in pairing.trainable_state().items():
            if not name.endswith(("low", "high", "running_var", "num_batches_tracked")):
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)
    return pairing.eval()


def tb_ava() -> tuple[Pairing, Batch]:
    return tiny.pairing(TBAVA(rank=4)), tiny.batch(0, 1, 2, 3)


def experts() -> tuple[Pairing, Batch]:
    return tiny.pairing(GSE(targets={"vision": ["1"]}, rank=4, experts=4)), tiny.batch(0, 1, 2, 3)


def mantis() -> tuple[Pairing, Batch]:
    return point_tiny.pairing(Mantis(rank=4), depth=2), point_tiny.batch(0, 1, 2, 3)


def parts() -> tuple[Pairing, Batch]:
    task = PartSegmentation(propagation=(8,), hidden=(8, 8), label_width=4)
    pairing = point_tiny.pairing(Mantis(rank=4), task, classes=point_tiny.PARTS, depth=2, taps=(0, 1))
    return pairing, point_tiny.batch(0, 1, 2, 3)


def scale_earth() -> tuple[Pairing, Batch]:
    return scale_tiny.encoder(trust=9.0), scale_tiny.pictures(0.3, math.nan, 10.0, 2.0)


def words() -> tuple[Pairing, Batch]:
    model = SmallLLaVA(vision="random:0", language="random:0", projector="random:0", image_size=28)
    method = ScaleEarth(targets={"language": ["self_attn.q_proj", "mlp.up_proj"]}, rank=6)
    pairing = Pairing({"vlm": model}, method, MultipleChoice(), classes=["a"])
    asked = [*vlm_tiny.pictures(), vlm_tiny.picture(3, (40, 40))]
    gsd = (0.3, math.nan, 10.0, 2.0)
    return pairing, pairing.batch(
        [replace(picture, conditions={"gsd": torch.tensor(value)}) for picture, value in zip(asked, gsd, strict=True)]
    )


MADE = {
    "tb_ava": tb_ava,
    "experts": experts,
    "mantis": mantis,
    "parts": parts,
    "scale_earth": scale_earth,
    "words": words,
}


def parity(made: Callable[[], tuple[Pairing, Batch]], folder: Path, *, onnx: bool) -> Parity:
    """Of a file's output on batches of 1, 2 and 4 samples."""
    pairing, batch = made()
    graph = graph_of(away(pairing))
    whole = graph.inputs(batch)
    inputs = [{name: tensor[-size:] for name, tensor in whole.items()} for size in (1, 2, 4)]
    if "mask" in whole:  # a shorter prompt
        inputs[0] |= {name: whole[name][-1:, int((1 - whole["mask"][-1]).sum()) :] for name in ("tokens", "mask")}
    with torch.no_grad():
        expected = [graph(each) for each in inputs]
    if onnx:
        to_onnx(graph, inputs[-1], list(expected[0]), folder / "model.onnx")
        return compare(expected, run_onnx(folder / "model.onnx", inputs))
    to_torch(graph, inputs[-1], folder / "model.pt2")
    return compare(expected, run_torch(folder / "model.pt2", inputs))


@pytest.mark.parametrize("name", [n if n == "tb_ava" else pytest.param(n, marks=pytest.mark.slow) for n in MADE])
def test_an_exported_program_gives_what_the_pairing_gives_at_any_batch_size(name: str, tmp_path: Path) -> None:
    found = parity(MADE[name], tmp_path, onnx=False)
    assert found.sizes == (1, 2, 4)
    assert found.max_abs < 1e-5
    assert found.decisions == 0


@pytest.mark.parametrize("name", [n if n == "tb_ava" else pytest.param(n, marks=pytest.mark.slow) for n in MADE])
def test_onnx_runtime_gives_what_the_pairing_gives_at_any_batch_size(name: str, tmp_path: Path) -> None:
    found = parity(MADE[name], tmp_path, onnx=True)
    assert found.sizes == (1, 2, 4)
    assert found.max_abs < 1e-5
    assert found.decisions == 0


def test_a_model_whose_pictures_differ_in_shape_is_no_graph() -> None:
    with pytest.raises(ExportError, match=r"backbones\.vlm reads pictures that differ in shape"):
        NextToken(scale_tiny.reader("qwen3_vl", {"language": ["q_proj"]}))


# --- folding ----------------------------------------------------------------------------------------------------------


@given(
    kind=st.sampled_from(["linear", "conv1d", "conv2d"]),
    widths=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    rank=st.integers(1, 5),
    scaling=st.floats(0.1, 4.0),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_a_folded_layer_gives_what_layer_and_update_give_together(
    kind: str, widths: tuple[int, int], rank: int, scaling: float, seed: int
) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(seed)
    made: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
        "linear": lambda: (nn.Linear(*widths), torch.randn(3, widths[0])),
        "conv1d": lambda: (nn.Conv1d(*widths, 3, padding=1), torch.randn(2, widths[0], 5)),
        "conv2d": lambda: (nn.Conv2d(*widths, 3), torch.randn(2, widths[0], 5, 5)),
    }
    layer, x = made[kind]()
    backbone = nn.ModuleDict({"layer": layer, "other": nn.Linear(2, 2)})
    lora: Any = {"r": rank, "lora_alpha": scaling * rank, "target_modules": ["layer"]}
    inject_adapter_in_model(LoraConfig(**lora, init_lora_weights=False), backbone)
    wrapped: Any = backbone["layer"]
    update = low_rank(wrapped, wrapped.lora_A.default.weight, wrapped.lora_B.default.weight, scaling)
    state = merged.folded(backbone, {"layer": update})  # type: ignore[arg-type]
    plain = made[kind]()[0]
    plain.load_state_dict({name.removeprefix("layer."): t for name, t in state.items() if name.startswith("layer.")})
    torch.testing.assert_close(plain(x), wrapped(x), atol=1e-5, rtol=1e-5)
    assert set(state) == {"layer.weight", "layer.bias", "other.weight", "other.bias"}


def test_merged_weights_load_as_a_plain_backbone_and_give_the_same_answers(tmp_path: Path) -> None:
    config = export_tiny.config()
    pairing = export_tiny.moved(config)
    record = interop_export.export(config, pairing, export_tiny.samples(config), tmp_path / "out", "merged")
    assert record["parity"]["merge_max_abs"] < 1e-5
    assert record["files"] == ["vision.safetensors", "audio.safetensors"]
    plain = merged.rebuild(config, pairing, {})
    job = interop_export.Job(config, pairing, [pairing.batch(export_tiny.samples(config))], tmp_path, None)
    assert compare(job.expected(), job.expected(plain)).max_abs > 1e-2  # the adapter is no small matter
    for stream, prefix in (("vision", ""), ("audio", "embedding_net.")):
        names = {f"{prefix}{name}" for name in plain.backbones[stream].net.state_dict()}  # type: ignore[union-attr]
        assert set(load_file(tmp_path / "out" / f"{stream}.safetensors")) == names


def test_updates_behind_gates_are_folded_at_the_one_scale_that_is_given(tmp_path: Path) -> None:
    method = {
        "_target_": "zoo.methods.scale_earth.ScaleEarth",
        "targets": {"vision": ["attn.qkv"]},
        "last": {"vision": 2},
        "estimate": False,
    }
    whole = export_tiny.config()
    config = export_tiny.config(
        backbones={"vision": whole.backbones.vision},
        method=method,
        data={"_target_": "data_modules.synthetic_scenes.SyntheticScenes", "test_questions": 3},
        task={"_target_": "zoo.tasks.classification.Classification", "hidden": []},
    )
    pairing, pictures = export_tiny.moved(config), export_tiny.samples(config)
    with pytest.raises(SettingError, match="say gsd=METRES"):
        interop_export.export(config, pairing, pictures, tmp_path / "out", "merged")
    record = interop_export.export(config, pairing, pictures, tmp_path / "out", "merged", gsd=0.7)
    assert record["parity"]["merge_max_abs"] < 1e-5
    weights = [pairing.method.deltas(gsd=gsd)[0].dense()["weight"] for gsd in (0.7, 7.0)]
    assert not torch.allclose(*weights)


@pytest.mark.parametrize(("name", "why"), [("tb_ava", "both streams"), ("mantis", "every token makes")])
@pytest.mark.parametrize("form", ["merged", "peft"])
def test_what_depends_on_the_input_is_not_folded(name: str, why: str, form: str, tmp_path: Path) -> None:
    pairing, _ = MADE[name]()
    job = interop_export.Job(export_tiny.config(), pairing, [], tmp_path, None)
    with pytest.raises(SettingError, match=f"cannot be folded into frozen weights: .*{why}"):
        interop_export.FORMATS[form][1](job)
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_that_loads_no_file_is_not_merged(tmp_path: Path) -> None:
    from zoo.methods.lora import LoRA

    pairing = tiny.pairing(LoRA(targets={"vision": ["1"]}))
    with pytest.raises(ExportError, match=r"backbones\.vision loads no file of plain tensors"):
        merged.write(pairing, tmp_path)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_difference_above_the_tolerance_leaves_nothing_behind(tmp_path: Path) -> None:
    config = export_tiny.config()
    pairing = export_tiny.moved(config)
    with pytest.raises(ExportError, match="more than the tolerance of 1e-12; nothing was written"):
        interop_export.export(config, pairing, export_tiny.samples(config), tmp_path / "out", "merged", tolerance=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote_and_lists_every_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_tiny.saved(export_tiny.config(), tmp_path / "mine")
    words = [f"adapter={tmp_path / 'mine'}", f"output={tmp_path / 'out'}", "format=merged", "tolerance=1e-5"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "batches of 1, 2, 4; no labels differ" in told
    assert "zoo.parity.merge_max_abs" in told
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert record["adapter"]["sha256"] == file_hash(tmp_path / "mine" / "adapter.safetensors")
    assert record["recipe"] == "tb_ava"
    assert record["parity"]["tolerance"] == 1e-5
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    listed = [line.split("  ") for line in (tmp_path / "out" / "SHA256SUMS").read_text().splitlines()]
    files = {"export.json", "vision.safetensors", "audio.safetensors", "head.safetensors"}
    assert {name for _, name in listed} == files
    assert all(file_hash(tmp_path / "out" / name) == digest for digest, name in listed)
    with pytest.raises(SystemExit, match="1"):
        main(words)
    assert "exists already" in capsys.readouterr().err


@pytest.mark.slow
def test_what_an_export_says_of_its_command_names_no_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_tiny.saved(export_tiny.config(), tmp_path / "mine")
    words = [f"adapter={tmp_path / 'mine'}", f"output={tmp_path / 'out'}", "format=merged", "tolerance=1e-5"]
    monkeypatch.setattr(provenance, "command", lambda: ["zoo.export", *words])
    assert main(words) == 0
    record = (tmp_path / "out" / "export.json").read_text()
    assert json.loads(record)["command"] == "python -m zoo.export adapter=DIR format=merged tolerance=1e-5"
    assert str(tmp_path) not in record


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("format=gguf", "format=gguf: expected one of merged, peft, torch, onnx"),
        ("tolerance=-1", "tolerance=-1: expected a positive number"),
        ("gsd=far", "gsd=far: expected a positive number"),
        ("task.hidden=3", r"'task.hidden=3': only data.\* may be changed"),
    ],
)
def test_a_mistake_in_the_command_is_told_before_anything_is_loaded(
    word: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"adapter": "nowhere", "output": "out", "format": "torch"}
    key, _, value = word.partition("=")
    with pytest.raises(SystemExit, match="2"):
        main([f"{k}={v}" for k, v in (words | {key: value}).items()])
    assert re.search(said, capsys.readouterr().err)


def test_numbers_that_are_none_on_one_side_and_labels_without_numbers_are_infinitely_far() -> None:
    nan = torch.tensor([1.0, math.nan])
    assert compare([{"x": nan}], [{"x": nan.clone()}]).max_abs == 0
    assert compare([{"x": nan}], [{"x": torch.tensor([math.nan, 1.0])}]).max_abs == math.inf
    labels, others = {"x": torch.tensor([1, 2])}, {"x": torch.tensor([1, 3])}
    assert compare([labels], [others]) == Parity(math.inf, 1, (2,))
    assert compare([labels | {"p": nan}], [others | {"p": nan}]) == Parity(0.0, 1, (2,))
    with pytest.raises(ExportError, match="the export gives"):
        compare([{"x": nan}], [{"y": nan}])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tb_ava-synthetic", "mantis-furniture", "scale_earth-rsscn7", "scale_earth-scenes"])
def test_onnx_runtime_gives_what_a_trained_adapter_gives(name: str, tmp_path: Path) -> None:
    words = [f"adapter={name}", f"output={tmp_path / 'out'}", "format=onnx"]
    if name == "scale_earth-rsscn7":  # its data are not ours to ship
        pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "place.png")
        words += [f"input={tmp_path / 'place.png'}", "gsd=2"]
    assert main(words) == 0
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert 0 < record["parity"]["onnx_max_abs"] <= 1e-4
    assert record["parity"]["labels_differing"] == 0
