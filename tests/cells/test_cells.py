"""The plan of a matrix: what it says is checked at once, and becomes one recipe a training."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure
from matrix_plan import PLAN, TINY

from zoo.cells import budget, marks, page, pareto
from zoo.cells.check import check
from zoo.cells.plan import OWN, Contender, configuration, read
from zoo.recipe.compose import RecipeError


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_TRUST", "tiny,tiny_data")


def written(folder: Path, **changes: object) -> Path:
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(PLAN | changes))
    return file


def test_a_plan_becomes_the_recipes_of_its_trainings(tmp_path: Path) -> None:
    plan = read(written(tmp_path), {"clips.loader.batch_size": "3"})
    (setting,), (head, lora, ssf) = plan.settings, plan.contenders
    config = configuration(setting, lora, size=5, rate=0.003, seed=1)
    assert (config.method.rank, config.method.alpha, config.optimizer.lr, config.seed) == (5, 5, 0.003, 1)
    assert config.method.targets == {"vision": ["1"]}
    assert config.method.last == {"vision": 2}
    assert config.loader.batch_size == 3
    assert config.trainer.max_epochs == 2
    assert configuration(setting, head).trainer.max_epochs == 7, "of this method alone"
    assert "targets" not in configuration(setting, head).method, "it has no such setting"
    assert configuration(setting, ssf).method.targets == {"audio": ["0"]}, "its own stand before the pairing's"
    assert [plan.budgets_of(one) for one in plan.contenders] == [(OWN,), (0.05, 0.4), (OWN,)]


def test_a_recipe_beside_the_plan_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TINY.read_text())
    pairings = {"mine": {"title": "Mine", "recipe": "mine.yaml", "stream": "vision"}}
    plan = read(written(tmp_path, pairings=pairings))
    assert configuration(plan.settings[0], plan.contenders[0]).data.kind == "clips"


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    pairings = {"clips": {"titel": "x", "recipe": "tiny"}}
    with pytest.raises(RecipeError) as error:
        read(written(tmp_path, seeds=["a"], pairings=pairings, rates=None))
    told = "\n".join(error.value.problems)
    for part in (
        "'rates' is missing",
        "seeds: expected a list of whole numbers",
        "pairings.clips: unknown key 'titel'. Did you mean 'title'?",
        "pairings.clips: 'title' is missing",
        "pairings.clips: 'stream' is missing",
    ):
        assert part in told


def test_names_that_are_none_are_told(tmp_path: Path) -> None:
    methods = {"lora": {"method": "lorra"}}
    with pytest.raises(RecipeError) as error:
        read(written(tmp_path, against="dora", methods=methods), {"scans.data.root": "x"})
    told = "\n".join(error.value.problems)
    for part in (
        "lorra",
        "against: 'dora' is none of its methods",
        "'scans.data.root=x': the plan has no such pairing",
    ):
        assert part in told
    assert "changes.head_only: there is no such method" in told
    with pytest.raises(RecipeError, match="does not exist"):
        read(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seeds": [0, 0]}, "seeds: expected a list of whole numbers, each once, got [0, 0]"),
        ({"seeds": [True]}, "seeds: expected a list of whole numbers"),
        ({"rates": [0]}, "rates: expected a list of numbers above 0"),
        ({"budgets": "1 %"}, "budgets: expected a list of shares above 0 and up to 1"),
        ({"budgets": [10]}, "budgets: expected a list of shares above 0 and up to 1"),
        ({"methods": {"a/b": {"method": "lora"}}}, "methods: a name has letters"),
        ({"methods": {"lora": {"method": ["lora"]}}}, "methods.lora.method: expected a name, or a block"),
        ({"methods": {"lora": {"method": {"rank": 4}}}}, "methods.lora.method: expected a block with _target_"),
        ({"methods": {"lora": {"method": "lora", "size": 4}}}, "methods.lora.size: expected a setting"),
        ({"methods": {"lora": {"method": "lora", "step": "four"}}}, "methods.lora.step: expected a whole number"),
    ],
)
def test_a_value_of_another_kind_is_told_with_its_key(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    with pytest.raises(RecipeError) as error:
        read(written(tmp_path, **changes))
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"places": ["1"]}, "pairings.clips.places: expected a mapping"),
        ({"changes": {"lora": 3}}, "pairings.clips.changes: expected a mapping of methods to settings"),
        ({"changes": {"lora": {"trainer.epochs": 3}}}, "pairings.clips, methods.lora: unknown key 'trainer.epochs'"),
        ({"recipe": "tinny.yaml"}, "pairings.clips: recipe file 'tinny.yaml' does not exist"),
        ({"foreign": {"_target_": "data_modules.none.None"}}, "pairings.clips.foreign._target_: no module"),
        ({"foreign": {"_target_": "synthetic_scans", "pints": 3}}, "unknown key 'pairings.clips.foreign.pints'"),
        ({"foreign": "rsscn7"}, "pairings.clips.foreign.root"),
        ({"foreign": {"_target_": "rsscn7", "root": "/none"}}, "foreign.root: expected a folder, and '/none' is none"),
    ],
)
def test_what_a_training_would_meet_is_told_before_the_first(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    clips = PLAN["pairings"]["clips"] | {"changes": {}}
    with pytest.raises(RecipeError) as error:
        check(read(written(tmp_path, pairings={"clips": clips | change})), ["clips"], ["head_only", "lora", "ssf"])
    assert told in str(error.value)


def test_what_is_not_wanted_is_not_checked(tmp_path: Path) -> None:
    clips = PLAN["pairings"]["clips"]
    pairings = {"clips": clips, "pictures": clips | {"recipe": "rsscn7_open", "changes": {}}}
    plan = read(written(tmp_path, pairings=pairings))
    check(plan, ["clips"], ["head_only", "lora", "ssf"])
    with pytest.raises(RecipeError, match=r"give pictures\.data\.root"):
        check(plan, ["pictures"], ["head_only"])


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("start", [0, 1000])
def test_the_nearest_size_is_found(power: int, start: int) -> None:
    def count(size: int) -> int:
        asked.append(size)
        return start + 768 * int(size**power)

    for wanted in (0, 1, 1000, 21_537, 215_366, 3_000_000):
        asked: list[int] = []
        size, number = budget.nearest(count, wanted)
        assert len(asked) <= 12, "every count attaches the method"
        assert number == count(size)
        assert abs(number - wanted) == min(abs(count(one) - wanted) for one in range(1, 4200))


def test_what_a_size_trains_is_counted_without_the_head(tmp_path: Path) -> None:
    plan = read(written(tmp_path))
    setting, lora = plan.settings[0], plan.contenders[1]
    assert budget.trained(configuration(setting, lora, size=3)) == 2 * 3 * (8 + 8)
    of = budget.weights(setting)
    assert of == 12 * 8 + 8 + 3 * (8 * 8 + 8 + 16) + 16
    found = budget.sizes(plan, setting, lora, {}, of)
    assert found == {"0.05": {"size": 1, "trained": 32}, "0.4": {"size": 5, "trained": 160}}
    assert budget.sizes(plan, setting, lora, {"0.05": {"size": 9, "trained": 9}}, of)["0.05"]["size"] == 9, "known"
    even = replace(lora, step=2)
    assert budget.sizes(plan, setting, even, {}, of)["0.4"] == {"size": 4, "trained": 128}
    head = Contender("head_only", plan.contenders[0].block)
    assert budget.sizes(plan, setting, head, {}, of) == {OWN: {"size": None, "trained": 0}}


def test_a_size_stands_once_at_the_budget_it_is_nearest_to() -> None:
    found = {
        "0.001": {"size": 1, "trained": 70},
        "0.01": {"size": 1, "trained": 70},
        "0.1": {"size": 9, "trained": 900},
    }
    assert list(budget.distinct(found, 10_000)) == ["0.01", "0.1"]


def test_the_front_is_what_no_other_beats_in_both() -> None:
    points = [(1.0, 50.0), (2.0, 40.0), (2.0, 60.0), (3.0, 60.0), (4.0, 70.0)]
    assert pareto.front(points) == [0, 2, 4]


def test_the_picture_shows_costs_in_their_units_and_labels_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **words: drawn.append(figure))
    rows = [
        {"method": "head", "mean": 10.0, "std": 4.0, "trained": 0, "peak_mib": 1007, "step_ms": 7, "bytes": 14 * 1024},
        {"method": "lora", "mean": 6.0, "std": None, "trained": 3072, "peak_mib": 1141, "step_ms": 99, "bytes": 61440},
    ]
    pareto.draw(tmp_path / "x.png", {"rows": rows, "metric": "accuracy", "title": "Two"}, page.COSTS)
    panels = {panel.get_xlabel(): panel for panel in drawn[0].axes}
    assert [panel.get_xscale() for panel in panels.values()] == ["log", "linear", "log", "linear"], "wide or narrow"
    assert panels["checkpoint, KiB"].get_xlim()[1] < 80
    assert panels["peak memory, MiB"].get_xlim()[0] > 900


def test_the_page_of_the_site_is_what_its_record_makes_of_it() -> None:
    docs = Path(__file__).parents[2] / "docs"
    record = json.loads((docs / "matrix.json").read_text(encoding="utf-8"))
    text = (docs / "matrix.md").read_text(encoding="utf-8")
    assert page.generated(docs / "matrix.md", record) == text.partition(marks.BEGIN)[2].partition(marks.END)[0]
    assert all(page.picture(docs / "matrix.md", name).is_file() for name in record["pairings"])
