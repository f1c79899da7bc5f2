"""What a sum of adapters says of itself, in the commands and in Python, and which adapters it refuses."""

import json
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import run_tiny
import small_vit
import sum_tiny
from answers_of import run
from kept import kept_encoders
from safetensors.torch import load_file, save_file
from sum_tiny import METHODS, Made, adapter, made

import zoo
from zoo import evaluate, show
from zoo.adapter import directory, summed
from zoo.adapter.places import CatalogError
from zoo.errors import SettingError, UserError
from zoo.methods.scale_earth import ScaleEarth

__all__ = ["kept_encoders", "made"]  # fixtures of the tests here

# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_command_predicts_with_a_sum_and_says_so_in_every_record(made: Made, tmp_path: Path) -> None:
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", sum_tiny.scan(k))
    word, output = f"{made('lora')}+{made('gpart')}", tmp_path / "out.jsonl"
    with redirect_stderr(StringIO()) as told:
        assert run(f"adapter={word}", f"input={tmp_path}", f"output={output}") == 0
    said = (
        "sum of lora, gpart: their updates are added, the logits of their 2 heads averaged; no card has a number of it"
    )
    assert told.getvalue().count(said) == 1
    model = zoo.load(word)
    for line in map(json.loads, output.read_text().splitlines()):
        assert said in line["notes"]
        found = model.predict(line["id"])
        assert found.label == line["label"]
        assert found.probability == pytest.approx(line["probability"], abs=1e-5)
    with redirect_stderr(StringIO()) as told:  # as the answers of another adapter
        assert run(f"adapter={made('lora')}", f"input={tmp_path}", f"output={output}") == 1
    assert "holds answers of another run (adapter " in told.getvalue()


def test_a_sum_in_python_is_named_and_is_no_adapter_to_keep(made: Made, tmp_path: Path) -> None:
    model = zoo.load(f"{made('lora')}+{made('gpart')}")
    assert repr(model).startswith("zoo.Model lora+gpart\n  method     Summed")
    assert list(model.pairing.summed) == ["lora", "gpart"]
    refused: Mapping[str, Callable[[], object]] = {
        "has no card": lambda: model.card,
        "has no metrics of a training": lambda: model.metrics,
        "cannot be exported": lambda: model.export(tmp_path / "out"),
        "is no adapter directory that could be copied": lambda: model.save(tmp_path / "out"),
        "is no adapter directory that could be shared": lambda: model.push("hf://a/b", dry_run=True),
    }
    for words, act in refused.items():
        with pytest.raises(UserError, match=rf"^lora\+gpart is a sum of adapters, which {words}[^\n]*$"):
            act()
    with pytest.raises(UserError, match=r"method\.rank is fixed by training"):
        model.pairing.choose(rank=1)


def test_a_sum_says_that_it_has_no_posterior(made: Made) -> None:
    said = "of laplace the trained weights alone (MAP) count, and no posterior"
    _, pairing = summed.load([made("lora"), made("laplace")])
    assert said in pairing.caveats
    alone = directory.load(made("laplace"))[1]
    assert not any("posterior" in line for line in alone.caveats), "it has one"


EVENTS = [
    "method={_target_: zoo.methods.lora.LoRA, rank: 2, targets: {vision: ['1'], audio: [conv1]}}",
    "trainer.max_epochs=1",
]

as_it_was = run_tiny.as_it_was


def test_the_command_measures_a_sum_and_reproduces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (1, 2):
        assert run_tiny.command(f"into={tmp_path / str(seed)}", f"seed={seed}", *EVENTS) == 0
    word = f"{tmp_path / '1' / 'adapter'}+{tmp_path / '2' / 'adapter'}"
    capsys.readouterr()
    assert evaluate.main([f"adapter={word}", f"output={tmp_path / 'found.json'}", "data._target_=run_tiny.Own"]) == 0
    said = capsys.readouterr().out
    assert "now, of the sum of 1/adapter, 2/adapter: no card has it, nothing to reproduce" in said
    assert "note: sum of 1/adapter, 2/adapter: their updates are added" in said
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["summed"] == ["1/adapter", "2/adapter"]
    assert record["verdict"]["reproduces"] is None
    assert "recipe" not in record["manifest"]
    assert "seed" not in record["manifest"]
    sums = {name: directory.checksums(tmp_path / name)["adapter.safetensors"] for name in ("1/adapter", "2/adapter")}
    assert record["manifest"]["adapter"] == sums
    assert zoo.load(word).evaluate(probes=False)["metrics"].items() <= record["metrics"].items()
    with pytest.raises(SystemExit):
        evaluate.main([f"adapter={word}", "--update-card"])
    assert "a card is of one adapter, and this is a sum of several" in capsys.readouterr().err


# --- what cannot be added ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("mantis", "mantis cannot be added: its method Mantis makes no update: every token makes the control signal"),
        ("frozen", "frozen cannot be added: its method Frozen makes no update: it changes no frozen layer"),
        ("bottleneck", "bottleneck cannot be added: .*: its adapters lie between the blocks"),
        ("lora", "lora stands twice in the sum, which would double its update"),
    ],
)
def test_what_is_no_update_is_refused_before_weights_are_read(
    made: Made, other: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [made("lora"), made(other) if other != "lora" else made("lora")]
    monkeypatch.setattr(directory, "load", lambda *_, **__: pytest.fail("weights are read"))
    with pytest.raises(SettingError, match=rf"^[^\n]*{words}[^\n]*$"):
        summed.load(folders)


def test_other_answers_and_other_inputs_are_refused(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {
        r"task \(hidden=\[\], and hidden=\[8\]\)": adapter(tmp_path / "head", "method=lora", "task.hidden=[8]"),
        r"classes \(15: bag, bin, box, cabinet, ..., and 15: other, ": renamed(made("lora"), tmp_path / "names"),
    }
    monkeypatch.setattr(directory, "load", lambda *_, **__: pytest.fail("weights are read"))
    for words, other in others.items():
        with pytest.raises(
            SettingError, match=rf"^lora and {other.name} cannot be added: they differ in {words}[^\n]*$"
        ):
            summed.load([made("lora"), other])


def renamed(folder: Path, target: Path) -> Path:
    """The same adapter, whose first class has another name."""
    _, pairing = directory.load(folder)
    pairing.classes = ["other", *pairing.classes[1:]]
    recipe = (folder / "recipe.yaml").read_text()
    return directory.save(pairing, target, recipe=recipe, metrics={}, card=lambda _: "# renamed\n")


def test_another_backbone_is_refused_and_named(made: Made, tmp_path: Path) -> None:
    other = adapter(tmp_path / "other", "method=lora", "backbones.points.source=random:1")
    with pytest.raises(SettingError, match=r"^other: its points backbone has other weights than that of lora \("):
        summed.load([made("lora"), other])
    other = adapter(tmp_path / "coarse", "method=lora", "backbones.points.groups=12")
    with pytest.raises(SettingError, match=r"^coarse: its points backbone has other settings than that of lora \("):
        summed.load([made("lora"), other])


def test_updates_that_depend_on_the_sample_are_refused() -> None:
    gates = small_vit.pairing(ScaleEarth(targets={"vision": ["attn.qkv"]}, last={"vision": 2}, thresholds=[1.0, 2.0]))
    with pytest.raises(SettingError, match=r"^gates cannot be added: its updates depend on a sample's gsd$"):
        summed._changes(gates, "gates")


def test_words_that_name_no_adapters_are_refused(made: Made, tmp_path: Path) -> None:
    lora = made("lora")
    for word, words in {
        f"{lora}+": r"expected the name or folder of an adapter on either side of each \+",
        f"{lora}+mantis-dale": "unknown adapter 'mantis-dale', and no such folder. Did you mean 'mantis-dales'",
    }.items():
        with pytest.raises(CatalogError, match=words):
            zoo.load(word)
    with pytest.raises(CatalogError, match=r"is a sum of adapters, which zoo\.load, zoo predict and zoo evaluate take"):
        zoo.train(init=f"{lora}+{lora}")


def test_show_says_what_a_sum_is_for(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        show.main([f"{made('lora')}+{made('gpart')}"])
    assert (
        "is a sum of adapters, which zoo.load, zoo predict and zoo evaluate take; name one" in capsys.readouterr().err
    )


def test_a_folder_whose_name_has_a_plus_is_one_adapter(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a+b", *METHODS["gpart"])
    assert zoo.load(folder).pairing.summed == {}
    assert zoo.load(folder).name == "a+b"


def test_an_altered_part_is_refused(made: Made, tmp_path: Path) -> None:
    broken = adapter(tmp_path / "broken", *METHODS["gpart"])
    tensors = load_file(broken / "adapter.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, broken / "adapter.safetensors")
    with redirect_stdout(StringIO()), pytest.raises(directory.AdapterError, match="was altered"):
        summed.load([made("lora"), broken])
