"""LoRA-XS with a Laplace posterior: Jacobians and predictions against plain autograd, sample by sample."""

from collections.abc import Callable
from typing import Any

import pytest
import small_vit
import timm_tiny as timm_tiny
import torch
from small_vit import batch, features, step
from torch import Tensor

from zoo.backbones.timm_encoder import TimmEncoder
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods import laplace_lora_xs
from zoo.methods.frozen import Frozen
from zoo.methods.laplace_lora_xs import LaplaceLoRAXS
from zoo.methods.lora_xs import LoRAXS
from zoo.ops import laplace
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.training.look import Look

PLACE: dict[str, Any] = {"targets": {"vision": ["attn.proj", "mlp.fc2"]}, "last": {"vision": 2}, "rank": 2}
EVERY = (0, 1, 2)


def bayesian(**settings: Any) -> LaplaceLoRAXS:
    return LaplaceLoRAXS(**PLACE | {"draws": 40, "passes": 3} | settings)


def trained(seed: int = 0, **settings: Any) -> Pairing:
    model = small_vit.pairing(bayesian(**settings), seed)
    step(model)
    return model


def look(model: Pairing) -> Look:
    return Look(model, [batch(EVERY[:2]), batch(EVERY[2:])])


def concluded(**settings: Any) -> Pairing:
    model = trained(**settings)
    model.method.conclude(look(model))
    return model


@torch.no_grad()
def predicted(model: Pairing, rows: tuple[int, ...] = EVERY) -> Tensor:
    return model.predict(batch(rows))["probabilities"]


def one_by_one(model: Pairing, whole: Batch) -> tuple[Tensor, Tensor]:
    """Logits [B, K] and Jacobians [B, K, P], by a backward pass for every sample and class."""
    cores = [core.core for core in model.method.cores]
    logits, rows = [], []
    for row in range(len(whole)):
        alone = Batch([whole.ids[row]], {name: each[row : row + 1] for name, each in whole.inputs.items()}, {})
        found = model.logits(alone)[0]
        logits.append(found.detach())
        parts = [torch.autograd.grad(each, cores, retain_graph=True) for each in found]
        rows.append(torch.stack([torch.cat([one.flatten() for one in part]) for part in parts]))
    return torch.stack(logits), torch.stack(rows)


def posterior(model: Pairing, precision: float) -> Tensor:
    """Covariance [P, P], by the formula."""
    logits, rows = one_by_one(model, batch(EVERY))
    shares = logits.double().softmax(-1)
    curvature = sum(j.T @ (torch.diag(p) - torch.outer(p, p)) @ j for j, p in zip(rows.double(), shares, strict=True))
    return torch.linalg.inv(curvature + precision * torch.eye(rows.shape[-1], dtype=torch.double))


def test_it_starts_at_the_frozen_model_and_its_posterior_there_needs_a_prior() -> None:
    model = small_vit.pairing(bayesian())
    assert torch.equal(features(model), features(small_vit.pairing(Frozen())))
    with pytest.raises(SettingError, match=r"method\.prior: the trained numbers are all 0"):
        model.method.conclude(look(model))
    model = small_vit.pairing(bayesian(prior=2.0))
    assert model.method.conclude(look(model))["prior_precision"] == 2
    root = model.method.root.double()
    torch.testing.assert_close(root @ root.T, posterior(model, 2.0), atol=1e-5, rtol=1e-4)
    with model.method.without():
        frozen = small_vit.pairing(Frozen())
        frozen.task.load_state_dict(model.task.state_dict())
        assert torch.equal(predicted(model), predicted(frozen))


def test_jacobians_of_a_batch_are_those_of_its_samples() -> None:
    model = trained()
    logits, jacobians = model.method.jacobians(model.logits, batch(EVERY))
    expected = one_by_one(model, batch(EVERY))
    assert jacobians.shape == (3, 2, 16)
    torch.testing.assert_close(logits, expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(jacobians, expected[1], atol=1e-4, rtol=1e-3)
    assert all(core.other is None for core in model.method.cores)


def test_jacobians_of_segments_and_windows_belong_to_their_samples() -> None:
    torch.manual_seed(0)
    backbone = TimmEncoder(model="tiny_swin", source="random:0", image_size=timm_tiny.SIDE)
    method = LaplaceLoRAXS(targets={"vision": ["attn.qkv", "mlp.fc1"]}, last={"vision": 2}, rank=2)
    model = Pairing({"vision": backbone}, method, Classification(hidden=()), classes=["a", "b", "c"]).eval()
    pictures = torch.randn(3, 2, 3, timm_tiny.SIDE, timm_tiny.SIDE)
    whole = Batch(["0", "1", "2"], {"vision": pictures}, {"label": torch.arange(3)})
    with torch.no_grad():
        for core in method.cores:
            core.core.normal_(std=0.3)
    jacobians, expected = method.jacobians(model.logits, whole)[1], one_by_one(model, whole)[1]
    assert not torch.allclose(expected[0], expected[1], rtol=0.1)
    torch.testing.assert_close(jacobians, expected, atol=1e-4, rtol=1e-3)


def test_the_posterior_is_the_inverse_of_the_whole_gauss_newton_matrix_at_the_best_prior() -> None:
    model = trained()
    numbers = model.method.conclude(look(model))
    precision = numbers["prior_precision"]
    assert model.method.precision.item() == pytest.approx(precision)
    assert numbers["samples"] == 3
    covariance = posterior(model, precision)
    root = model.method.root.double()
    torch.testing.assert_close(root @ root.T, covariance, atol=1e-6, rtol=1e-3)
    theta = torch.cat([core.core.detach().flatten() for core in model.method.cores]).double()
    curvature = torch.linalg.inv(covariance) - precision * torch.eye(16, dtype=torch.double)
    assert numbers["effective_parameters"] == pytest.approx(precision * theta.square().sum().item(), rel=1e-3)
    loss = sum(term.sum() for term in model.task.loss(model(batch(EVERY)), batch(EVERY)).values())
    evidence = laplace.log_evidence(curvature, theta, precision, -loss.item())
    assert numbers["log_evidence"] == pytest.approx(evidence, rel=1e-3)


def test_the_diagonal_takes_the_matrix_s_own() -> None:
    model = concluded(curvature="diagonal", prior=3.0)
    whole = torch.linalg.inv(posterior(model, 3.0)).diag()
    torch.testing.assert_close(model.method.root.double(), whole.rsqrt().diag(), atol=1e-6, rtol=1e-3)


def test_a_linearised_prediction_averages_the_softmax_of_linear_logits() -> None:
    model = concluded(prior=0.005)
    logits, jacobians = one_by_one(model, batch(EVERY))
    drawn = laplace.noise(40, 16) @ model.method.root.T
    expected = torch.stack([(logits + jacobians @ each).softmax(-1) for each in drawn]).mean(0)
    torch.testing.assert_close(predicted(model), expected, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(expected, logits.softmax(-1), atol=1e-2)


def test_drawn_weights_are_those_of_networks_that_hold_them() -> None:
    model, plain = concluded(prior=0.5, prediction="draws"), small_vit.pairing(LoRAXS(**PLACE))
    plain.task.load_state_dict(model.task.state_dict())
    found = []
    for each in laplace.noise(3, 16) @ model.method.root.T:
        with torch.no_grad():
            for mine, own, part in zip(plain.method.updates.values(), model.method.cores, each.split(4), strict=True):
                mine.core.copy_(own.core + part.view(2, 2))
        found.append(predicted(plain))
    torch.testing.assert_close(predicted(model), torch.stack(found).mean(0), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_the_trained_numbers_alone_predict_as_lora_xs_does() -> None:
    model, plain = concluded(prediction="map"), small_vit.pairing(LoRAXS(**PLACE), seed=3)
    plain.load_trainable({name: model.trainable_state()[name] for name in plain.trainable})
    assert torch.equal(predicted(model), predicted(plain))
    for mine, theirs in zip(model.method.deltas(), plain.method.deltas(), strict=True):
        assert torch.equal(mine.factors.down, theirs.factors.down)
        assert bool(mine.factors.down.any())


@pytest.mark.parametrize("prediction", ["linearised", "draws", "map"])
def test_probabilities_do_not_depend_on_the_rest_of_the_batch_nor_on_when_they_are_asked(prediction: str) -> None:
    model = concluded(prior=1.0, prediction=prediction)
    whole = predicted(model)
    assert torch.equal(predicted(model), whole)
    torch.testing.assert_close(whole.sum(-1), torch.ones(3))
    for row in EVERY:
        torch.testing.assert_close(predicted(model, (row,)), whole[row : row + 1], atol=1e-5, rtol=1e-4)
    assert {*model.method.points()} == {f"prediction_{p}" for p in ("linearised", "draws", "map") if p != prediction}
    for name, within in model.method.points().items():
        with within():
            assert not torch.equal(predicted(model), whole), name
    assert torch.equal(predicted(model), whole)


def test_concluding_twice_and_elsewhere_comes_to_the_same() -> None:
    one = concluded()
    first = one.method.root.clone()
    numbers = one.method.conclude(look(one))
    assert torch.equal(one.method.root, first)
    other = small_vit.pairing(bayesian(), seed=5)
    other.load_trainable(trained().trainable_state())
    assert other.method.conclude(look(other)) == numbers
    assert torch.equal(other.method.root, first)
    again = small_vit.pairing(bayesian(), seed=6)
    again.load_trainable(one.trainable_state())
    assert torch.equal(predicted(again), predicted(one))


def test_what_is_chosen_acts_and_nothing_else_may_be() -> None:
    model = concluded(prior=1.0)
    linear = predicted(model)
    model.choose(prediction="map")
    assert not torch.equal(predicted(model), linear)
    assert model.caveats == ["method.prediction = map, chosen after training"]
    model.choose(prediction="linearised")
    assert torch.equal(predicted(model), linear)
    for other in ("probit", 1, None, ["map"]):
        with pytest.raises(SettingError, match=r"method\.prediction = .*: expected linearised, draws, map"):
            model.choose(prediction=other)
    with pytest.raises(SettingError, match=r"method\.prior is fixed by training; .*: method\.prediction"):
        model.choose(prior=1.0)


def test_what_a_posterior_cannot_serve_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"method\.rank = 30: 3,600 numbers of .* a posterior is kept of 2,048 at"):
        small_vit.pairing(bayesian(rank=30))
    monkeypatch.setattr(laplace_lora_xs, "MOST_CLASSES", 1)
    with pytest.raises(SettingError, match="2 classes, each of which takes a backward pass a batch; a posterior serv"):
        small_vit.pairing(bayesian())


def test_predictions_that_cannot_be_had_say_why() -> None:
    model = trained()
    with pytest.raises(SettingError, match=r"no posterior is known yet: .*conclude\(Look\(pairing, batches\)\)"):
        predicted(model)
    model.method.conclude(look(model))
    with torch.inference_mode(), pytest.raises(SettingError, match=r"use torch\.no_grad, not torch\.inference_mode"):
        model.predict(batch(EVERY))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.transpose(0, 1), "a layer sees 5 rows of 2 samples"),
        (lambda x: x.reshape(len(x), 5, -1).roll(1, 0), "a layer mixes samples"),
    ],
)
def test_layers_whose_samples_have_no_rows_of_their_own_are_refused(
    change: Callable[[Tensor], Tensor], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained()
    own = laplace_lora_xs.Core.forward

    def forward(core: laplace_lora_xs.Core, x: Tensor) -> Tensor:
        moved = change(x)
        back = (lambda y: y.transpose(0, 1)) if moved.shape[0] == 5 else (lambda y: y.roll(-1, 0))
        return back(own(core, moved))

    monkeypatch.setattr(laplace_lora_xs.Core, "forward", forward)
    with pytest.raises(SettingError, match=rf"method\.targets: {words}.*as gradients by sample need"):
        model.method.conclude(look(model))
