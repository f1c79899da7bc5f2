"""What every method promises: identity at the start, frozen stays frozen, independence of the batch."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from tiny import CLASSES, TinyText, backbones, batch, pairing, train_steps

from zoo.errors import SettingError
from zoo.methods.bottleneck import Bottleneck
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.tb_ava import TBAVA
from zoo.methods.tb_ava_site import place
from zoo.methods.tb_ava_text import shuffled
from zoo.pairing import Pairing
from zoo.recipe.compose import compose
from zoo.tasks.event_localization import EventLocalization

TARGETS = {"vision": ["1"], "audio": ["conv1"]}
METHODS = {
    "tb_ava": lambda: TBAVA(rank=4),
    "tb_ava late": lambda: TBAVA(rank=4, last=1),
    "tb_ava at chosen sites": lambda: TBAVA(rank=4, sites={"vision": [1, 3], "audio": [1, 2]}),
    "tb_ava gate off": lambda: TBAVA(rank=4, gate=False),
    "tb_ava shuffled": lambda: TBAVA(rank=4, text="shuffled"),
    "tb_ava random": lambda: TBAVA(rank=4, text="random"),
    "tb_ava audio to vision": lambda: TBAVA(rank=4, direction="audio_to_vision"),
    "tb_ava vision to audio": lambda: TBAVA(rank=4, direction="vision_to_audio"),
    "tb_ava cosine": lambda: TBAVA(rank=4, relevance="cosine"),
    "tb_ava relevance trained": lambda: TBAVA(rank=4, relevance="cosine", relevance_weight=0.5),
    "lora": lambda: LoRA(rank=2, targets=TARGETS),
    "lora late": lambda: LoRA(rank=2, targets=TARGETS, last={"vision": 1, "audio": 1}),
    "bottleneck": lambda: Bottleneck(width=4),
    "bottleneck late": lambda: Bottleneck(width=4, last={"vision": 1, "audio": 1}),
    "frozen": lambda: Frozen(),
}
ADAPTING = [name for name in METHODS if name != "frozen"]


@pytest.fixture(params=METHODS)
def model(request: pytest.FixtureRequest) -> Pairing:
    return pairing(METHODS[request.param]())


def test_the_attached_model_equals_the_frozen_backbones_exactly_at_the_start(model: Pairing) -> None:
    data, reference = batch(0, 1, 2), backbones()
    features = model(data)
    for name, backbone in reference.items():
        expected = backbone.pool(backbone(data.inputs[name].flatten(0, 1))).unflatten(0, (3, 4))
        assert torch.equal(features[name], expected)


def test_training_leaves_every_frozen_tensor_bit_identical_and_moves_every_trainable_one(model: Pairing) -> None:
    trained = set(model.trainable_state())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    train_steps(model)
    after = model.state_dict()
    assert not any(module.training for module in model.backbones.modules() if type(module).__name__ == "BatchNorm1d")
    assert all(torch.equal(before[name], after[name]) for name in before if name not in trained)
    # The direction switches leave one stream deaf to the other, but every tensor still acts.
    assert [name for name in sorted(trained) if torch.equal(before[name], after[name])] == []


def test_frozen_tensors_ask_for_no_gradient_and_get_no_optimizer_state(model: Pairing) -> None:
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    running = {name for name, _ in model.named_buffers() if ".queries." in name}  # statistics, by no optimizer
    assert names | running == set(model.trainable_state())
    assert all(name.startswith(("method.", "task.")) or "lora_" in name for name in names)


def test_the_loss_falls_on_a_batch_that_is_repeated(model: Pairing) -> None:
    losses = train_steps(model, steps=30)
    assert losses[-1] < 0.8 * losses[0]


def test_a_sample_is_predicted_alike_alone_and_in_a_batch(model: Pairing) -> None:
    train_steps(model)
    model.eval()
    with torch.no_grad():
        together = model.predict(batch(3, 4, 5))["probabilities"]
        alone = torch.cat([model.predict(batch(i))["probabilities"] for i in (3, 4, 5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ADAPTING)
def test_a_trained_method_changes_the_features(name: str) -> None:
    model = pairing(METHODS[name]())
    data = batch(0, 1)
    before = {stream: value.detach().clone() for stream, value in model(data).items()}
    train_steps(model)
    after = model(data)
    assert all(not torch.allclose(before[stream], after[stream]) for stream in before)


@pytest.mark.parametrize(("direction", "deaf"), [("audio_to_vision", "audio"), ("vision_to_audio", "vision")])
def test_one_direction_only_leaves_the_other_stream_deaf(direction: str, deaf: str) -> None:
    model = pairing(TBAVA(rank=4, direction=direction))
    train_steps(model, steps=10)
    hearing = "vision" if deaf == "audio" else "audio"
    data = batch(0, 1)
    before = model(data)
    changed = batch(0, 1)
    changed.inputs[hearing] = batch(5, 6).inputs[hearing]
    after = model(changed)
    assert torch.equal(before[deaf], after[deaf])
    changed = batch(0, 1)
    changed.inputs[deaf] = batch(5, 6).inputs[deaf]
    assert not torch.equal(before[hearing], model(changed)[hearing])


def test_without_the_gate_neither_stream_hears_the_other() -> None:
    model = pairing(TBAVA(rank=4, gate=False))
    train_steps(model, steps=5)
    data, changed = batch(0, 1), batch(0, 1)
    changed.inputs["audio"] = batch(5, 6).inputs["audio"]
    assert torch.equal(model(data)["vision"], model(changed)["vision"])
    assert model.method.observations() == {}


def test_permuting_the_anchors_among_the_classes_changes_nothing() -> None:
    model = pairing(TBAVA(rank=4))
    train_steps(model)
    data = batch(0, 1)
    before = model(data)
    model.method.anchors = model.method.anchors.flip(0)
    after = model(data)
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-6)


def test_the_text_controls_keep_shapes_and_lose_the_geometry() -> None:
    true, shuffled, random = (pairing(TBAVA(rank=4, text=t)).method.anchors for t in ("class", "shuffled", "random"))
    assert true.shape == shuffled.shape == random.shape == (len(CLASSES) + 1, TinyText.dim)
    torch.testing.assert_close(true.sort(-1).values, shuffled.sort(-1).values)
    assert not torch.allclose(true @ true.T, shuffled @ shuffled.T)
    assert not torch.allclose(true @ true.T, random @ random.T)


def test_the_text_controls_of_a_measurement_lose_what_they_say() -> None:
    anchors = pairing(TBAVA(rank=4)).method.anchors
    other = shuffled(anchors, seed=1)
    torch.testing.assert_close(anchors.sort(-1).values, other.sort(-1).values)
    assert not torch.allclose(anchors @ anchors.T, other @ other.T)


def test_relevance_by_cosine_follows_its_equations() -> None:
    """Another loop, from the docstring of `zoo.methods.tb_ava`; queries are centred by what training saw."""
    model = pairing(TBAVA(rank=4, sites={"vision": [3], "audio": [2]}, relevance="cosine", temperature=0.2))
    train_steps(model)
    site, anchors = model.method.sites[0].eval(), model.method.anchors
    hidden = torch.randn(6, 5, 4)
    centred = anchors - anchors.mean(0)
    rows = [site.text.project.weight @ (row / row.norm()) for row in centred]
    bridge = torch.stack([row / row.norm() for row in rows])
    torch.testing.assert_close(site.text.bridge(anchors), 2 * bridge)
    seen = site.text.queries["audio"]
    assert seen.running_mean.abs().sum() > 0
    query = (hidden.mean(1) - seen.running_mean) / (seen.running_var + seen.eps).sqrt()
    temperature = float(site.text.log_temperature.exp().detach())
    expected = [[float(torch.dot(q / q.norm(), p).detach()) / temperature for p in bridge] for q in query]
    torch.testing.assert_close(site.text.logits("audio", hidden, 2 * bridge), torch.tensor(expected))
    assert temperature != pytest.approx(0.2, abs=1e-6)  # it learns


def test_relevance_is_trained_on_the_right_text_where_asked() -> None:
    model = pairing(TBAVA(rank=4, sites={"vision": [3], "audio": [2]}, relevance="cosine", relevance_weight=0.5))
    data = batch(0, 1, 2)
    model.train()
    loss = model.losses(data)["relevance"]
    logits = model.method.sites[0].logits
    right = data.target["segments"].flatten()
    expected = sum(-logits[m].log_softmax(-1)[range(len(right)), right].mean() for m in ("vision", "audio")) / 2
    torch.testing.assert_close(loss, 0.5 * expected)
    data.target = {"scores": torch.rand(3)}
    with pytest.raises(SettingError, match=r"method.relevance_weight: .* have the labels scores: set it to 0"):
        model(data)


def test_gsm_follows_its_equations() -> None:
    """An independent loop over one site, term by term, with relevance in its first form."""
    model = pairing(TBAVA(rank=4, sites={"vision": [3], "audio": [2]}, temperature=0.5))
    train_steps(model)
    site, anchors = model.method.sites[0], model.method.anchors
    tokens = {"vision": torch.randn(2, 5, 8), "audio": torch.randn(2, 3, 6)}
    adapted, gates = site(tokens, anchors, 1)
    bridge = torch.nn.functional.layer_norm(
        anchors @ site.text[0].weight.T, (4,), site.text[1].weight, site.text[1].bias
    )
    hidden, summary = {}, {}
    for m in tokens:
        a = site.streams[m]
        x = torch.nn.functional.layer_norm(tokens[m], tokens[m].shape[-1:], a.norm.weight, a.norm.bias)
        hidden[m] = torch.nn.functional.gelu(x @ a.down.weight.T + a.down.bias)
        summary[m] = torch.stack(
            [
                sum(w * p for w, p in zip((q @ bridge.T / (0.5 * 2)).softmax(0), bridge, strict=True))
                for q in ((h - h.mean()) / (h.var(correction=0) + 1e-5).sqrt() for h in hidden[m].mean(1))
            ]
        )
    for m, other in (("vision", "audio"), ("audio", "vision")):
        a = site.streams[m]
        g = torch.sigmoid(torch.cat([summary[m], summary[other]], -1) @ a.gate.weight.T + a.gate.bias)
        z = hidden[m] * (1 + g * torch.tanh(summary[other] @ a.shift.weight.T + a.shift.bias))[:, None]
        torch.testing.assert_close(gates[m], g)
        torch.testing.assert_close(adapted[m], tokens[m] + z @ a.up.weight.T)


def test_sites_lie_at_equal_relative_depth_and_late_layers_are_the_last_ones() -> None:
    assert place(None, {"vision": 12, "audio": 4}, None) == {"vision": [3, 6, 9, 12], "audio": [1, 2, 3, 4]}
    assert place(None, {"vision": 12, "audio": 12}, 2) == {"vision": [11, 12], "audio": [11, 12]}


@pytest.mark.parametrize(
    ("sites", "last", "message"),
    [
        ({"vision": [4], "audio": [1]}, None, r"method.sites.vision = \[4\]: expected increasing .* between 1 and 3"),
        ({"vision": [2, 1], "audio": [1, 2]}, None, "increasing"),
        ({"vision": [1]}, None, "method.sites.audio"),
        ({"vision": [1, 2], "audio": [1]}, None, "equally long"),
        (None, 3, "method.last = 3: expected 1 to 2"),
    ],
)
def test_a_placement_that_does_not_fit_is_refused(sites: dict | None, last: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pairing(TBAVA(sites=sites, last=last))


def test_a_missing_stream_is_named() -> None:
    with pytest.raises(ValueError, match="lacks audio"):
        Pairing({"vision": backbones()["vision"]}, TBAVA(), EventLocalization(), classes=CLASSES, text=TinyText())
    with pytest.raises(ValueError, match=r"method.streams = \['lidar'\]"):
        pairing(Frozen(streams=("lidar",)))


@pytest.mark.parametrize("relevance", ["dot", "cosine"])
def test_relevance_tells_inputs_apart_at_the_start(relevance: Literal["dot", "cosine"]) -> None:
    """A relevance near uniform would make the gate a constant: the text bridge would carry nothing."""
    torch.manual_seed(0)
    model = pairing(TBAVA(rank=32, sites={"vision": [3], "audio": [2]}, relevance=relevance))
    tokens = {"vision": torch.randn(64, 5, 8), "audio": torch.randn(64, 3, 6)}
    _, gates = model.method.sites[0](tokens, model.method.anchors, 1)
    assert min(float(gate.std(0).mean()) for gate in gates.values()) > 0.01


def test_the_worked_example_of_the_contribution_guide_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (tmp_path / "scaled.py").write_text(guide.partition("```python\n")[2].partition("```")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    from scaled import Scaled

    model, data = pairing(Scaled()), batch(0, 1)
    frozen = pairing(Frozen())(data)
    assert all(torch.equal(value, frozen[name]) for name, value in model(data).items())
    losses = train_steps(model, steps=10)
    assert losses[-1] < losses[0]
    config = compose("tb_ava", ["method._target_=scaled.Scaled", "method.start=2"])
    assert config.method == {"_target_": "scaled.Scaled", "start": 2}
