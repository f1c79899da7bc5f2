"""Metric values on known cases, against independent loops, and on the real annotation files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data_modules.ave import AVE, read_rows
from data_modules.llp import CLASSES, LLP
from zoo.catalog import card
from zoo.metrics import llp
from zoo.metrics.ave import EventLocalizationMetrics, balanced_accuracy, trivial_baselines
from zoo.metrics.bootstrap import bootstrap_interval
from zoo.metrics.classification import unclaimed
from zoo.metrics.llp import KINDS, LEVELS, VideoParsingMetrics
from zoo.records.cautions import cautions


def card_text(name: str) -> str:
    return (card.folder() / f"{name}.md").read_text(encoding="utf-8")


def test_ave_metrics_of_a_case_counted_by_hand() -> None:
    target = torch.tensor([[0, 0, 2, 2], [1, 2, 2, 2]])  # two classes, background 2
    prediction = torch.tensor([[0, 2, 2, 2], [0, 0, 2, 1]])
    metric = EventLocalizationMetrics(background=2)
    metric.update(prediction, target)
    values = {name: float(value) for name, value in metric.compute().items()}
    assert values == pytest.approx(
        {
            "segment_accuracy": 4 / 8,
            "foreground_accuracy": 1 / 3,
            "background_recall": 3 / 5,
            "video_accuracy": 1 / 2,
            "balanced_accuracy": ((1 / 2 + 2 / 2) / 2 + (0 + 1 / 3) / 2) / 2,
        }
    )


def test_a_video_without_background_is_balanced_over_what_it_has() -> None:
    target, prediction = torch.tensor([[0, 0, 1, 1], [2, 2, 2, 2]]), torch.tensor([[0, 0, 0, 1], [2, 0, 2, 2]])
    assert balanced_accuracy(prediction, target, 2).tolist() == [0.75, 0.75]


def test_ave_metrics_do_not_depend_on_how_videos_are_batched() -> None:
    generator = torch.Generator().manual_seed(0)
    target, prediction = (torch.randint(4, (13, 10), generator=generator) for _ in range(2))
    whole, parts = EventLocalizationMetrics(background=3), EventLocalizationMetrics(background=3)
    whole.update(prediction, target)
    for start in range(0, 13, 5):
        parts.update(prediction[start : start + 5], target[start : start + 5])
    torch.testing.assert_close(whole.compute(), parts.compute(), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="differ in shape"):
        whole.update(prediction[:, :5], target)


def test_the_trivial_predictors_of_the_real_ave_test_split(shared_data: Path) -> None:
    rows = read_rows(shared_data / "ave" / "testSet.txt")
    found = trivial_baselines(torch.stack([row.segments() for row in rows]), 28)
    values = {name: metrics["segment_accuracy"] for name, metrics in found.items()}
    assert values["all_background"] == pytest.approx(715 / 4020)
    assert values["true_class_everywhere"] == pytest.approx(3305 / 4020)
    assert 100 * values["all_background"] == pytest.approx(17.786, abs=5e-4)
    assert 100 * values["true_class_everywhere"] == pytest.approx(82.214, abs=5e-4)
    assert all(f"{100 * value:.3f} %" in card_text("tb_ava_ave") for value in values.values())


def test_the_real_ave_lists_have_their_known_counts(shared_data: Path) -> None:
    rows = AVE(root=str(shared_data / "ave")).rows()
    assert {split: len(part) for split, part in rows.items()} == {"train": 3339, "val": 402, "test": 402}
    ids = {split: {row.video for row in part} for split, part in rows.items()}
    assert len(ids["train"] & ids["test"]) == 8
    assert len(ids["train"] & ids["val"]) == 10
    assert not ids["val"] & ids["test"]
    every = read_rows(shared_data / "ave" / "Annotations.txt")
    assert (len(every), len({row.video for row in every})) == (4143, 4097)


def official_scores(pa: np.ndarray, pv: np.ndarray, ta: np.ndarray, tv: np.ndarray) -> np.ndarray:
    """One video, matrices [K, T]: the definition written as plain loops."""

    def runs(row: np.ndarray) -> list[set[int]]:
        out: list[set[int]] = []
        for t, on in enumerate(row):
            if on:
                if t and row[t - 1]:
                    out[-1].add(t)
                else:
                    out.append({t})
        return out

    def segment(p: np.ndarray, t: np.ndarray) -> list[tuple[int, int, int]]:
        return [(int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())) for a, b in zip(p, t, strict=True)]

    def event(p: np.ndarray, t: np.ndarray) -> list[tuple[int, int, int]]:
        out = []
        for a, b in zip(p, t, strict=True):
            said, true = runs(a), runs(b)
            hit = sum(any(len(x & y) / len(x | y) >= 0.5 for y in true) for x in said)
            out.append((hit, len(said) - hit, sum(not any(len(x & y) / len(x | y) >= 0.5 for x in said) for y in true)))
        return out

    def f(counts: list[tuple[int, int, int]]) -> float:
        active = [c for c in counts if sum(c)]
        return float(np.mean([2 * tp / (2 * tp + fp + fn) for tp, fp, fn in active])) if active else 1.0

    levels = []
    for count in (segment, event):
        a, v, av = count(pa, ta), count(pv, tv), count(pa & pv, ta & tv)
        pooled = [tuple(x + y for x, y in zip(i, j, strict=True)) for i, j in zip(a, v, strict=True)]
        levels.append([f(a), f(v), f(av), (f(a) + f(v) + f(av)) / 3, f(pooled)])
    return np.array(levels)


def test_llp_scores_equal_an_independent_loop() -> None:
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.7):
        parts = [rng.random((6, 5, 10)) < share for _ in range(4)]
        ours = llp.scores(*(torch.from_numpy(p) for p in parts)).numpy()
        theirs = np.stack([official_scores(*video) for video in zip(*parts, strict=True)])
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.slow
def test_the_trivial_predictors_of_the_real_llp_test_split_equal_the_loop(shared_data: Path) -> None:
    data = LLP(root=str(shared_data / "llp"))
    labels = data.labels()
    assert {split: len(part) for split, part in labels.items()} == {"train": 10_000, "val": 649, "test": 1200}
    audio, visual = (torch.stack([t[m].bool() for t in labels["test"].values()]) for m in ("audio", "visual"))
    values = llp.trivial_baselines(audio, visual)
    known = (audio | visual).any(1, keepdim=True).expand_as(audio)
    for name, said in {"nothing": torch.zeros_like(known), "true_classes_everywhere": known}.items():
        p, a, v = (x.transpose(1, 2).numpy() for x in (said, audio, visual))
        mean = 100 * np.mean([official_scores(p[i], p[i], a[i], v[i]) for i in range(len(p))], axis=0)
        ours = np.array([[values[name][f"{level}/{kind}"] for kind in KINDS] for level in LEVELS])
        np.testing.assert_allclose(ours, mean, atol=1e-9)
        for level, row in zip(LEVELS, mean, strict=True):
            cells = [name.replace("_", " "), level, *(f"{value:.2f}" for value in row)]
            assert f"| {' | '.join(cells)} |" in card_text("tb_ava_llp")
    listed = torch.stack([target["weak"].bool() for target in labels["test"].values()])[:, None].expand_as(audio)
    metric = VideoParsingMetrics()
    metric.update(listed, listed, audio, visual)
    found = metric.compute()
    for level in LEVELS:
        cells = ["weak labels everywhere", level, *(f"{float(found[f'{level}/{kind}']):.2f}" for kind in KINDS)]
        assert f"| {' | '.join(cells)} |" in card_text("tb_ava_llp")


def test_perfect_and_empty_predictions() -> None:
    truth = torch.zeros(2, 10, len(CLASSES), dtype=torch.bool)
    truth[0, 2:5, 3] = True
    metric = VideoParsingMetrics()
    metric.update(truth, truth, truth, truth)
    assert all(float(value) == 100 for value in metric.compute().values())


def test_the_bootstrap_covers_the_mean_and_narrows_with_n() -> None:
    generator = torch.Generator().manual_seed(0)
    small, large = torch.rand(50, generator=generator), torch.rand(5000, generator=generator)
    for values in (small, large):
        low, high = bootstrap_interval(values)
        assert low < float(values.mean()) < high
    width = [high - low for low, high in map(bootstrap_interval, (small, large))]
    assert width[1] == pytest.approx(2 * 1.96 * 0.2887 / 5000**0.5, rel=0.1)
    assert width[0] > 5 * width[1]
    assert bootstrap_interval(torch.ones(4)) == (1, 1)


def test_classes_that_labels_alone_have_are_named_where_a_run_ends() -> None:
    names = ["dog", "rain", "siren"]
    truth = torch.tensor([[0, 0], [2, 0]])
    assert unclaimed(names, truth, torch.tensor([[0, 1], [0, 0]])) == ["siren"]
    assert unclaimed(names, truth, torch.tensor([[2, 1], [0, 0]])) == []
    record = {"split": "test", "never_predicted": ["siren"]}
    assert cautions(record) == ["never predicted on test, where labels have it: siren"]
    assert cautions({"split": "test"}) == []
