"""NLL, Brier, ECE and the temperature: by hand, beside other people's code, and by what must hold of them."""

import math

import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error

from zoo.batch import Batch
from zoo.metrics import calibration
from zoo.metrics.names import CALIBRATION, directed, named
from zoo.tasks.classification import Classification
from zoo.tasks.event_localization import EventLocalization


def drawn(count: int = 4000, classes: int = 6, *, sharpness: float = 1.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [N, K], and labels drawn from their softmax: they are calibrated as they are."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(count, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def two(first: list[float]) -> Tensor:
    """Probabilities of two classes, by those of the first."""
    values = torch.tensor(first, dtype=torch.double)
    return torch.stack([values, 1 - values], dim=-1)


def test_by_hand() -> None:
    # No probability lies on an edge of either.
    probabilities, labels = two([0.93, 0.81, 0.63, 0.57, 0.28, 0.04]), torch.tensor([0, 1, 0, 1, 1, 1])
    found = calibration.scores(probabilities, labels)
    assert found == pytest.approx(
        {"nll": 0.568106, "brier": 0.400933, "ece_15": 0.356667, "ece_20": 0.356667}, abs=1e-6
    )
    own = [0.93, 0.19, 0.63, 0.43, 0.72, 0.96]
    assert found["nll"] == pytest.approx(-sum(map(math.log, own)) / 6)
    # Of two classes both are summed: twice the square of the one error.
    assert found["brier"] == pytest.approx(sum(2 * (1 - p) ** 2 for p in own) / 6)


def test_one_bin_holds_right_and_wrong_together() -> None:
    """Two samples of one bin: their gaps add up before the absolute value is taken."""
    probabilities, labels = two([0.91, 0.93, 0.61]), torch.tensor([0, 1, 0])
    assert calibration.ece(probabilities, labels, 10) == pytest.approx(2 / 3 * (0.92 - 0.5) + 1 / 3 * 0.39)
    count, accuracy, confidence = calibration.reliability(probabilities, labels, 10)
    assert count.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 2]
    assert (accuracy[9], confidence[9]) == (0.5, pytest.approx(0.92))
    assert accuracy[:6].isnan().all()


@pytest.mark.parametrize(("top", "place"), [(0.5, 1), (0.5 + 1e-9, 2), (0.75, 2), (1.0, 3), (1.0 + 1e-7, 3)])
def test_a_probability_on_an_edge_belongs_to_the_bin_below_and_one_to_the_last(top: float, place: int) -> None:
    """Of four bins, whose edges floating point has exactly; above 1 is a rounding."""
    count, _, _ = calibration.reliability(two([top]), torch.tensor([0]), 4)
    assert count.nonzero().flatten().tolist() == [place]


@pytest.mark.parametrize("bins", calibration.BINS)
@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_ece_is_that_of_torchmetrics(factor: float, bins: int) -> None:
    logits, labels = drawn()
    probabilities = (factor * logits).softmax(-1)
    theirs = multiclass_calibration_error(probabilities, labels, num_classes=6, n_bins=bins, norm="l1")
    assert calibration.scores(probabilities, labels)[f"ece_{bins}"] == pytest.approx(theirs.item(), abs=1e-6)


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_nll_and_brier_are_those_of_scikit_learn_and_of_the_definition(factor: float) -> None:
    logits, labels = drawn()
    probabilities = (factor * logits).double().softmax(-1)
    found = calibration.scores(probabilities, labels)
    assert found["nll"] == pytest.approx(log_loss(labels.numpy(), probabilities.numpy()), abs=1e-9)
    assert found["nll"] == pytest.approx(F.cross_entropy(factor * logits, labels).item(), abs=1e-5)
    assert found["brier"] == pytest.approx((probabilities - F.one_hot(labels, 6)).square().sum(-1).mean().item())
    binary = probabilities[:, 0] / (probabilities[:, 0] + probabilities[:, 1])
    theirs = brier_score_loss((labels == 0).numpy(), binary.numpy())  # of one class of two
    assert calibration.scores(two(binary.tolist()), (labels != 0).long())["brier"] == pytest.approx(2 * theirs)


def test_float32_says_the_same_as_float64() -> None:
    logits, labels = drawn()
    single, double = (calibration.scores(logits.to(t).softmax(-1), labels) for t in (torch.float32, torch.float64))
    assert single == pytest.approx(double, abs=1e-6)


def test_what_is_calibrated_has_next_to_no_error_and_what_is_too_sure_has_one() -> None:
    logits, labels = drawn(40_000)
    fair, sure = (calibration.scores((factor * logits).softmax(-1), labels) for factor in (1.0, 3.0))
    assert max(fair["ece_15"], fair["ece_20"]) < 0.015
    assert min(sure["ece_15"], sure["ece_20"]) > 0.15
    assert fair["nll"] < sure["nll"]
    assert fair["brier"] < sure["brier"]


def test_a_label_without_probability_costs_much_and_not_infinitely() -> None:
    impossible = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    found = calibration.scores(impossible, torch.tensor([0, 2]))
    assert found["nll"] == pytest.approx(-math.log(calibration.LEAST) / 2)
    assert found["brier"] == 1  # (0 + 2) / 2
    assert 1 / calibration.WIDEST <= calibration.temperature(impossible, torch.tensor([0, 2])) <= calibration.WIDEST


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5, 6.0])
def test_the_temperature_is_the_factor_by_which_logits_were_multiplied(factor: float) -> None:
    """Of labels drawn from the softmax of the logits, the best temperature is near the factor; that of the same logits
    times the factor is the factor times as large, whatever was drawn."""
    logits, labels = drawn(40_000)
    one, found = (calibration.temperature((f * logits).softmax(-1), labels) for f in (1.0, factor))
    assert one == pytest.approx(1, abs=0.02)
    assert found == pytest.approx(factor * one, rel=1e-4)
    back = calibration.at_temperature((factor * logits).softmax(-1), factor)
    torch.testing.assert_close(back, logits.double().softmax(-1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_no_temperature_has_a_lower_nll_and_none_changes_a_decision(seed: int) -> None:
    logits, _ = drawn(200, seed=seed)
    labels = torch.randint(6, (200,), generator=torch.Generator().manual_seed(seed))  # as wrong as they may be
    labels[:120] = logits[:120].argmax(-1)
    probabilities = (2 * logits).softmax(-1)
    best = calibration.temperature(probabilities, labels)
    tempered = calibration.at_temperature(probabilities, best)
    least = calibration.scores(tempered, labels)["nll"]
    for other in (1.0, 0.98 * best, 1.02 * best, 1 / calibration.WIDEST, calibration.WIDEST):
        assert least <= calibration.scores(calibration.at_temperature(probabilities, other), labels)["nll"]
    assert torch.equal(tempered.argmax(-1), probabilities.argmax(-1))


def test_temperatures_have_bounds() -> None:
    logits, labels = drawn(50)
    certain, against = logits.argmax(-1), logits.argmin(-1)
    probabilities = logits.softmax(-1)
    assert calibration.temperature(probabilities, certain) == 1 / calibration.WIDEST
    assert calibration.temperature(probabilities, against) == calibration.WIDEST
    assert calibration.temperature(torch.full((50, 6), 1 / 6), labels) == 1


def test_a_class_that_is_no_candidate_stays_impossible_at_every_temperature() -> None:
    logits, labels = drawn(300)
    logits[:, 5] = torch.finfo(torch.float32).min
    labels[labels == 5] = 0
    best = calibration.temperature(logits.softmax(-1), labels)
    assert best == pytest.approx(calibration.temperature(logits[:, :5].softmax(-1), labels))
    for value in (best, calibration.WIDEST):
        assert (calibration.at_temperature(logits.softmax(-1), value)[:, 5] == 0).all()


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"probabilities \[3, 2\] and labels \[2\]: expected \[N, K\] and \[N\]"):
        calibration.scores(torch.rand(3, 2), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("task", [Classification(hidden=()), EventLocalization()])
def test_a_task_counts_the_same_in_one_batch_and_in_many(task: Classification | EventLocalization) -> None:
    """Beside its accuracy, and of every segment where it names one."""
    task.attach({"vision": 4}, ["a", "b", "c"])
    classes, segments = (3, ()) if isinstance(task, Classification) else (4, (5,))
    generator = torch.Generator().manual_seed(0)
    probabilities = (2 * torch.randn(11, *segments, classes, generator=generator)).softmax(-1)
    labels = torch.randint(classes, (11, *segments), generator=generator)
    name = task.decided[0]
    found = []
    for size in (11, 4, 1):
        task.reset()
        for part, own in zip(probabilities.split(size), labels.split(size), strict=True):
            batch = Batch([str(i) for i in range(len(own))], {}, {name: own})
            task.update({name: part.argmax(-1), "probabilities": part}, batch)
        found.append(task.compute())
    assert found[0] == pytest.approx(found[1], abs=1e-12)
    assert found[0] == pytest.approx(found[2], abs=1e-12)
    whole = calibration.scores(probabilities.flatten(0, -2), labels.flatten())
    assert {key: found[0][key] for key in CALIBRATION} == pytest.approx(whole)
    assert task.monitor in found[0]
    task.reset()
    assert task.probabilities == []


def test_they_have_names_and_a_direction() -> None:
    assert set(calibration.scores(two([0.9]), torch.tensor([0]))) == set(CALIBRATION)
    assert [directed(name) for name in CALIBRATION] == [f"{named(name)} (lower is better)" for name in CALIBRATION]
    assert named("ece_15") == "ECE, 15 bins"
