"""A whole matrix on tiny encoders: rates chosen on validation, test measured for the chosen alone, and what is kept."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from matrix_plan import PLAN

from zoo import files, matrix
from zoo.cells import page
from zoo.search import trial
from zoo.train import main as train

Words = list[str]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is trained or tested, in this process: a training in one of its own takes ten seconds to begin."""
    monkeypatch.setenv("ZOO_TRUST", "tiny,tiny_data")
    called: list[str] = []

    def attempt(folder: Path, card: str, *, where: Path, test: bool = False) -> None:
        called.append(f"{folder.parent.name} {folder.name.rpartition('-')[0]}{' test' * test}")
        if (folder / "broken").exists():
            raise trial.TrialError("loss became NaN")
        resume = (folder / "run.json").exists()
        words = [f"recipe={folder / trial.CONFIG}", f"into={folder}", f"test={str(test).lower()}"]
        assert train([*words, f"resume={str(resume).lower()}"]) == 0

    monkeypatch.setattr(trial, "attempt", attempt)
    return called


def planned(folder: Path, **changes: Any) -> Path:
    file = folder / "small.yaml"
    methods = PLAN["methods"] | {"ssf": {"method": "ssf"}}
    file.write_text(yaml.safe_dump(PLAN | {"budgets": [0.05], "methods": methods} | changes))
    return file


def test_a_matrix_from_a_plan_to_its_page(
    tmp_path: Path, trainings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"plan={planned(tmp_path)}", f"runs={tmp_path}", f"page={tmp_path / 'matrix.md'}"]
    assert matrix.main([*words, "--print"]) == 0
    assert "lora, rank, alpha = 1: 32 trained, 8.33 %" in capsys.readouterr().out
    assert not trainings
    assert matrix.main([*words, "methods=[lora]"]) == 0
    assert trainings[:2] == ["lora-0.05 seed0-lr0.001", "lora-0.05 seed0-lr0.01"]
    assert [line for line in trainings if "test" in line] == trainings[2:], "the chosen rate alone is tested"
    record = json.loads((tmp_path / "matrix" / "small" / "matrix.json").read_text())
    row = record["pairings"]["clips"]["rows"][0]
    chosen = max(row["validation"], key=row["validation"].get)
    assert row["rate"] == float(chosen)
    assert all(f"lr{chosen} test" in line for line in trainings[2:])
    assert len(trainings) == 4
    assert row["merges"] is True
    assert row["slower"] > 0
    assert row["changes"] > 0

    done = len(trainings)
    assert matrix.main(words) == 0
    assert not any(line.startswith("lora") for line in trainings[done:]), "what is done is kept"
    record = json.loads((tmp_path / "matrix" / "small" / "matrix.json").read_text())
    rows = {row["method"]: row for row in record["pairings"]["clips"]["rows"]}
    assert set(rows) == {"head_only", "lora", "ssf"}
    assert rows["lora"]["gap"] is None
    assert all(len(rows[name]["gap"]) == 2 for name in ("head_only", "ssf"))
    text = (tmp_path / "matrix.md").read_text()
    assert text.count("| lora |") == 1
    assert "By peak memory" in text
    assert (tmp_path / "matrix_clips.png").exists()

    kept = json.loads((tmp_path / "matrix.json").read_text())
    (tmp_path / "matrix.md").write_text(text.replace("# Methods beside one another", "# Mine\n\nA sentence."))
    page.write(tmp_path / "matrix.md", kept, kept["command"])
    again = (tmp_path / "matrix.md").read_text()
    assert again.startswith("# Mine\n\nA sentence.")
    assert page.generated(tmp_path / "matrix.md", kept) in again


def test_a_training_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, trainings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"plan={planned(tmp_path, rates=[0.01], seeds=[0])}", f"runs={tmp_path}"]
    assert matrix.main([*words, "--print"]) == 0
    from zoo.cells.budget import sizes
    from zoo.cells.plan import read
    from zoo.cells.trainings import Cell, Trainings

    plan = read(tmp_path / "small.yaml")
    head = plan.contenders[0]
    found = sizes(plan, plan.settings[0], head, {}, 1000)["own"]
    place = Trainings(plan, tmp_path / "matrix" / "small").place(Cell(plan.settings[0], head, "own", found), 0.01, 0)
    (place / "broken").touch()
    assert matrix.main([*words, f"page={tmp_path / 'matrix.md'}"]) == 0
    capsys.readouterr()
    assert matrix.main(words) == 0
    told = f"ended before with an error: loss became NaN; to try it again, delete {place / 'failed.txt'}"
    assert told in capsys.readouterr().out
    assert sum("head_only" in line for line in trainings) == 1, "it would meet the error again"
    record = json.loads((tmp_path / "matrix" / "small" / "matrix.json").read_text())["pairings"]["clips"]
    assert record["failed"] == {"head_only, own, lr 0.01, seed 0": "loss became NaN"}
    assert record["refused"] == {}
    assert {row["method"] for row in record["rows"]} == {"lora", "ssf"}
    told = "- head_only, own, lr 0.01, seed 0 ended with an error: loss became NaN"
    assert told in (tmp_path / "matrix.md").read_text()


def test_a_seed_that_fails_after_the_rate_was_chosen_is_told(tmp_path: Path, trainings: list[str]) -> None:
    from zoo.cells.plan import read
    from zoo.cells.trainings import Cell, Trainings

    words = [f"plan={planned(tmp_path, rates=[0.01])}", f"runs={tmp_path}", f"page={tmp_path / 'page.md'}"]
    plan = read(tmp_path / "small.yaml")
    cell = Cell(plan.settings[0], plan.contenders[0], "own", {"size": None, "trained": 0})
    (Trainings(plan, tmp_path / "matrix" / "small").place(cell, 0.01, 1) / "broken").touch()
    assert matrix.main([*words, "methods=[head_only]"]) == 1
    text = (tmp_path / "page.md").read_text()
    assert (
        "No method was trained with every seed.\n\n- head_only, own, lr 0.01, seed 1 ended with an error: loss" in text
    )
    assert "page_clips.png" not in text
    assert matrix.main([*words, "methods=[head_only,ssf]"]) == 0
    record = json.loads((tmp_path / "matrix" / "small" / "matrix.json").read_text())["pairings"]["clips"]
    assert {row["method"] for row in record["rows"]} == {"ssf"}
    assert record["failed"] == {"head_only, own, lr 0.01, seed 1": "loss became NaN"}


def test_sizes_at_budgets_that_the_plan_no_longer_has_hide_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for budgets in ([0.09], [0.05]):  # both are nearest to one size, which is nearer to the first
        words = [f"plan={planned(tmp_path, budgets=budgets)}", f"runs={tmp_path}", "methods=[lora]"]
        assert matrix.main([*words, "--print"]) == 0
        assert capsys.readouterr().out.count("lora, rank, alpha = 1: 32 trained") == 1


def test_help_says_what_the_keys_of_a_plan_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        matrix.main(["--help"])
    told = capsys.readouterr().out
    assert all(key in told for key in ("page=FILE.md", "rates: [", "places: {", "size: [rank, alpha]"))


def test_what_does_not_go_on_a_backbone_stands_below_the_table(tmp_path: Path, trainings: list[str]) -> None:
    methods = {
        "lora": PLAN["methods"]["lora"],
        "bitfit": {"method": {"_target_": "bitfit", "targets": {"vision": ["7"]}}},
    }
    changed = {"methods": methods, "rates": [0.01], "seeds": [0]}
    pairings = {"clips": {key: value for key, value in PLAN["pairings"]["clips"].items() if key != "changes"}}
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(PLAN | changed | {"budgets": [0.05], "pairings": pairings}))
    assert matrix.main([f"plan={file}", f"runs={tmp_path}", f"page={tmp_path / 'matrix.md'}"]) == 0
    assert "- bitfit does not go here: method.targets.vision" in (tmp_path / "matrix.md").read_text()


def test_a_place_that_there_is_not_is_a_mistake_of_the_plan(
    tmp_path: Path, trainings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pairings = {"clips": PLAN["pairings"]["clips"] | {"places": {"targets": {"vision": ["attn.qvk"]}}}}
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(PLAN | {"pairings": pairings}))
    with pytest.raises(SystemExit) as end:
        matrix.main([f"plan={file}", f"runs={tmp_path}"])
    assert end.value.code == 2
    assert "pairings.clips.places: method.targets.vision, block 0: 'attn.qvk' matches no" in capsys.readouterr().err
    assert not trainings


def test_a_page_without_marks_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    target.write_text("# Another page\n")
    with pytest.raises(Exception, match="expected the marks"):
        page.write(target, {"pairings": {}, "plan": {}}, "")
    assert target.read_text() == "# Another page\n"
    files.write_json(tmp_path / "x.json", {})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["methods=[lorra]"], "methods: the plan has no 'lorra'. Did you mean 'lora'?"),
        (["pairings=[scans]"], "pairings: the plan has no 'scans'"),
        (["budgets=[0.5]"], "budgets: the plan has no '0.5'"),
        (["scans.data.root=x"], "the plan has no such pairing"),
        (["clips.trainer.max_epoch=3"], "pairings.clips: unknown key 'trainer.max_epoch'. Did you mean 'max_epochs'?"),
        (["page=none/page.md"], "page: folder 'none' does not exist"),
        (["page=."], "page: expected a file"),
        (["page=unmarked.md"], "page: unmarked.md: expected the marks"),
    ],
)
def test_mistakes_in_the_command_are_one_line(
    tmp_path: Path,
    trainings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: Words,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("unmarked.md").write_text("# Another page\n")
    with pytest.raises(SystemExit) as stop:
        matrix.main([f"plan={planned(tmp_path)}", *words])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
    assert not trainings
