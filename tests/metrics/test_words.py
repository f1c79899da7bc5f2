"""Metrics have names and directions for readers, in tables, cards, pictures and lines, and intervals that hold."""

import io
from typing import Any

import pytest
import torch
from rich.console import Console
from scipy.stats import binomtest

from zoo.catalog import card, evidence
from zoo.catalog.card import read
from zoo.metrics.bootstrap import bootstrap_interval, mean_interval
from zoo.metrics.names import GOOD, HIGHER_ELSE, NAMES, logged, named
from zoo.metrics.wilson import wilson
from zoo.records import comparison
from zoo.report import tables


def shown(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def record(right: int, n: int, unit: str = "fraction") -> dict[str, Any]:
    whole = 1.0 if unit == "fraction" else 100.0
    samples = torch.tensor([whole] * right + [0.0] * (n - right), dtype=torch.double)
    return {
        "split": "test",
        "unit": unit,
        "n": n,
        "monitor": "accuracy",
        "metrics": {"accuracy": whole * right / n, "parse_failures": 0.25, "somebodys_own": 0.5},
        "intervals": {"accuracy": list(mean_interval(samples, whole=whole))},
        "probes": {},
        "baselines": {"commonest_class": {"accuracy": 0.25 * whole}},
        "method": {"gsd_mae_octaves": 0.5, "gsd_coverage_90": 0.88, "another_number": 3.0},
        "branches": {},
        "by": {},
    }


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Of 9 and 10: Brown, Cai, DasGupta, Statistical Science 16, 2001; z^2 = 3.8415, so n / (n + z^2) and the rest.
    [(9, 9, 70.1, 100.0), (0, 10, 0.0, 27.8), (1, 1, 20.7, 100.0)],
)
def test_all_right_or_all_wrong_is_not_said_to_be_certain(right: int, n: int, low: float, high: float) -> None:
    for unit in ("fraction", "percent"):
        measured = record(right, n, unit)
        whole = 1.0 if unit == "fraction" else 100.0
        ends = measured["intervals"]["accuracy"]
        assert [round(100 * end / whole, 1) for end in ends] == [low, high]
        assert "(Wilson)" in tables.interval(measured, "accuracy")


@pytest.mark.parametrize(("right", "n"), [(58, 60), (450, 450), (591, 700), (3, 7)])
def test_intervals_of_shares_are_those_of_another_implementation(right: int, n: int) -> None:
    ends = binomtest(right, n).proportion_ci(method="wilson")
    assert mean_interval(torch.tensor([1.0] * right + [0.0] * (n - right))) == pytest.approx(ends, abs=1e-6)
    assert wilson(right / n, n) == pytest.approx(ends, abs=1e-6)


def test_means_over_samples_that_are_partly_right_are_bootstrapped_and_called_nothing_else() -> None:
    partly = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    assert mean_interval(partly) == bootstrap_interval(partly)
    measured = record(5, 10) | {"intervals": {"accuracy": [0.2, 0.8]}}
    assert tables.interval(measured, "accuracy") == "20.00 % to 80.00 %"


def test_tables_name_metrics_in_words_and_say_which_way_is_good() -> None:
    page = shown(tables.evaluation(record(9, 9), record(9, 9)))
    assert "scale error, octaves (lower is better)" in page
    assert "true scales within the 90 % interval (0.9 is best)" in page
    assert "answers that name no choice (lower is better)" in page
    assert HIGHER_ELSE in page
    assert "70.09 % to 100.00 % (Wilson)" in page
    for key in ("gsd", "mae", "parse failures"):
        assert key not in page
    assert "somebodys own" in page, "a metric of another package's task is called by its key"
    assert "another number" in page


def test_whatever_is_lower_better_has_a_name() -> None:
    assert set(GOOD) - {"loss"} <= set(NAMES)


@pytest.mark.parametrize(
    ("key", "line"),
    [("val/selected", "val balanced accuracy"), ("train/loss", "train loss"), ("val/own_metric", "val own metric")],
)
def test_what_is_logged_is_named(key: str, line: str) -> None:
    assert logged(key, "balanced_accuracy") == line


def test_no_key_of_our_metrics_stands_in_a_card_where_words_do() -> None:
    for path in sorted(card.folder().glob("*.md")):
        names = {
            m["name"]
            for model in read(path).front.get("model-index") or []
            for r in model["results"]
            for m in r["metrics"]
        }
        keys = {key for run in evidence.read(path)["runs"] for key in run["metrics"]}
        assert names <= {named(key) for key in keys}, path.name


def test_a_comparison_says_which_way_is_good() -> None:
    row = {
        "name": "recipe",
        "probes": [],
        "metrics": {"accuracy": {"mean": 90.0, "std": None}, "parse_failures": {"mean": 2.0, "std": None}},
        "gap": None,
        "trainable": 1,
        "step_ms": 1,
        "peak_mib": 1,
        "checkpoint_kib": 1,
        "method": {"gsd_mae_octaves": {"mean": 0.4, "std": None}},
    }
    told = {"about": {"metric": "accuracy"}, "rows": [row], "baselines": {}}
    header, _ = comparison.cells(told)
    assert "answers that name no choice (lower is better)" in header
    assert comparison.method_cells(told)[0] == ["variant", "scale error, octaves (lower is better)"]


def test_a_metric_on_a_part_of_the_samples_is_called_by_both() -> None:
    assert named("event_f1_unseen") == "F1 of events, unseen classes"
    assert named("mean_of_three_seen_silence") == "mean of accuracy and both F1, seen classes, without sound"
    assert named("unseen") == "unseen"
    assert named("iou/dead_unseen") == "IoU of dead_unseen", "a class may be called like a part"
