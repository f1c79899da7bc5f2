"""An adapter keeps the class anchors of its text tower: it predicts the same without it, and knows when it needs it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from zoo.adapter import directory, kept_anchors, places
from zoo.adapter.directory import FILES
from zoo.adapter.soundness import SoundnessError
from zoo.backbones.kept_text import KeptText
from zoo.backbones.minilm import MiniLM
from zoo.batch import Clip
from zoo.errors import SettingError, UserError
from zoo.files import file_hash

SHIPPED = "tb_ava-grid"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(places.bundled()[SHIPPED], tmp_path / SHIPPED))


@pytest.fixture
def no_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the text tower is built")

    monkeypatch.setattr(MiniLM, "__init__", refuse)


def edit(folder: Path, *, header: dict[str, str | None], tensors: dict[str, torch.Tensor | None]) -> None:
    """Change or take away what the file holds, and sign the directory anew."""
    file = folder / "adapter.safetensors"
    with safe_open(file, framework="pt") as stored:
        said = stored.metadata() | header
        held = {name: stored.get_tensor(name) for name in stored.keys()} | tensors  # noqa: SIM118
    save_file(
        {name: tensor for name, tensor in held.items() if tensor is not None},
        file,
        metadata={key: value for key, value in said.items() if value is not None},
    )
    sign(folder)


def sign(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text("".join(f"{file_hash(folder / n)}  {n}\n" for n in FILES))


def bare(folder: Path) -> None:
    """As adapters were before they kept anchors."""
    edit(folder, header={"anchors": None}, tensors={"text.anchors": None})


def clip() -> Clip:
    draw = np.random.default_rng(0)
    frames = draw.integers(0, 256, (2, 80, 80, 3), dtype=np.uint8)
    return Clip("a", frames, draw.standard_normal((2, 16000)).astype(np.float32), 16000, {})


def predicted(folder: Path) -> dict[str, torch.Tensor]:
    _, pairing = directory.load(folder)
    with torch.no_grad():
        return pairing.predict(pairing.batch([clip()]))


def test_predictions_are_the_same_with_kept_anchors_and_with_the_text_tower(folder: Path, tmp_path: Path) -> None:
    shipped = predicted(folder)
    bare(folder)
    _, pairing = directory.load(folder)  # the tower rounds by thread count and processor: anchors of this process
    recipe = (folder / "recipe.yaml").read_text()
    new = directory.save(pairing, tmp_path / "new", recipe=recipe, metrics={}, card=lambda _: "# card\n")
    built, kept = predicted(folder), predicted(new)
    assert kept.keys() == built.keys() == shipped.keys()
    assert all(torch.equal(kept[name], built[name]) for name in kept)
    for name in kept:
        torch.testing.assert_close(shipped[name], built[name])


def test_the_shipped_adapter_is_as_it_was_but_for_its_anchors(folder: Path) -> None:
    before = directory.read(folder)
    bare(folder)
    after = directory.read(folder)
    assert before[1].keys() == after[1].keys()
    assert {key: value for key, value in before[0].items() if key != "anchors"} == after[0]
    assert "after the training" in json.loads(before[0]["anchors"])["added"]


@pytest.mark.usefixtures("no_tower")
def test_the_text_tower_is_not_built_to_predict(folder: Path) -> None:
    _, pairing = directory.load(folder)
    assert pairing.fingerprints["text"] == KeptText(file=str(folder / "adapter.safetensors")).fingerprint
    assert pairing.method.anchors.shape == (len(pairing.classes) + 1, 384)


def test_a_fresh_process_predicts_without_loading_a_language_model() -> None:
    code = (
        "import sys; sys.path[:0] = ['tests/adapter', 'tests/helpers']\n"
        "import torch, zoo; from test_kept_anchors import clip\n"
        "for name in ('zoo.backbones.minilm', 'transformers'): sys.modules.pop(name, None)\n"
        f"pairing = zoo.load('{SHIPPED}').pairing\n"
        "with torch.no_grad(): pairing.predict(pairing.batch([clip()]))\n"
        "assert 'zoo.backbones.minilm' not in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('transformers.models.bert')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [("method", "templates", ["a {}"]), ("method", "text", "random"), ("backbones", "text", None)],
)
@pytest.mark.usefixtures("no_tower")
def test_where_the_recipe_was_changed_the_tower_is_built_and_compared(
    folder: Path, block: str, key: str, value: Any
) -> None:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    if block == "backbones":
        recipe["backbones"]["text"]["source"] = "file:elsewhere"
    else:
        recipe[block][key] = value
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    sign(folder)
    with pytest.raises(AssertionError, match="the text tower is built"):
        directory.load(folder)


def test_an_adapter_that_is_saved_keeps_its_anchors_and_a_rewritten_one_keeps_them_too(
    folder: Path, tmp_path: Path
) -> None:
    bare(folder)
    _, pairing = directory.load(folder)
    recipe = (folder / "recipe.yaml").read_text()
    new = directory.save(pairing, tmp_path / "new", recipe=recipe, metrics={}, card=lambda _: "# card\n")
    shipped, made = (kept_anchors.stored(f / "adapter.safetensors") for f in (places.bundled()[SHIPPED], new))
    torch.testing.assert_close(made, shipped)
    told = json.loads(directory.read(new)[0]["anchors"])
    assert told == {"backbone": "text", "of": json.loads(directory.read(places.bundled()[SHIPPED])[0]["anchors"])["of"]}
    directory.replace(new, {}, card=lambda _: "# card\n", beside={"familiarity.x": torch.zeros(1)})
    assert torch.equal(kept_anchors.stored(new / "adapter.safetensors")["text.anchors"], made["text.anchors"])


@pytest.mark.parametrize(
    ("anchors", "said"),
    [
        (torch.zeros(3, 384), "expected 11 rows"),
        (torch.full((11, 384), torch.nan), "expected numbers"),
        (torch.zeros(11), "expected numbers"),
        (torch.zeros(11, 8), "the structure of method"),
    ],
)
def test_anchors_that_do_not_fit_are_named(folder: Path, anchors: torch.Tensor, said: str) -> None:
    edit(folder, header={}, tensors={"text.anchors": anchors})
    with pytest.raises(UserError, match=said):
        directory.load(folder)


@pytest.mark.parametrize(
    "told", ["[]", "{", json.dumps({"backbone": "text"}), json.dumps({"backbone": 1, "of": "0" * 64})]
)
def test_a_header_that_says_something_else_is_unsound(folder: Path, told: str) -> None:
    edit(folder, header={"anchors": told}, tensors={})
    with pytest.raises(SoundnessError, match="anchors: expected"):
        directory.verify(folder)


def test_a_header_without_the_tensor_is_unsound(folder: Path) -> None:
    edit(folder, header={}, tensors={"text.anchors": None})
    with pytest.raises(SoundnessError, match="no tensor"):
        directory.verify(folder)


def test_kept_anchors_encode_nothing_new(folder: Path) -> None:
    with pytest.raises(SettingError, match="anchors of its classes alone"):
        KeptText(file=str(folder / "adapter.safetensors")).encode(["a dog"])
