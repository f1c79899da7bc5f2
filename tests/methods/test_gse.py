"""GSE by its equations: experts out of the weight, routing by token, balance, both starts, and what is kept."""

import math

import pytest
import torch
from small_vit import batch, features, pairing, step
from torch import nn

from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.methods.gse import GSE, decompose, routed, unevenness
from zoo.methods.signals import interventions, watching

PLACE = {"targets": {"vision": ["attn.proj", "mlp.fc2"]}, "last": {"vision": 2}}


def method(**settings: object) -> GSE:
    return GSE(**{**PLACE, **settings})


def layer(inputs: int = 20, outputs: int = 12) -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(inputs, outputs, bias=False)


def reference(weight: torch.Tensor, x: torch.Tensor, router: torch.Tensor, **about: float) -> torch.Tensor:
    """The published layer at its start, expert by expert and token by token, as the release computes it in float32."""
    rank, experts, general, chosen, rho, base = (
        about.get(name, value)
        for name, value in (("rank", 8), ("experts", 4), ("general", 1), ("chosen", 2), ("rho", 10.0), ("balance", 0))
    )
    each = int(rank // experts)
    torch.manual_seed(42)
    u, s, v = torch.svd_lowrank(weight, q=int(rank), niter=2)
    slices = [slice(i * each, (i + 1) * each) for i in range(int(experts))]
    scales = [math.sqrt(3 * weight.shape[1] / each)] * int(experts)
    if base:
        traces = torch.stack([s[one].sum() for one in slices[int(general) :]])
        scales[int(general) :] = (base * traces.mean() / traces).tolist()
    ups = [u[:, one] * (s[one] / (scale * rho)).sqrt() for one, scale in zip(slices, scales, strict=True)]
    downs = [(s[one] / (scale * rho)).sqrt()[:, None] * v.T[one] for one, scale in zip(slices, scales, strict=True)]
    every = [scale * up @ down for scale, up, down in zip(scales, ups, downs, strict=True)]
    rest = weight - sum(every)
    out = []
    for token in x.flatten(0, -2):
        y = rest @ token + sum(one @ token for one in every[: int(general)]) / max(1, general)
        likely = torch.softmax(router @ token, 0)
        best = sorted(range(len(likely)), key=lambda i: -float(likely[i]))[: int(chosen)]
        for i in best:
            y = y + likely[i] / sum(likely[j] for j in best) * (every[int(general) + i] @ token)
        out.append(y)
    return torch.stack(out).unflatten(0, x.shape[:-1])


@pytest.mark.parametrize("shape", [(20, 12), (12, 20)])
@pytest.mark.parametrize("about", [{}, {"general": 2}, {"chosen": 1}, {"general": 0, "chosen": 3}, {"balance": 2.0}])
def test_the_published_start_is_that_of_the_release(shape: tuple[int, int], about: dict[str, float]) -> None:
    own, x = layer(*shape), torch.randn(3, 5, shape[0])
    names = {"general": "generalised"}
    settings = {names.get(name, name): value for name, value in about.items()}
    mixture = method(rank=8, experts=4, start="published", **settings).eval().update(own)
    router = next(value for name, value in mixture.trained.items() if name.startswith("router"))
    expected = reference(own.weight.detach(), x, router.detach(), **about)
    torch.testing.assert_close(own(x) + mixture(x), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(own(x), expected, atol=1e-3)


def test_the_exact_start_trains_what_the_published_one_trains() -> None:
    """The same numbers, the same gradients at the start, and afterwards the same mixture beside another constant."""
    own, x, towards = layer(), torch.randn(3, 5, 20), torch.randn(3, 5, 12)
    found = {}
    for start in ("exact", "published"):
        torch.manual_seed(0)
        mixture = method(rank=8, experts=4, start=start).eval().update(own)
        (mixture(x) * towards).sum().backward()
        found[start] = mixture, {name.partition("_")[0]: value.grad for name, value in mixture.trained.items()}
    exact, published = found["exact"], found["published"]
    assert set(exact[1]) == {"up", "down", "router"}
    for name, gradient in exact[1].items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(gradient, published[1][name])
    assert torch.equal(exact[0](x), torch.zeros(3, 5, 12))
    before = published[0](x)
    with torch.no_grad():
        for one, _ in found.values():
            for value in one.trained.values():
                value.mul_(1.5)
    torch.testing.assert_close(exact[0](x), published[0](x) - before, atol=1e-5, rtol=1e-4)


def test_tokens_take_their_likeliest_experts_with_weights_that_add_up_to_one() -> None:
    weights = routed(torch.tensor([[0.5, 0.1, 0.3, 0.1], [0.2, 0.2, 0.15, 0.45]]), 2)
    torch.testing.assert_close(weights[0], torch.tensor([0.625, 0, 0.375, 0]))
    assert weights[1, 3] == pytest.approx(0.45 / 0.65)
    assert (weights > 0).sum(-1).tolist() == [2, 2]


def test_balance_by_hand() -> None:
    likely = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]], requires_grad=True)
    loss = unevenness(likely, 2)  # chosen: 0 and 1, 1 and 2
    assert float(loss.detach()) == pytest.approx(3 * (0.5 * 0.3 + 1.0 * 0.45 + 0.5 * 0.25))
    (gradient,) = torch.autograd.grad(loss, likely)
    torch.testing.assert_close(gradient, torch.tensor([0.75, 1.5, 0.75]).expand(1, 2, 3))
    assert float(unevenness(torch.full((6, 4), 0.25), 2)) == pytest.approx(2)


def test_balance_is_a_loss_of_training_over_all_layers() -> None:
    model = pairing(method())
    assert "balance" not in model.losses(batch())
    model.train()
    with torch.no_grad():
        for update in model.method.updates.values():
            next(value for name, value in update.trained.items() if name.startswith("router")).zero_()
    assert float(model.losses(batch())["balance"].detach()) == pytest.approx(0.01 * 4 * 2)  # weight, layers, k
    silent = pairing(method(balance_weight=0.0)).train()
    assert "balance" not in silent.losses(batch())


@pytest.mark.parametrize("start", ["exact", "published"])
def test_it_trains_beside_frozen_tensors_and_is_found_again_from_what_it_trained(start: str) -> None:
    frozen = features(pairing(Frozen()))
    model = pairing(method(start=start))
    assert torch.equal(features(model), frozen) == (start == "exact")
    own = {name: value for name, value in model.named_parameters() if name in model.trainable}
    sizes = [(192, 192), (768, 192)] * 2
    expected = sum(16 * (i + o) + 7 * i for i, o in sizes)
    assert sum(value.numel() for name, value in own.items() if name.startswith("method.")) == expected
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = {name: value.clone() for name, value in tensors.items()}
    step(model.train())
    assert sorted(name for name, value in before.items() if not torch.equal(tensors[name], value)) == sorted(own)
    learned = features(model.eval())
    assert not torch.allclose(learned, frozen, atol=1e-2)
    torch.testing.assert_close(features(model, [1]), learned[1:], atol=1e-5, rtol=1e-4)
    with model.method.without():
        assert torch.equal(features(model), frozen)
    kept = model.trainable_state()
    assert not any("first_up" in name or "first_down" in name for name in kept)
    again = pairing(method(start=start), seed=7)
    again.load_trainable(kept)
    assert torch.equal(features(again), learned)
    with pytest.raises(SettingError, match="a router chooses experts by token"):
        model.method.deltas()


def test_tensors_beside_another_start_are_refused() -> None:
    state = pairing(method()).trainable_state()
    for other in ({"start": "published"}, {"rho": 5.0}, {"seed": 1}, {"balance": 2.0}, {"generalised": 2}):
        with pytest.raises(ValueError, match="does not fit this pairing"):
            pairing(method(**other)).load_trainable(state)


def test_signs_that_a_library_gives_to_singular_vectors_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = pairing(method(start="published"))
    step(model)
    state, learned = model.trainable_state(), features(model)
    svd = torch.linalg.svd

    def other(matrix: torch.Tensor, *, full_matrices: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        u, values, v = svd(matrix, full_matrices=full_matrices)
        return -u, values, -v

    monkeypatch.setattr(torch.linalg, "svd", other)
    again = pairing(method(start="published"))
    one, two = (each.method.updates["vision/11/attn_proj"].first_up for each in (again, model))
    assert not torch.allclose(one, two)
    again.load_trainable(state)
    torch.testing.assert_close(features(again), learned, atol=1e-6, rtol=1e-5)


def test_another_draw_has_another_fingerprint() -> None:
    weight = layer().weight.detach()
    assert decompose(weight, 8, 42)[3] == decompose(weight.double(), 8, 42)[3] != decompose(weight, 8, 43)[3]


def test_the_published_start_says_what_it_lacks() -> None:
    assert "step 0" not in pairing(method()).method.describe()
    own = pairing(method(start="published")).method
    found = own.describe()
    assert found.startswith("adapts vision blocks 10 to 11 (4 layers: proj, fc2), 1 + 7 experts each, 2 of the 7 by")
    assert "; step 0 lacks " in found
    # Over all pairs of experts, with what is put back at weights of a half.
    small = layer()
    mixture = method(rank=8, experts=4, start="published").update(small)
    _, values, _, _ = decompose(small.weight.detach(), 8, 42)
    energy = (values / 10).square().unflatten(0, (4, 2)).sum(1)[1:]
    pairs = [(0, 1), (0, 2), (1, 2)]
    squares = [sum(energy[i] * (0.25 if i in pair else 1.0) for i in range(3)) for pair in pairs]
    share = math.sqrt(float(sum(squares)) / 3) / float(small.weight.detach().norm())
    assert mixture.missing == pytest.approx(share, rel=1e-5)


def test_the_router_is_a_signal() -> None:
    model = pairing(method())
    step(model)
    method_ = model.method
    controlled = method_.controlled()
    assert [len(group.signals) for group in controlled.values()] == [4]
    learned = features(model)
    with watching(controlled):
        assert torch.equal(features(model), learned)
    watched = controlled["router"].signals[0].watched
    assert len(watched.samples) == 2
    assert watched.count == 2 * 5
    assert float(watched.mean().sum()) == pytest.approx(1)
    changed = interventions(controlled)
    for name in ("router_mean", "router_other"):
        with changed[name]():
            assert not torch.equal(features(model), learned)
    # Both samples alike: another one's routing is its own.
    with changed["router_other"]():
        torch.testing.assert_close(features(model, [1, 1]), learned[1:].expand(2, -1, -1), atol=1e-5, rtol=1e-4)
    assert torch.equal(features(model), learned)


def test_the_loss_falls_and_routing_moves() -> None:
    model = pairing(method()).train()
    router = next(name for name in model.trainable if "router_" in name)
    before = model.trainable_state()[router].clone()
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=1e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = torch.stack(list(model.losses(batch()).values())).sum()
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
    assert losses[-1] < losses[0]
    assert not torch.equal(model.trainable_state()[router], before)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rank": 17}, r"method\.rank = 17: 8 experts cannot share it equally"),
        ({"generalised": 7}, r"method\.chosen = 2: 1 of 8 experts are specialised"),
        ({"rank": 200}, r"method\.rank = 200: a weight of \(192, 192\) has no such rank"),
        ({"targets": {"vision": ["attn.q"]}}, r"'attn\.q' matches no layer; it has "),
        ({"targets": {"vision": ["norm1"]}}, r"'norm1' matches no layer"),
        ({"targets": {"sound": ["proj"]}}, r"method\.targets\.sound: the recipe's backbones have the towers"),
        ({"targets": {"vision": []}}, r"method\.targets, method\.last: they name no layer"),
    ],
)
def test_what_cannot_be_is_said_before_training(settings: dict[str, object], words: str) -> None:
    if "last" in settings or "targets" in settings:
        settings = {"last": {}, **settings}
    with pytest.raises(SettingError, match=words):
        pairing(method(**settings))
