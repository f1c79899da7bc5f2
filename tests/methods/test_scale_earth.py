"""ScaleEarth: silent at first, told one scale a sample, merged exactly, and honest about scales it does not know."""

import logging
import math
from dataclasses import replace

import pytest
import torch
import vlm_tiny
from scale_tiny import encoder, pictures, reader
from tiny import CLASSES, TinyVision
from torch import Tensor

from zoo.backbones.timm_vit import TimmViT
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.scale_earth import ScaleEarth
from zoo.methods.scale_estimate import BRANCHES, NINETY, OCTAVE, ScaleEstimate, resolve
from zoo.methods.scale_gate import GatedLowRank
from zoo.pairing import Pairing

UNKNOWN = math.nan


def questions(pairing: Pairing, *gsd: float, write: int = 0) -> Batch:
    samples = vlm_tiny.pictures()[: len(gsd)]
    return Batch(
        [s.id for s in samples],
        {"vlm": vlm_tiny.inputs(pairing.backbones["vlm"], samples)},
        {},
        conditions={"gsd": torch.tensor(gsd)},
        questions=[s.question for s in samples],
        write=write,
    )


def move(pairing: Pairing, *, gates: bool = False) -> None:
    """Away from the start, where updates are silent."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in pairing.method.named_parameters():
            if name.endswith(".up") or ((gates and name.endswith(("thresholds", "slopes"))) or "generator.2" in name):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)


def only(features: dict[str, Tensor]) -> Tensor:
    (value,) = features.values()
    return value


@pytest.mark.parametrize("scale", ["gate", "none"])
def test_an_encoder_starts_as_its_frozen_self(scale: str) -> None:
    pairing, batch = encoder(scale=scale), pictures(0.3, 10.0)
    frozen = pairing.backbones["vision"]
    with torch.no_grad():
        expected = frozen.pool(frozen(batch.inputs["vision"].flatten(0, 1)))[:, None]
        assert torch.equal(only(pairing(batch)), expected)
        move(pairing)
        assert not torch.allclose(only(pairing(batch)), expected)


@pytest.mark.parametrize("name", vlm_tiny.NAMES)
def test_a_language_model_starts_as_its_frozen_self(name: str) -> None:
    pairing = reader(name, {"language": ["q_proj", "v_proj"]})
    expected = vlm_tiny.likelihood(pairing.backbones["vlm"], vlm_tiny.pictures())
    found = only(pairing(questions(pairing, 0.3, 10.0, UNKNOWN)))
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())


def test_gates_open_by_scale_and_start_at_the_named_ones() -> None:
    update = GatedLowRank(4, 4, rank=6, scaling=1.0, thresholds=[-1.0, 0.0, 1.0], gates="thresholds", slope=4.0)
    assert update.thresholds.tolist() == [-1, -1, 0, 0, 1, 1]
    half = update.gate(torch.tensor([-1.0, 0.0, 1.0]))
    assert half[0, :2].tolist() == half[1, 2:4].tolist() == half[2, 4:].tolist() == [0.5, 0.5]
    far = update.gate(torch.tensor([-9.0, 9.0]))
    torch.testing.assert_close(far[0], torch.tensor([1.0, 0] * 3), atol=1e-6, rtol=0)  # positive slopes: open when fine
    torch.testing.assert_close(far[1], torch.tensor([0.0, 1] * 3), atol=1e-6, rtol=0)


def test_shared_ranks_are_open_at_every_scale_and_full_gates_average_one() -> None:
    settings = {"scaling": 1.0, "thresholds": [0.0], "slope": 4.0, "most": 2.0}
    update = GatedLowRank(4, 4, rank=5, gates="thresholds", shared=2, **settings)
    gate = update.gate(torch.tensor([-9.0, 0.0, 9.0]))
    assert gate[:, :2].tolist() == [[1, 1]] * 3
    assert gate[1].tolist() == [1] * 5
    torch.testing.assert_close(gate[[0, 2], 2:].mean(0), torch.ones(3))
    generated = GatedLowRank(4, 4, rank=5, gates="generated", **settings)
    assert (generated.gate(torch.linspace(-2, 2, 9)) == 1).all()


def test_gates_have_a_rate_of_their_own() -> None:
    pairing = encoder(gate_lr=20.0)
    rates = {name: group.lr for p, group in pairing.method.parameter_groups().items() for name in [names(pairing)[p]]}
    assert {name.rpartition(".")[2] for name in rates} == {"thresholds", "slopes"}
    assert set(rates.values()) == {20.0}


def test_generated_gates_learn_scales_apart() -> None:
    pairing = encoder(gates="generated", full=True)
    static = encoder(scale="none", estimate=False)
    assert torch.equal(only(pairing(pictures(0.3, 0.3))), only(static(pictures(0.3, 0.3))))
    move(pairing)
    fine, coarse = (only(pairing(pictures(*gsd))) for gsd in ([0.3, 0.3], [10.0, 10.0]))
    assert not torch.allclose(fine, coarse)


def names(pairing: Pairing) -> dict[torch.nn.Parameter, str]:
    return {parameter: name for name, parameter in pairing.method.named_parameters()}


def test_the_scale_matters_and_gradients_reach_thresholds_and_slopes() -> None:
    pairing = encoder()
    move(pairing)
    fine, coarse = (only(pairing(pictures(*gsd))) for gsd in ([0.3, 0.3], [10.0, 10.0]))
    assert not torch.allclose(fine, coarse)
    features = pairing(pictures(0.3, 10.0))
    (features["vision"].square().sum() + sum(pairing.method.losses(lambda f: f["vision"]).values())).backward()
    silent = [n for n, p in pairing.method.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert silent == []
    assert all(not p.requires_grad for p in pairing.backbones.parameters())


def test_a_static_control_has_no_gates_and_needs_no_scale() -> None:
    pairing = encoder(scale="none", estimate=False)
    move(pairing)
    assert pairing.method.conditions == ()
    assert not [n for n, _ in pairing.method.named_parameters() if "thresholds" in n or "slopes" in n]
    assert torch.equal(only(pairing(pictures(0.3, 0.3))), only(pairing(pictures(10.0, UNKNOWN))))


@pytest.mark.parametrize("scale", ["gate", "token"])
def test_every_sample_of_a_mixed_batch_is_as_it_is_alone(scale: str) -> None:
    pairing = encoder(scale=scale).eval()
    move(pairing, gates=True)
    gsd = [0.3, UNKNOWN, 10.0, 2.0]
    whole = pictures(*gsd)
    together = only(pairing(whole))
    for i in range(len(gsd)):
        alone = replace(
            whole,
            ids=whole.ids[i : i + 1],
            inputs={"vision": whole.inputs["vision"][i : i + 1]},
            conditions={"gsd": whole.conditions["gsd"][i : i + 1]},
        )
        torch.testing.assert_close(only(pairing(alone))[0], together[i], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tower", ["language", "vision"])
@pytest.mark.parametrize("name", vlm_tiny.NAMES)
def test_every_question_of_a_mixed_batch_is_as_it_is_alone(name: str, tower: str) -> None:
    layers = {"language": ["q_proj", "v_proj"], "vision": ["qkv"] if name in vlm_tiny.QWENS else ["q_proj"]}[tower]
    pairing = reader(name, {tower: layers}).eval()
    move(pairing)
    gsd = [0.3, 10.0, 2.0]
    together = only(pairing(questions(pairing, *gsd)))
    plain = vlm_tiny.likelihood(pairing.backbones["vlm"], vlm_tiny.pictures())
    assert not torch.allclose(together.nan_to_num(), plain.nan_to_num(), atol=1e-4)  # the updates act
    for i, sample in enumerate(vlm_tiny.pictures()):
        batch = Batch(
            [sample.id],
            {"vlm": vlm_tiny.inputs(pairing.backbones["vlm"], [sample])},
            {},
            conditions={"gsd": torch.tensor([gsd[i]])},
            questions=[sample.question],
        )
        alone = only(pairing(batch))[0]
        torch.testing.assert_close(alone, together[i, : len(alone)], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", vlm_tiny.NAMES)
def test_gates_stay_as_told_while_an_answer_is_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pairing = reader(name, {"language": ["q_proj", "v_proj"]}).eval()
    move(pairing)
    seen: list[Tensor] = []
    gate = GatedLowRank.gate
    monkeypatch.setattr(GatedLowRank, "gate", lambda self, z: seen.append(z) or gate(self, z))
    backbone, batch = pairing.backbones["vlm"], questions(pairing, 0.3, 10.0, 2.0, write=6)
    cached = only(pairing(batch))
    sites = len(pairing.method.updates)
    assert len(seen) > sites  # more than one step
    assert all(torch.equal(z, seen[0]) for z in seen)
    write = backbone.write
    monkeypatch.setattr(backbone, "write", lambda *args: write(*args, use_cache=False))
    assert torch.equal(only(pairing(batch)), cached)


@pytest.mark.parametrize("name", vlm_tiny.NAMES)
def test_gates_are_told_again_where_blocks_are_recomputed(name: str) -> None:
    layers = {"language": ["q_proj"], "vision": ["qkv"] if name in vlm_tiny.QWENS else ["q_proj"]}
    found = []
    for checkpointing in (False, True):
        pairing = reader(name, layers, backbone={"checkpointing": checkpointing}, estimate=False).train()
        move(pairing)
        loss = -only(pairing(questions(pairing, 0.3, 10.0, 2.0))).nansum()
        loss.backward()
        found.append({n: p.grad.clone() for n, p in pairing.method.named_parameters()})
    for name_, gradient in found[0].items():
        torch.testing.assert_close(found[1][name_], gradient, atol=1e-5, rtol=1e-4, msg=name_)
        assert gradient.abs().sum() > 0


def test_updates_folded_into_the_weights_equal_the_gates_at_that_scale_alone() -> None:
    pairing = encoder(estimate=False).eval()
    move(pairing, gates=True)
    here, there = pictures(2.0, 2.0), pictures(0.2, 0.2)
    expected, elsewhere = only(pairing(here)), only(pairing(there))
    deltas = pairing.method.deltas(gsd=2.0)
    with torch.no_grad(), pairing.method.without():
        for delta in deltas:
            delta.layer.weight += delta.dense()["weight"]
        torch.testing.assert_close(only(pairing(here)), expected, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(only(pairing(there)), elsewhere, atol=1e-3)


def test_a_scale_outside_of_training_is_moved_to_its_border_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    pairing = encoder(estimate=False)
    move(pairing)
    pairing.train()
    pairing(pictures(0.5, 4.0))
    pairing.eval()
    with caplog.at_level(logging.WARNING):
        far, border = only(pairing(pictures(0.01, 100.0))), only(pairing(pictures(0.5, 4.0)))
        pairing(pictures(0.01, 100.0))
    torch.testing.assert_close(far, border)
    assert [r.getMessage() for r in caplog.records if "moved to their border" in r.getMessage()] == [
        "a GSD outside of the 0.5 to 4 m of training is moved to their border"
    ]
    state = pairing.trainable_state()
    assert float(state["method.low"]) == pytest.approx(math.log10(0.5))
    assert float(state["method.high"]) == pytest.approx(math.log10(4))


def test_the_rule_of_three_branches() -> None:
    told = torch.tensor([0.3, UNKNOWN, UNKNOWN])
    mean, deviation = torch.tensor([9.0, 0.7, 0.8]), torch.tensor([0.01, 0.1, 0.5])
    z, branch = resolve(told, mean, 2 * deviation.log(), trust=0.2, default=-0.25)
    torch.testing.assert_close(z, torch.tensor([0.3, 0.7, -0.25]))
    assert [BRANCHES[b] for b in branch] == ["metadata", "estimate", "default"]
    z, branch = resolve(told, None, None, trust=0.2, default=-0.25)
    assert [BRANCHES[b] for b in branch] == ["metadata", "default", "default"]


def test_each_answer_says_which_branch_it_took_and_the_default_is_the_middle_of_training() -> None:
    pairing = encoder(trust=1e-6)
    pairing.train()
    pairing(pictures(1.0, 16.0))
    pairing.eval()
    pairing(pictures(2.0, UNKNOWN))
    observed = pairing.method.observations()
    first, second = ({n: v[i : i + 1] for n, v in observed.items()} for i in (0, 1))
    assert pairing.method.remarks(first)["gsd_from"] == "told"
    assert pairing.method.remarks(first)["gsd"] == pytest.approx(2)
    told = pairing.method.remarks(second)
    assert told["gsd_from"] == "default"
    assert told["gsd"] == pytest.approx(4)  # between 1 and 16
    assert told["gsd_estimate"]["low"] < told["gsd_estimate"]["middle"] < told["gsd_estimate"]["high"]
    measured = pairing.method.measure(observed)
    assert measured["branch_metadata"] == measured["branch_default"] == 0.5


def test_the_loss_of_the_estimate_is_the_gaussian_likelihood_of_what_is_told() -> None:
    told = torch.tensor([0.5, UNKNOWN, -0.2])
    mean, log_variance = torch.tensor([0.1, 3.0, 0.0], requires_grad=True), torch.tensor([0.3, 1.0, -0.5])
    normal = torch.distributions.Normal(mean[[0, 2]], (log_variance[[0, 2]] / 2).exp())
    expected = -normal.log_prob(told[[0, 2]]).mean() - 0.5 * math.log(2 * math.pi)
    loss = ScaleEstimate.loss(told, mean, log_variance)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert torch.isfinite(mean.grad).all()
    assert mean.grad[1] == 0
    assert ScaleEstimate.loss(told[1:2], mean[1:2].detach(), log_variance[1:2]) == 0


def test_calibration_on_a_known_case() -> None:
    told = torch.tensor([0.0, 0.0, 0.0, 1.0])
    mean = torch.tensor([0.0, OCTAVE, 0.0, 1.0])
    deviation = torch.tensor([0.1, 0.5 * OCTAVE / NINETY, 0.1, 0.1])
    observed = {"gsd/told": told, "gsd/mean": mean, "gsd/deviation": deviation, "gsd/branch": torch.zeros(4)}
    found = ScaleEstimate.measure(observed)
    assert found["gsd_mae_octaves"] == pytest.approx(0.25)
    assert found["gsd_coverage_90"] == 0.75
    assert found["gsd_constant_mae_octaves"] == pytest.approx(0.25 / OCTAVE)


def test_the_estimate_reads_frozen_features_whatever_the_updates_are() -> None:
    pairing = encoder(estimate_at=12).eval()
    batch = pictures(0.3, 10.0)
    pairing(batch)
    before = pairing.method.observations()["gsd/mean"]
    move(pairing)
    pairing(batch)
    assert torch.equal(pairing.method.observations()["gsd/mean"], before)


def test_withheld_scales_take_the_other_branches_in_training_alone() -> None:
    pairing = encoder(drop_gsd=0.5, trust=1e-6)
    batch = pictures(*[1.0] * 64)
    pairing.train()
    pairing(batch)
    withheld = (pairing.method.observations()["gsd/branch"] == BRANCHES.index("default")).double().mean()
    assert 0.2 < withheld < 0.8
    pairing.eval()
    pairing(batch)
    assert not pairing.method.observations()["gsd/branch"].any()


def test_a_scale_token_is_dropped_before_pooling_and_told_in_words_to_a_language_model(monkeypatch) -> None:
    pairing = encoder(scale="token").eval()
    fine, coarse = only(pairing(pictures(0.3, 0.3))), only(pairing(pictures(10.0, 10.0)))
    assert fine.shape == coarse.shape == (2, 1, 192)
    assert not torch.allclose(fine, coarse)
    pairing = reader("llava", {"language": ["q_proj"]}, scale="token", estimate=False).eval()
    asked: list[str] = []
    write = pairing.backbones["vlm"].write
    monkeypatch.setattr(
        pairing.backbones["vlm"], "write", lambda s, q, n: asked.extend(x.text for x in q) or write(s, q, n)
    )
    pairing(questions(pairing, 0.3, 10.0, write=1))
    assert [text.partition(" How")[0] for text in asked] == [
        "One pixel is 0.3 m wide.",
        "One pixel is 10 m wide.",
    ]


@pytest.mark.parametrize("gsd", [0.0, -0.5, math.inf])
def test_a_scale_that_is_none_is_refused_by_name(gsd: float) -> None:
    with pytest.raises(SettingError, match=rf"gsd of p1 {gsd:g}: expected positive metres per pixel"):
        encoder()(pictures(1.0, gsd))


def test_what_was_matched_is_said() -> None:
    assert encoder().method.describe() == "adapts vision blocks 10 to 11 (4 layers: qkv, fc1)"
    pairing = reader("qwen3_vl", {"language": ["q_proj"], "vision": ["qkv"]})
    assert pairing.method.describe() == (
        "adapts language blocks 0 to 1 (2 layers: q_proj), vision blocks 0 to 1 (2 layers: qkv)"
    )


def test_what_cannot_be_adapted_is_refused() -> None:
    def attach(backbones, **settings) -> None:
        ScaleEarth(**settings).attach(backbones, None, CLASSES)

    two = {"vision": TinyVision(), "other": TinyVision()}
    with pytest.raises(SettingError, match=r"adapts one backbone; the recipe has \['other', 'vision'\]"):
        attach(two, targets={"vision": ["1"]})
    with pytest.raises(SettingError, match="towers"):
        attach({"vision": TinyVision()}, targets={"language": ["1"]})
    dinov3 = TimmViT(model="vit_small_patch16_dinov3", source="random:0", image_size=32)
    with pytest.raises(SettingError, match="rotary positions leave no room"):
        attach({"vision": dinov3}, targets={"vision": ["attn.qkv"]}, scale="token")
    with pytest.raises(SettingError, match="expected GSDs in metres"):
        ScaleEarth(targets={}, thresholds=(0.0,))
