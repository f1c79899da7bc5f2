"""Mantis and what it is compared with, on a tiny Mamba3D."""

import pytest
import torch
from point_tiny import CLASSES, DEPTH, GROUPS, PARTS, WIDTH, batch, clouds, mamba3d, pairing, train_steps
from torch.nn import functional as F

from zoo.backbones import mamba3d_block
from zoo.backbones.mamba3d import Mamba3D, Step
from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.mantis import Mantis, StateAwareAdapter, reorder, symmetric_kl
from zoo.methods.point_mae import PointMAE
from zoo.ops.points import nearest
from zoo.ops.serialization import order
from zoo.pairing import Pairing, count_parameters
from zoo.tasks.classification import Classification
from zoo.tasks.part_segmentation import PartSegmentation
from zoo.tasks.reconstruction import Reconstruction

TARGETS = {"points": ["mixer.in_proj", "mixer.out_proj"]}
METHODS = {
    "mantis": lambda: Mantis(rank=3, hidden=5, projection=4),
    "late": lambda: Mantis(rank=3, hidden=5, last=1, projection=4),
    "without dscd": lambda: Mantis(rank=3, hidden=5, dscd=False),
    "only dt": lambda: Mantis(rank=3, hidden=5, modulate=("dt",), projection=4),
    "l2": lambda: Mantis(rank=3, hidden=5, feature_loss="l2", orders=("hilbert", "z_order_reversed"), projection=4),
    "spread": lambda: Mantis(rank=3, hidden=5, projection=4, start="spread"),
    "lora": lambda: LoRA(rank=2, targets=TARGETS),
    "frozen": lambda: Frozen(),
}


@pytest.fixture(params=METHODS)
def model(request: pytest.FixtureRequest) -> Pairing:
    return pairing(METHODS[request.param]())


@pytest.mark.parametrize("second_branch", ["channel", "sequence"])
@pytest.mark.parametrize("name", METHODS)
def test_step_0_equals_the_frozen_backbone_exactly(name: str, second_branch: str) -> None:
    model, backbone = (
        pairing(METHODS[name](), second_branch=second_branch).eval(),
        mamba3d(second_branch=second_branch),
    )
    data = batch(0, 1, 2)
    expected = backbone.pool(backbone(data.inputs["points"][:, 0]))
    assert torch.equal(model(data)["points"][:, 0], expected)


def test_the_published_sequence_mode_is_not_the_backbone_that_was_pretrained() -> None:
    points = clouds(0)[:, 0]
    pretrained, published = mamba3d(), mamba3d(second_branch="sequence")
    assert not torch.allclose(pretrained.pool(pretrained(points)), published.pool(published(points)), atol=1e-3)


def test_training_leaves_every_frozen_tensor_bit_identical_and_moves_every_trainable_one(model: Pairing) -> None:
    trained = set(model.trainable_state())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_steps(model)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name not in trained)
    assert [name for name in sorted(trained) if torch.equal(before[name], after[name])] == []


@pytest.mark.parametrize(
    "model",
    [name if name in ("mantis", "frozen") else pytest.param(name, marks=pytest.mark.slow) for name in METHODS],
    indirect=True,
)
def test_the_loss_falls_on_a_batch_that_is_repeated(model: Pairing) -> None:
    torch.manual_seed(0)
    losses = train_steps(model, steps=60)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_cloud_is_predicted_alike_alone_and_in_a_batch(model: Pairing) -> None:
    train_steps(model)
    model.eval()
    with torch.no_grad():
        together = model.predict(batch(3, 4, 5))["probabilities"]
        alone = torch.cat([model.predict(batch(i))["probabilities"] for i in (3, 4, 5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_lora_reaches_both_projections_although_fused_kernels_bypass_them() -> None:
    model = pairing(LoRA(rank=2, targets=TARGETS))
    train_steps(model, steps=1)
    train_steps(model, steps=1)  # A has a gradient once B is not zero
    names = [n for n, p in model.named_parameters() if "lora_" in n and p.grad is not None and p.grad.abs().sum() > 0]
    assert len([n for n in names if "in_proj" in n]) == len([n for n in names if "out_proj" in n]) == 2 * DEPTH


def test_saa_follows_its_equations() -> None:
    torch.manual_seed(0)
    saa = StateAwareAdapter(6, 10, 4, rank=3, hidden=5, modulate=("dt", "C"))
    for bases in saa.bases:
        for basis in bases.values():
            torch.nn.init.normal_(basis)
    h, dt, B, C = torch.randn(2, 7, 6), torch.randn(2, 7, 10), torch.randn(2, 7, 4), torch.randn(2, 7, 4)
    c = saa.control(h)
    token = torch.sigmoid(saa.controller.weight @ F.silu(saa.proj.weight @ h[1, 3] + saa.proj.bias))
    torch.testing.assert_close(c[1, 3], token)
    moved = saa.modulate(1, c, dt, B, C)
    torch.testing.assert_close(moved[0][1, 3], dt[1, 3] + sum(token[i] * saa.bases[1]["dt"][i] for i in range(3)))
    assert torch.equal(moved[1], B)
    torch.testing.assert_close(moved[2][1, 3], C[1, 3] + token @ saa.bases[1]["C"])


def test_channels_of_control_differ_from_the_first_step_where_their_start_is_spread() -> None:
    """Published, every row of a basis has the gradient of the others; a spread start gives each its own."""
    alike = {}
    for start, learns in (("published", "adapters.0.bases.0.dt"), ("spread", "adapters.0.controller.weight")):
        model = pairing(Mantis(rank=3, hidden=5, dscd=False, drop_path=0.0, start=start))
        rows = model.method.get_parameter(learns)  # one a channel, all zero at the start
        train_steps(model, steps=3)
        directions = F.normalize(rows.detach(), dim=-1)
        alike[start] = float((directions @ directions.T).abs().min())
    assert alike["published"] > 0.99
    assert alike["spread"] < 0.9


def test_the_controller_has_a_rate_of_its_own() -> None:
    model = pairing(Mantis(rank=3, hidden=5, controller_lr=0.3))
    names = {parameter: name for name, parameter in model.method.named_parameters()}
    rates = {names[parameter]: group.lr for parameter, group in model.method.parameter_groups().items()}
    assert len(rates) == 4 * DEPTH
    assert all((".proj." in name or ".controller." in name) and rate == 0.3 for name, rate in rates.items())


def test_orders_train_alone_where_the_backbone_depends_on_its_batch() -> None:
    """The published code runs each order by itself, so that each has its own first sample's mean."""
    model = pairing(Mantis(rank=3, hidden=5, projection=4, drop_path=0.0), compat="official")
    train_steps(model, steps=1)
    model.train()
    data = batch(0, 1, 2)
    model(data)
    views = [view["points"] for view in model.method._views]
    tokens = model.prefix(data)["points"].flatten(0, 1)
    for name, view in zip(("x", "y"), views, strict=True):
        model.method.dscd = False
        alone = model.method(model.backbones, {"points": reorder(tokens, name, WIDTH)[:, None]}, data)["points"]
        assert torch.equal(alone, view)


@pytest.mark.parametrize("second_branch", ["channel", "sequence"])
def test_saa_passes_gradcheck_in_float64_through_the_whole_mixer(second_branch: str) -> None:
    torch.manual_seed(0)
    mixer = mamba3d(width=4, depth=1, states=2, second_branch=second_branch).net.blocks[0].mixer.double()
    saa = StateAwareAdapter(4, 8, 2, rank=2, hidden=3, modulate=("dt", "B", "C")).double()
    for bases in saa.bases:
        for basis in bases.values():
            torch.nn.init.normal_(basis, std=0.3)
    hidden = torch.randn(1, 4, 4, dtype=torch.double)

    class Together(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixer, self.saa = mixer, saa

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.mixer(hidden, self.saa)

    together = Together()
    names = [name for name, _ in together.named_parameters() if name.startswith("saa.")]
    values = [together.get_parameter(name).detach().requires_grad_() for name in names]

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(together, dict(zip(names, tensors, strict=True)), (hidden,))

    assert len(values) == 4 + 6
    assert torch.autograd.gradcheck(run, values)


def test_each_branch_hears_its_own_bases() -> None:
    mixer, hidden = mamba3d().net.blocks[0].mixer, torch.randn(1, 5, WIDTH)
    saa = StateAwareAdapter(WIDTH, 2 * WIDTH, 4, rank=3, hidden=5, modulate=("dt",))
    plain = mixer(hidden, saa)
    outcomes = []
    for branch in range(2):
        torch.nn.init.ones_(saa.bases[branch]["dt"])
        outcomes.append(mixer(hidden, saa))
        torch.nn.init.zeros_(saa.bases[branch]["dt"])
    assert not torch.allclose(outcomes[0], plain)
    assert not torch.allclose(outcomes[1], plain)
    assert not torch.allclose(outcomes[0], outcomes[1])


def test_dscd_in_one_batch_equals_three_separate_passes() -> None:
    model = pairing(Mantis(rank=3, hidden=5, drop_path=0.0, projection=4))
    train_steps(model, steps=2)
    data, method = batch(0, 1, 2, 3), model.method
    model.train()
    model(data)
    views = [view["points"][:, 0] for view in method._views]
    tokens = model.prefix(data)["points"][:, 0]
    backbone = model.backbones["points"]
    for view, name in zip(views, ("x", "y"), strict=True):
        sorted_tokens = reorder(tokens, name, WIDTH)
        for i, block in enumerate(backbone.blocks):
            sorted_tokens = block(sorted_tokens, modulation=method.adapters[i])
        torch.testing.assert_close(view, backbone.pool(backbone.finish(sorted_tokens)), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(views[0], views[1], atol=1e-4)


def test_reordering_moves_tokens_with_their_centres_and_keeps_the_class_token_in_front() -> None:
    tokens = mamba3d().embed(clouds(0, 1)[:, 0])
    moved = reorder(tokens, "y_reversed", WIDTH)
    assert torch.equal(moved[:, 0], tokens[:, 0])
    heights = moved[:, 1:, WIDTH + 1]
    assert torch.equal(heights, heights.sort(1, descending=True).values)
    index = order(tokens[:, 1:, WIDTH : WIDTH + 3], "y_reversed")
    assert torch.equal(moved[1, 1:], tokens[1, 1:][index[1]])


def test_consistency_is_zero_between_equal_views_and_follows_its_definition() -> None:
    p, q = torch.randn(4, 5), torch.randn(4, 5)
    assert symmetric_kl(p, p, 2.0).item() == pytest.approx(0, abs=1e-6)
    a, b = (p / 2).softmax(-1), (q / 2).softmax(-1)
    expected = 4 / 2 * ((a * (a / b).log()).sum(-1).mean() + (b * (b / a).log()).sum(-1).mean())
    torch.testing.assert_close(symmetric_kl(p, q, 2.0), expected)
    model = pairing(Mantis(rank=3, hidden=5, orders=("native", "native"), drop_path=0.0, projection=4))
    data = batch(0, 1)
    model.train()
    model.task.eval()  # no dropout in the head
    model(data)
    terms = model.method.losses(lambda features: model.task.logits(features, data))
    assert max(abs(term.item()) for term in terms.values()) < 1e-5


def test_no_view_is_made_outside_training() -> None:
    model = pairing(METHODS["mantis"]()).eval()
    model(batch(0, 1))
    assert model.method.losses(lambda features: pytest.fail("no head is asked")) == {}
    observed = model.method.observations()
    assert observed["control"].shape == (2, DEPTH, GROUPS, 3)
    assert observed["centres"].shape == (2, GROUPS, 3)


def test_stochastic_depth_acts_in_training_alone() -> None:
    model, data = pairing(Mantis(rank=3, hidden=5, drop_path=0.5, dscd=False)), batch(0, 1, 2)
    model.eval()
    assert torch.equal(model(data)["points"], model(data)["points"])
    model.train()
    assert not torch.equal(model(data)["points"], model(data)["points"])


def test_part_segmentation_trains_through_the_taps() -> None:
    task = PartSegmentation(propagation=(12,), hidden=(8, 8), label_width=4, dropout=0.0)
    model = pairing(Mantis(rank=3, hidden=5, projection=4), task, classes=PARTS, taps=(0, 2))
    torch.manual_seed(0)
    losses = train_steps(model, steps=60)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    model.eval()
    with torch.no_grad():
        said = model.predict(batch(0, 1))["parts"]
    assert said.shape == (2, 40)
    assert set(said[0].tolist()) <= {0, 1}
    assert set(said[1].tolist()) <= {2, 3, 4}


def test_the_head_has_batch_statistics_and_the_adapter_keeps_them() -> None:
    model = pairing(METHODS["mantis"](), Classification(hidden=(8, 8)))
    state = model.trainable_state()
    assert {"task.head.1.running_mean", "task.head.5.num_batches_tracked"} <= set(state)
    train_steps(model)
    other = pairing(METHODS["mantis"](), Classification(hidden=(8, 8)))
    other.load_trainable(model.trainable_state(), source="memory")
    model.eval(), other.eval()
    data = batch(5, 6)
    assert torch.equal(model.predict(data)["probabilities"], other.predict(data)["probabilities"])


def test_pretraining_learns_to_rebuild_hidden_groups_and_leaves_the_recipes_backbone_alone() -> None:
    model = pairing(PointMAE(decoder_depth=1), Reconstruction(), classes=["shape"])
    frozen = {name: tensor.clone() for name, tensor in model.backbones["points"].state_dict().items()}
    torch.manual_seed(0)
    losses = train_steps(model, steps=60, lr=3e-3)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert all(torch.equal(frozen[n], t) for n, t in model.backbones["points"].state_dict().items())
    assert any("student.encoder.first.1.running_mean" in name for name in model.trainable_state())
    model.eval()
    together = model.predict(batch(0, 1))["distance"]
    torch.testing.assert_close(together[1:], model.predict(batch(1))["distance"], rtol=1e-4, atol=1e-5)


def test_the_papers_setting_trains_about_five_percent() -> None:
    method = Mantis()
    pairing_ = Pairing({"points": Mamba3D(source="random:0")}, method, Classification(), classes=["c"] * 15)
    trainable, total = count_parameters(pairing_)
    saa = sum(p.numel() for p in method.adapters.parameters())
    assert saa == 12 * (384 * 64 + 64 + 64 * 8 + 8 + 2 * 8 * (768 + 16 + 16))
    assert 0.04 < trainable / total < 0.06


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pairing(Mantis(orders=("x",))), "exactly two orders"),
        (lambda: pairing(Mantis(last=4)), r"method\.last = 4: expected 1 to 3"),
        (lambda: pairing(Mantis(drop_path=1.0)), "drop_path"),
        (lambda: pairing(Mantis(), PartSegmentation()), "data whose classes are called Category"),
        (lambda: pairing(Frozen(), Reconstruction()), "predicts masked groups"),
    ],
)
def test_settings_that_do_not_fit_are_named(make, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        make()


def test_a_backbone_without_mixers_is_refused_by_name() -> None:
    from tiny import backbones

    with pytest.raises(SettingError, match=r"adapts backbones\.points, a Mamba3D"):
        Pairing(backbones(), Mantis(), Classification(), classes=CLASSES)


@pytest.mark.parametrize("name", METHODS)
def test_neighbours_sought_once_give_the_bits_of_those_sought_in_every_block(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = []
    monkeypatch.setattr(mamba3d_block, "nearest", lambda *given: searches.append(1) or nearest(*given))
    results = []
    for once in (True, False):
        if not once:  # as if nothing were given
            forward = Step.forward
            monkeypatch.setattr(Step, "forward", lambda *given, near, **more: forward(*given, **more))  # noqa: B023
        searches.clear()
        model = pairing(METHODS[name]())
        torch.manual_seed(0)
        losses = model.train().losses(batch(0, 1, 2))
        torch.stack([*losses.values()]).sum().backward()
        gradients = {key: weight.grad for key, weight in model.named_parameters() if weight.grad is not None}
        results.append((losses, gradients, len(searches)))
    (losses, gradients, count), (expected, wanted, more) = results
    assert losses.keys() == expected.keys()
    assert gradients.keys() == wanted.keys()
    assert all(torch.equal(losses[key], expected[key]) for key in losses)
    assert all(torch.equal(gradients[key], wanted[key]) for key in wanted)
    assert count == (2 if name == "late" else 1)  # once for the frozen prefix, once for what is adapted
    assert more == DEPTH + count
