"""Cards are sound, keep reported and measured apart, and take numbers from clean commits only."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from zoo import cards, compare
from zoo.adapter import places, shareable
from zoo.catalog import card, card_tables, evidence
from zoo.catalog.card import Card, CardError
from zoo.metrics.names import CALIBRATION
from zoo.recipe.compose import available, compose, to_yaml
from zoo.records import comparison
from zoo.report import tables
from zoo.train import main as train_main

CARDS = sorted(card.folder().glob("*.md"))
VIDEOS = [f"v{i}" for i in range(40)]


def record(values: dict[str, float], *, seed: int = 0, dirty: bool = False) -> dict[str, Any]:
    mean = sum(values.values()) / len(values)
    return {
        "split": "test",
        "n": len(values),
        "task": "audio-visual-event-localization",
        "unit": "fraction",
        "monitor": "segment_accuracy",
        "metrics": {"segment_accuracy": mean, "video_accuracy": mean / 2},
        "intervals": {"segment_accuracy": [mean - 0.1, mean + 0.1]},
        "baselines": {"all_background": {"segment_accuracy": 0.25}},
        "manifest": {
            "recipe": "tb_ava",
            "seed": seed,
            "selected_on": "val",
            "commit": "0123456789abcdef",
            "dirty": dirty,
            "hardware": "made up",
            "date": "2026-01-02T00:00:00",
            "command": "python -m zoo.train recipe=tb_ava",
            "data": {
                **{"name": "SyntheticEvents (synthetic)", "synthetic": True, "license": "none", "fingerprint": "0"},
                **{"train": 1, "val": 1, "test": len(values)},
            },
            "epochs": 1,
            "seconds": 1.0,
            "versions": {},
            "parameters": {"trainable": 1000, "total": 2000},
            "cost": {"median_step_s": 0.1, "peak_memory_bytes": 2**20, "checkpoint_bytes": 2**10},
        },
    }


def finished(
    folder: Path, *, dirty: bool = False, own: dict[str, list[dict[str, Any]]] | None = None
) -> dict[str, Any]:
    """Two variants, two seeds: the control is right on every video exactly a tenth less often.

    Runs of a variant in `own` have these further keys, one dictionary a seed.
    """
    for variant, shift in (("recipe", 0.0), ("control", -0.1)):
        for seed in (0, 1):
            values = {video: 0.5 + 0.01 * (i % 7) + 0.1 * seed + shift for i, video in enumerate(VIDEOS)}
            run = folder / variant / f"seed{seed}"
            run.mkdir(parents=True)
            (run / "metrics.json").write_text(
                json.dumps(record(values, seed=seed, dirty=dirty) | (own or {}).get(variant, [{}, {}])[seed])
            )
            (run / "per_sample.json").write_text(json.dumps(values))
    rounds, command = ["seed0", "seed1"], "python -m zoo.compare recipe=tb_ava"
    return comparison.gather(folder, ["recipe", "control"], rounds, command=command)


def copied(name: str, folder: Path) -> Path:
    """A shipped card and its evidence."""
    path = folder / "cards" / f"{name}.md"
    path.parent.mkdir()
    path.write_bytes((card.folder() / path.name).read_bytes())
    evidence.file_of(path).parent.mkdir()
    evidence.file_of(path).write_bytes(evidence.file_of(card.folder() / path.name).read_bytes())
    return path


def adapter_of(metrics: dict[str, Any], folder: Path) -> str:
    """Card of an adapter of one tensor."""
    folder.mkdir()
    save_file({"method.up": torch.zeros(2, 3)}, folder / "adapter.safetensors", metadata={"fingerprints": "{}"})
    (folder / "recipe.yaml").write_text(to_yaml(compose("tb_ava")))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "README.md").write_text(card.for_adapter(folder))
    return (folder / "README.md").read_text()


def test_the_card_of_an_adapter_with_another_method_than_its_recipes_says_so(tmp_path: Path) -> None:
    metrics = record(dict.fromkeys(VIDEOS, 0.5))
    own, other = tmp_path / "own", tmp_path / "other"
    assert "another method" not in adapter_of(metrics, own)
    adapter_of(metrics, other)
    words = ["method=gpart", "method.dim=3", "method.targets={vision: [attn.qkv]}"]
    (other / "recipe.yaml").write_text(to_yaml(compose("tb_ava", words)))
    said = card.for_adapter(other)
    assert "Trained with another method than the recipe's: GPart** (`zoo.methods.gpart.GPart`)" in said
    (other / "README.md").write_text(said)
    assert card.facts(other / "README.md")["zoo"]["method"] == "GPart"
    assert (
        card.facts(own / "README.md")["zoo"]["method"] == card.read(card.folder() / "tb_ava.md").front["zoo"]["method"]
    )
    assert card.validate(card.read(other / "README.md")) == []


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_every_shipped_card_is_sound(path: Path) -> None:
    assert card.validate(card.read(path)) == []


@pytest.mark.parametrize("path", CARDS, ids=lambda p: p.stem)
def test_a_card_is_what_its_evidence_makes_of_it(path: Path, tmp_path: Path) -> None:
    shipped = card.read(path)
    assert bool(shipped.front.get("model-index")) == bool(shipped.evidence["runs"])
    card.write(tmp_path / path.name, shipped)
    assert (tmp_path / path.name).read_text() == path.read_text()


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_a_recipes_card_names_no_folder_that_would_keep_its_adapters_from_being_shared(path: Path) -> None:
    assert shareable.lines(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", places.bundled())
def test_facts_are_the_front_matter_but_for_the_results(name: str) -> None:
    path = places.bundled()[name] / "README.md"
    whole = card.read(path).front
    assert card.facts(path) == {key: value for key, value in whole.items() if key != "model-index"}
    assert "model-index" in whole


@pytest.mark.parametrize("name", places.bundled())
def test_the_card_of_a_bundled_adapter_is_what_its_metrics_make_of_it(name: str) -> None:
    folder = places.bundled()[name]
    assert card.for_adapter(folder) == (folder / "README.md").read_text()
    assert card.validate(card.read(folder / "README.md")) == []


def test_a_card_that_drifts_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied("tb_ava", tmp_path)
    monkeypatch.setattr(card, "folder", lambda: path.parent)
    monkeypatch.setattr(places, "bundled", dict)
    assert cards.main([]) == 0
    shown = f"{card.read(path).front['model-index'][0]['results'][0]['metrics'][0]['value']:.2f}"
    path.write_text(path.read_text().replace(f"value: {shown}", "value: 7.26").replace(f"| {shown} %", "| 7.26 %"))
    assert cards.main([]) == 1
    assert "tb_ava.md: model-index differs" in capsys.readouterr().out
    assert cards.main(["--write"]) == 0
    assert path.read_text() == (Path(__file__).parents[2] / "model_cards" / "tb_ava.md").read_text()


def test_evidence_tells_no_folder_of_the_machine_that_measured() -> None:
    files = [
        *card.folder().glob("evidence/*.json"),
        *(f / n for f in places.bundled().values() for n in ("metrics.json", "recipe.yaml")),
    ]
    assert len(files) > 6
    assert [file for file in files if re.search(r"=/|: /|~/", file.read_text())] == []


def test_every_recipe_has_a_card_and_every_card_a_recipe() -> None:
    assert [path.stem for path in CARDS] == sorted(available())


def test_a_comparison_has_the_means_deviations_and_paired_gaps_of_its_runs(tmp_path: Path) -> None:
    found = finished(tmp_path)
    own, control = found["rows"]
    base = 100 * (0.5 + sum(0.01 * (i % 7) for i in range(40)) / 40)
    assert own["metrics"]["segment_accuracy"]["mean"] == pytest.approx(base + 5)
    assert own["metrics"]["segment_accuracy"]["std"] == pytest.approx(10 / 2**0.5)
    assert own["gap"] is None
    # Paired by video, a constant difference has no width, however the videos themselves differ.
    assert control["gap"] == pytest.approx([10, 10])
    assert found["baselines"] == {"all_background": 25}
    header, rows = comparison.cells(found)
    assert {len(row) for row in rows} == {len(header)}
    assert rows[-1][:2] == ["(all background)", "25.00"]


def test_a_card_takes_a_comparison_and_stays_sound(tmp_path: Path) -> None:
    path = copied("tb_ava", tmp_path)
    found = finished(tmp_path / "runs")
    runs = [json.loads((tmp_path / "runs" / "recipe" / f"seed{s}" / "metrics.json").read_text()) for s in (0, 1)]
    card.publish(path, found, runs)
    written = card.read(path)
    assert card.validate(written) == []
    assert "+10.00..+10.00" in written.body
    assert "&id" not in path.read_text()
    assert written.front["model-index"][0]["results"][0]["metrics"][0]["args"]["std"] == pytest.approx(7.07)
    assert [p.name for p in tmp_path.glob("*.tmp")] == []


def taken(estimate: float | None) -> dict[str, Any]:
    """A run whose scale was known, and one in which it was withheld and estimated for this share of the samples."""
    parts = {"default": {"share": 1 - (estimate or 0), "accuracy": 0.25}}
    parts |= {"estimate": {"share": estimate, "accuracy": estimate}} if estimate else {}
    told = {"metadata": {"share": 1.0, "accuracy": 0.5}}
    metrics = {"segment_accuracy": 0.5}
    return {
        "method": {"gsd_mae_octaves": 0.5 + (estimate or 0), "branch_metadata": 1.0},
        "branches": told,
        "probes": {
            "wrong_gsd": {"metrics": metrics, "method": {}, "branches": told},
            "unknown_gsd": {"metrics": metrics, "method": {}, "branches": parts},
        },
    }


def test_the_methods_own_numbers_and_branches_are_means_over_seeds(tmp_path: Path) -> None:
    found = finished(tmp_path / "runs", own={"recipe": [taken(0.5), taken(None)]})
    row, control = found["rows"]
    assert row["method"]["gsd_mae_octaves"] == pytest.approx({"mean": 0.75, "std": 0.5 / 2**0.5})
    unknown = row["branches"]["unknown_gsd"]
    assert unknown["default"] == {
        "share": pytest.approx({"mean": 75, "std": 50 / 2**0.5}),
        "accuracy": {"mean": 25, "std": 0},
    }
    # A branch that was taken in one run has a share in both, but an accuracy in that one alone.
    assert unknown["estimate"]["share"] == pytest.approx({"mean": 25, "std": 50 / 2**0.5})
    assert unknown["estimate"]["accuracy"] == {"mean": 50, "std": None}
    assert not {"method", "branches"} & set(control)
    assert comparison.method_cells(found) == (
        ["variant", "scale error, octaves (lower is better)"],
        [["recipe", "0.75±0.35"]],
    )
    header, cells = comparison.branch_cells(found)
    assert header[2:4] == ["metadata: share, %", "metadata: accuracy, %"]
    assert cells == [
        ["recipe", "test", "100.00±0.00", "50.00±0.00", "", "", "", ""],
        ["recipe", "scale not told", "", "", "75.00±35.36", "25.00±0.00", "25.00±35.36", "50.00"],
    ]
    path = copied("tb_ava", tmp_path)
    runs = [json.loads((tmp_path / "runs" / "recipe" / f"seed{s}" / "metrics.json").read_text()) for s in (0, 1)]
    card.publish(path, found, runs)
    written = card.read(path)
    assert card.validate(written) == []
    assert "| recipe | 0.75±0.35 |" in written.body
    assert "| recipe | scale not told |  |  | 75.00±35.36 |" in written.body
    console = Console(width=160)
    with console.capture() as captured:
        console.print(tables.compared(found))
    assert "0.75±0.35" in captured.get()
    assert "75.00±35.36" in captured.get()


def test_calibration_of_a_comparison_stands_in_a_table_of_its_own(tmp_path: Path) -> None:
    def calibrated(shift: float) -> dict[str, Any]:
        numbers = {name: 0.1 * (k + 1) + shift for k, name in enumerate(CALIBRATION)}
        found = {"n": 40, "raw": numbers, "temperature": {"value": 1.5 + shift, "n": 9}, "tempered": numbers}
        return {"calibration": found}

    before = comparison.cells(finished(tmp_path / "before"))
    seeds = [calibrated(0.0), calibrated(0.02)]
    found = finished(tmp_path / "runs", own={"recipe": seeds, "control": [seeds[0], {}]})
    assert comparison.cells(found) == before
    assert "calibration" not in found["rows"][1], "one of its runs has none"
    path = copied("tb_ava", tmp_path)
    runs = [json.loads((tmp_path / "runs" / "recipe" / f"seed{s}" / "metrics.json").read_text()) for s in (0, 1)]
    card.publish(path, found, runs)
    written = card.read(path)
    assert card.validate(written) == []
    assert "| recipe | as they are | 0.110±0.014 | 0.210±0.014 | 0.310±0.014 | 0.410±0.014 |" in written.body
    once = written.body.count("| recipe | at temperature 1.51±0.01 |")
    assert once == 1, "though the runs' own records have it as well"
    assert "NLL" not in json.dumps(written.front)
    console = Console(width=160)
    with console.capture() as captured:
        console.print(tables.compared(found))
    assert "at temperature 1.51±0.01" in captured.get()


def test_comparisons_without_them_are_printed_as_before(tmp_path: Path) -> None:
    found = finished(tmp_path)
    assert comparison.method_cells(found)[1] == comparison.branch_cells(found)[1] == []
    text = card_tables.results({}, {"main": found})
    assert text.count("| variant |") == 1
    assert "branch" not in text.lower()


def test_numbers_from_a_dirty_tree_are_not_published(tmp_path: Path) -> None:
    found = finished(tmp_path / "runs", dirty=True)
    path = copied("tb_ava", tmp_path)
    before = path.read_bytes()
    with pytest.raises(CardError, match="clean commit"):
        card.publish(path, found, [])
    assert path.read_bytes() == before
    run = adapter_of(record(dict.fromkeys(VIDEOS, 0.5), dirty=True), tmp_path / "adapter")
    assert "uncommitted changes" in run
    assert "model-index" not in run
    assert card.read(tmp_path / "adapter" / "README.md").front["zoo"]["adapter"]["params"] == 6


def test_a_forged_number_an_unnamed_source_and_a_missing_heading_are_found(tmp_path: Path) -> None:
    sound = card.read(card.folder() / "tb_ava_ave.md")
    forged = Card(sound.front, sound.body.replace("## Licences", "## Elsewhere").replace("| ", "| 1", 1))
    found = card.validate(forged)
    assert "heading '## Licences' is missing" in found
    assert any("differs from its evidence" in problem for problem in found)
    own = sound.front["zoo"]
    front = {**sound.front, "zoo": {**own, "reported": [{**own["reported"][0], "source": None}]}}
    assert any("has no source" in problem for problem in card.validate(Card(front, sound.body)))


def test_compare_trains_each_variant_once_and_takes_up_where_it_stopped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = subprocess.run

    def here(line: list[str], **settings: Any) -> subprocess.CompletedProcess[Any]:
        """Trainings in this process, which has imported what they need."""
        if line[:3] == [sys.executable, "-m", "zoo.train"]:
            return subprocess.CompletedProcess(line, train_main(line[3:]))
        return started(line, **settings)

    monkeypatch.setattr(compare.subprocess, "run", here)
    words = ["recipe=mantis", "--smoke", "variants=[recipe,linear_probe]", f"runs={tmp_path}"]
    assert compare.main(words) == 0
    first = capfd.readouterr().out
    assert "linear probe" in first
    folder = next((tmp_path / "compare" / "mantis").iterdir())
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/metrics.json")}
    assert len(stamps) == 2
    assert compare.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    found = json.loads((folder / "comparison.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["recipe", "linear_probe"]
    assert "data.root" not in found["about"]["command"]


def test_compare_names_every_mistake_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        compare.main(["recipe=tb_ava", "variants=[linear_prob,gate]", f"runs={tmp_path}"])
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert "linear_prob" in errors
    assert "'gate'" in errors
    assert list(tmp_path.iterdir()) == []
