"""Relevance of texts by what frozen encoders say of them: TB-AVA with `relevance: shared`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import makers
import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from zoo.adapter import kept_anchors
from zoo.backbones.base import Backbone, TextEncoder
from zoo.backbones.clip import CLIPText, CLIPVision
from zoo.backbones.kept_text import KeptText
from zoo.backbones.siglip import SigLIPText, SigLIPVision
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.tb_ava import TBAVA
from zoo.methods.tb_ava_relevance import STARTS, Shared, ways
from zoo.methods.tb_ava_text import BACKGROUND
from zoo.pairing import Pairing
from zoo.tasks.event_localization import EventLocalization

WORDS = ("hum", "bark", "bell ring", "wind", "motor")


class Knowing(tiny.TinyAudio):
    """An encoder whose classifier scores five names."""

    vocabulary = WORDS

    def scores(self, pooled: Tensor) -> Tensor:
        return torch.sigmoid(pooled[..., : len(WORDS)])


class Seeing(tiny.TinyVision):
    """An encoder whose features lie in the text's space, and a classifier, which then says nothing."""

    space, vocabulary = "tiny", ("a", "b")


class Telling(tiny.TinyText):
    """A text tower as wide as the pictures."""

    dim, space = 8, "tiny"

    def encode(self, texts: Sequence[str]) -> Tensor:
        rows = [torch.randn(8, generator=torch.Generator().manual_seed(sum(map(ord, text)))) + 0.5 for text in texts]
        return F.normalize(torch.stack(rows), dim=-1)


def pairing(encoders: dict[str, Backbone] | None = None, tower: TextEncoder | None = None, **settings: Any) -> Pairing:
    torch.manual_seed(0)
    method = TBAVA(rank=4, relevance="shared", **{"sites": {"vision": [3], "audio": [2]}, **settings})
    encoders = encoders or {"vision": Seeing(), "audio": Knowing()}
    return Pairing(encoders, method, EventLocalization(hidden=8), classes=tiny.CLASSES, text=tower or Telling())


def relevances(model: Pairing, data: Batch) -> dict[str, Tensor]:
    """Of the last site, {stream: [N, K + 1]}."""
    with torch.no_grad():
        model(data)
    return {name: logits.softmax(-1) for name, logits in model.method.sites[-1].logits.items()}


def test_the_model_is_the_frozen_one_at_the_start_and_its_frozen_tensors_stay() -> None:
    model, data = pairing(), tiny.batch(0, 1, 2)
    features = model(data)
    for name, encoder in model.backbones.items():
        expected = encoder.pool(encoder(data.inputs[name].flatten(0, 1))).unflatten(0, (3, 4))
        assert torch.equal(features[name], expected)
    before, trained = {name: t.clone() for name, t in model.state_dict().items()}, set(model.trainable_state())
    model.train()
    losses = tiny.train_steps(model, steps=30)
    assert losses[-1] < 0.8 * losses[0]
    same = {name for name, tensor in model.state_dict().items() if torch.equal(before[name], tensor)}
    assert same == before.keys() - trained
    assert {name for name in trained if "log_temperatures" in name} == {
        f"method.sites.0.text.log_temperatures.{stream}" for stream in ("vision", "audio")
    }


def test_relevance_follows_its_equations() -> None:
    """Another loop, from the docstring of `zoo.methods.tb_ava`, over the frozen features of the trained model."""
    model, data, text = pairing(temperature=0.7), tiny.batch(0, 1), Telling()
    model.train()
    tiny.train_steps(model)
    model.eval()
    found = relevances(model, data)
    prompts = ("a photo of {}", "a sound of {}")

    def vector(name: str) -> Tensor:
        return F.normalize(sum(text.encode([p.format(name)])[0] for p in prompts) / 2, dim=0)

    anchors = [*map(vector, tiny.CLASSES), text.encode([BACKGROUND])[0]]
    words = [vector(name) for name in WORDS]
    centre = sum(words) / len(words)
    site = model.method.sites[0]
    for name, encoder in {"vision": Seeing(), "audio": Knowing()}.items():
        deviation = (site.text.queries[name].running_var + 1e-8).sqrt()
        temperature = site.text.log_temperatures[name].exp().detach()
        assert float(temperature) != pytest.approx(0.7, abs=1e-6)  # it learns
        for row, sample in enumerate(data.inputs[name].flatten(0, 1)):
            pooled = encoder.pool(encoder(sample[None]))[0]
            said = []
            for anchor in anchors:
                near = torch.stack([F.cosine_similarity(w - centre, anchor - centre, dim=0) / 0.1 for w in words])
                heard = (torch.sigmoid(pooled[:5]) @ near.softmax(0)).log() if name == "audio" else None
                said.append(F.cosine_similarity(pooled, anchor, dim=0) if heard is None else heard)
            apart = torch.stack(said) - torch.stack(said).mean()
            expected = (apart / (deviation * temperature)).softmax(0)
            torch.testing.assert_close(found[name][row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_it_starts_neither_uniform_nor_one_hot_whatever_an_encoder_is_scaled_by(scale: float) -> None:
    relevance = Shared(8, 4, STARTS["shared"], ("vision", "audio")).train()
    similar = scale * torch.randn(64, 13, generator=torch.Generator().manual_seed(0)) + 3 * scale
    logits = relevance.logits("audio", torch.zeros(64, 2, 4), torch.zeros(13, 4), similar)
    assert float(logits.detach().std()) == pytest.approx(1, abs=0.02)
    strongest = logits.detach().softmax(-1).amax(-1)
    assert 2 / 13 < float(strongest.mean()) < 0.5


def test_it_is_told_by_the_frozen_stream_whatever_is_trained_and_wherever_the_sites_lie() -> None:
    data = tiny.batch(0, 1)
    found = []
    for sites in ({"vision": [3], "audio": [2]}, {"vision": [1, 3], "audio": [1, 2]}):
        model = pairing(sites=sites)
        tiny.train_steps(model)
        tokens = {name: value.flatten(0, 1) for name, value in model.prefix(data).items()}
        found.append(model.method._similar(model.backbones, tokens))
    for name in ("vision", "audio"):
        torch.testing.assert_close(found[0][name], found[1][name])


def test_a_sample_is_alike_alone_and_in_a_batch_and_classes_are_a_set() -> None:
    model = pairing()
    model.train()
    tiny.train_steps(model)
    model.eval()
    with torch.no_grad():
        together = model.predict(tiny.batch(3, 4, 5))["probabilities"]
        alone = torch.cat([model.predict(tiny.batch(i))["probabilities"] for i in (3, 4, 5)])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
        before = model(tiny.batch(0, 1))
        model.method.anchors = model.method.anchors.flip(0)
        after = model(tiny.batch(0, 1))
    for name in before:
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=1e-6)


def test_texts_alike_are_equally_relevant_and_texts_without_meaning_are_others() -> None:
    model, data = pairing().eval(), tiny.batch(0, 1)
    true, interventions = relevances(model, data), model.method.interventions()
    with interventions["text_alike"]():
        alike = relevances(model, data)
    with interventions["text_meaningless"]():
        other = relevances(model, data)
    for name in true:
        torch.testing.assert_close(alike[name], torch.full_like(alike[name], 1 / 4))
        assert float((true[name] - other[name]).abs().max()) > 0.01
    assert all(torch.equal(true[name], again) for name, again in relevances(model, data).items())


def test_the_controls_of_the_text_leave_names_where_they_are_and_lose_what_relevance_meant() -> None:
    models = {control: pairing(text=control) for control in ("class", "shuffled", "random")}
    data = tiny.batch(0, 1, 2)
    found = {control: relevances(model.eval(), data) for control, model in models.items()}
    for control in ("shuffled", "random"):
        assert torch.equal(models[control].method.words, models["class"].method.words)
        for name in ("vision", "audio"):
            assert float((found[control][name] - found["class"][name]).abs().max()) > 0.01


def test_a_stream_that_shares_nothing_is_told_by_cosine_and_says_so() -> None:
    model, data = pairing({"vision": tiny.TinyVision(), "audio": Knowing()}), tiny.batch(0, 1)
    assert model.method.describe() == (
        "relevance of texts: vision, which shares none, by cosine; audio by its encoder's names"
    )
    model.train()
    tiny.train_steps(model)
    model.eval()
    relevances(model, data)
    site, name = model.method.sites[0], "vision"
    hidden = site.streams[name].bottleneck(model.prefix(data)[name].flatten(0, 1))
    bridge = site.text.bridge(model.method.anchors)
    seen = site.text.queries[name]
    query = (hidden.mean(1) - seen.running_mean) / (seen.running_var + seen.eps).sqrt()
    expected = F.normalize(query, dim=-1) @ F.normalize(bridge, dim=-1).T / site.text.log_temperatures[name].exp()
    torch.testing.assert_close(site.logits[name], expected)
    assert pairing().method.describe() == (
        "relevance of texts: vision by the text tower's space; audio by its encoder's names"
    )
    assert pairing(gate=False).method.describe() == ""


def test_other_spaces_are_none() -> None:
    class Other(Telling):
        space = "another"

    class Wider(Seeing):
        vocabulary = ()

    encoders = {"vision": Wider(), "audio": tiny.TinyAudio()}
    assert pairing(encoders).method.shared == {"vision": "space"}
    with pytest.raises(SettingError, match=r"method\.relevance: shared: neither the vision nor the audio backbone"):
        pairing(encoders, tower=Other())
    with pytest.raises(SettingError, match=r"method\.relevance: shared"):  # of the same name, and of another width
        pairing(encoders, tower=tiny.TinyText())


def test_relevance_is_trained_on_the_right_text_where_asked() -> None:
    model, data = pairing(relevance_weight=0.5), tiny.batch(0, 1, 2)
    model.train()
    loss = model.losses(data)["relevance"]
    right = data.target["segments"].flatten()
    logits = model.method.sites[0].logits
    expected = sum(F.cross_entropy(logits[name], right) for name in ("vision", "audio")) / 2
    torch.testing.assert_close(loss, 0.5 * expected)
    loss.backward()
    assert all(float(t.grad.abs()) > 0 for t in model.method.sites[0].text.log_temperatures.values())


def test_what_an_adapter_keeps_is_enough_without_its_text_tower(tmp_path: Path) -> None:
    model = pairing()
    config = {"backbones": {"text": {"_target_": "zoo.backbones.minilm.MiniLM"}}, "method": {}}
    header, tensors = kept_anchors.kept(model, config)
    prints = {"fingerprints": json.dumps({"text": asdict(Telling.fingerprint)})}
    save_file(tensors, tmp_path / "a.safetensors", metadata=header | prints)
    again = pairing(tower=KeptText(file=str(tmp_path / "a.safetensors")))
    assert again.method.shared == model.method.shared == {"vision": "space", "audio": "vocabulary"}
    assert torch.equal(again.method.anchors, model.method.anchors)
    assert torch.equal(again.method.words, model.method.words)


def test_the_towers_of_one_model_share_a_space_and_those_of_two_do_not() -> None:
    text = {key: size for key, size in makers.SIGLIP.items() if key != "image_size"}
    text |= {"vocab_size": 300, "projection_size": 32}
    siglip, clip = SigLIPVision(source="random:0", config=makers.SIGLIP), makers.MAKERS["clip"]()
    assert isinstance(clip, CLIPVision)
    seeing: dict[str, Backbone] = {"siglip": siglip, "clip": clip}
    assert ways(seeing, SigLIPText(source="random:0", config=text)) == {"siglip": "space"}
    assert ways(seeing, SigLIPText(source="random:1", config=text)) == {}
    assert ways(seeing, CLIPText(source="random:0", config=makers.CLIP)) == {"clip": "space"}
