"""Where vision-language models come from: names of weights and settings, four bits, and a repository's own words."""

import json

import pytest
import torch
import vlm_files
import vlm_tiny as tiny

from zoo.backbones import hf_weights
from zoo.backbones.weights import WeightsError
from zoo.errors import SettingError

names = pytest.mark.parametrize("name", tiny.NAMES)


@pytest.fixture(scope="module")
def models():
    """Shared by the tests that change nothing."""
    return {name: tiny.model(name) for name in tiny.NAMES}


@names
def test_frozen_and_named_by_weights_and_settings(models, name):
    model = models[name]
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(m.training for m in model.modules())
    assert model.fingerprint == tiny.model(name).fingerprint
    assert model.fingerprint != tiny.model(name, source="random:4").fingerprint


def test_the_largest_image_is_part_of_the_fingerprint(models):
    assert models["qwen3_vl"].fingerprint != tiny.model("qwen3_vl", max_pixels=tiny.PIXELS * 2).fingerprint


def test_bfloat16_keeps_what_turns_positions_into_angles():
    model = tiny.model("qwen3_vl", dtype="bfloat16")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {b.dtype for b in model.buffers()} == {torch.float32}
    values = tiny.likelihood(model, tiny.pictures())
    assert values.dtype == torch.float32
    exact = tiny.likelihood(tiny.model("qwen3_vl"), tiny.pictures())
    torch.testing.assert_close(values, exact, equal_nan=True, rtol=0.05, atol=0.05)


def test_four_bits_say_in_one_line_what_they_lack(monkeypatch):
    monkeypatch.setattr(hf_weights, "absent_of", lambda *packages: list(packages))
    with pytest.raises(SettingError, match=r"^quantize: 4bit needs bitsandbytes \(pip install ") as error:
        tiny.model("llava", source="file:/no/such/folder", quantize="4bit")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vlm_files.qwen("qwen3_vl", tmp_path_factory.mktemp("qwen"))


def test_saved_weights_bring_their_own_words(folder, models):
    model, samples = tiny.model("qwen3_vl", source=f"file:{folder}", config=None), tiny.pictures()
    prompt = model.chat.prompt(samples[1].question, 2)
    assert prompt.count(250) == 2
    assert prompt[:4] == [255, 252, 250, 253]
    assert model.chat.text(prompt).endswith("one word or number.\nA:") or model.chat.text(prompt).endswith("alone.\nA:")
    assert model.chat.answer("A C")[-1] == 254
    assert model.chat.text(model.chat.answer("A C")) == "A C"
    torch.testing.assert_close(tiny.likelihood(model, samples[1:2])[0], tiny.reference(model, "qwen3_vl", samples[1]))
    seen, other = (
        model.look(tiny.inputs(model, samples)),
        models["qwen3_vl"].look(tiny.inputs(models["qwen3_vl"], samples)),
    )
    torch.testing.assert_close(seen["features"], other["features"])


def test_a_question_cannot_hold_the_mark_of_a_picture(folder):
    model, sample = tiny.model("qwen3_vl", source=f"file:{folder}", config=None), tiny.picture(0, (40, 90))
    with pytest.raises(SettingError, match="2 marks of a picture for 1 pictures"):
        model.chat.prompt(sample.question._replace(text="Is <|image_pad|> there?"), 1)


def test_sources_that_lack_something_say_what(folder, tmp_path):
    with pytest.raises(WeightsError, match="config belongs to random"):
        tiny.model("qwen3_vl", source=f"file:{folder}")
    with pytest.raises(WeightsError, match="no processor that transformers can load"):
        tiny.model("llava", source=f"file:{tmp_path}", config=None)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").unlink()
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert "chat_template" not in settings
    with pytest.raises(WeightsError, match="has no chat template"):
        tiny.model("qwen3_vl", source=f"file:{tmp_path}", config=None)
