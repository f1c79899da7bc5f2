"""OV-AVEBench's metrics on cases counted by hand."""

import pytest
import torch

from zoo.metrics.ov_ave import means, trivial_baselines, video_scores

TARGET = torch.tensor([[0, 0, 0, 2, 2, 2, 2, 2, 2, 2], [2] * 10, [1, 1, 2, 2, 2, 2, 2, 2, 1, 1]])
"""Two classes, background 2."""
PREDICTION = torch.tensor([[0, 0, 2, 2, 2, 2, 2, 2, 1, 1], [2] * 10, [1, 1, 2, 2, 2, 2, 2, 2, 0, 2]])
SEGMENT_F1 = [
    (2 * 2 / (2 * 2 + 1) + 0 + 2 * 5 / (2 * 5 + 1 + 2)) / 3,  # class 0, class 1 that is not there, background
    1.0,
    (2 * 2 / (2 * 2 + 2) + 0 + 2 * 6 / (2 * 6 + 1)) / 3,  # class 1, class 0 that is not there, background
]
EVENT_F1 = [
    (1 + 0 + 1) / 3,  # 2 of 3 seconds; none; 5 of 8 seconds
    1.0,
    (2 * 1 / (2 * 1 + 1) + 0 + 2 * 1 / (2 * 1 + 1)) / 3,  # one of two; none; the last second is an event of its own
]


def test_scores_of_cases_counted_by_hand() -> None:
    scores = video_scores(PREDICTION, TARGET, 2)
    accuracy = [0.7, 1.0, 0.8]
    expected = torch.tensor([accuracy, SEGMENT_F1, EVENT_F1], dtype=torch.double).T
    torch.testing.assert_close(scores[:, :3], expected)
    torch.testing.assert_close(scores[:, 3], expected.mean(1))
    with pytest.raises(ValueError, match="differ in shape"):
        video_scores(PREDICTION[:2], TARGET, 2)


def test_an_event_is_found_by_half_of_the_union_and_no_less() -> None:
    target = torch.tensor([[0] * 4 + [1] * 6])
    for found, right in ((2, True), (1, False)):
        prediction = torch.tensor([[0] * found + [1] * (10 - found)])
        assert video_scores(prediction, target, 1)[0, 2] == ((1 if right else 0) + 1) / 2


def test_means_by_seen_and_unseen_classes() -> None:
    scores = video_scores(PREDICTION, TARGET, 2)
    found = means(scores, torch.tensor([False, True, True]))
    assert found["event_f1"] == pytest.approx(sum(EVENT_F1) / 3)
    assert found["event_f1_seen"] == pytest.approx(EVENT_F1[0])
    assert found["event_f1_unseen"] == pytest.approx(sum(EVENT_F1[1:]) / 2)
    assert (
        set(means(scores, torch.tensor([False] * 3)))
        == set(means(scores))
        == set(found) - {f"{name}_{part}" for name in means(scores) for part in ("seen", "unseen")}
    )
    assert set(means(scores, torch.tensor([True] * 3))) == set(means(scores)) | {f"{n}_unseen" for n in means(scores)}


def test_trivial_predictors() -> None:
    found = trivial_baselines(TARGET, 2, torch.tensor([False, True, True]))
    assert found["all_background"]["segment_accuracy"] == pytest.approx((0.7 + 1 + 0.6) / 3)
    assert found["all_background"]["segment_f1_seen"] == pytest.approx((0 + 14 / 17) / 2)
    assert found["true_class_everywhere"]["segment_accuracy"] == pytest.approx((0.3 + 1 + 0.4) / 3)
    assert found["true_class_everywhere"]["event_f1_seen"] == 0
    assert found["true_class_everywhere"]["mean_of_three"] < 1
