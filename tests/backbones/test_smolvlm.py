"""SmolVLM puts its own processor's marks around tiles, and models that read in both directions are refused."""

import json
from pathlib import Path

import pytest
import torch
import vlm_files
import vlm_tiny as tiny
from torch import Tensor

from zoo.backbones.hf_modules import require_causal
from zoo.backbones.smolvlm import SmolVLM, SmolVLM2
from zoo.backbones.vision_language import ask
from zoo.backbones.weights import WeightsError
from zoo.batch import Picture
from zoo.errors import SettingError
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose


@pytest.fixture(scope="module", params=["smolvlm", "smolvlm2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved SmolVLM as a repository holds it: safetensors, tokenizer, image processor, chat template."""
    if request.param == "smolvlm2":
        pytest.importorskip("num2words", reason="SmolVLM2's processor needs num2words")
    return vlm_files.smolvlm(request.param, tmp_path_factory.mktemp("smolvlm"))


@pytest.fixture(scope="module")
def model(folder: Path) -> SmolVLM:
    second = json.loads((folder / "config.json").read_text())["model_type"] == "smolvlm"
    return (SmolVLM2 if second else SmolVLM)(source=f"file:{folder}")


def processed(model: SmolVLM, sample: Picture) -> dict[str, Tensor]:
    """What the processor itself makes of a sample's question and pictures."""
    content = [*({"type": "image"} for _ in sample.images), {"type": "text", "text": ask(sample.question)}]
    processor = model.chat.processor
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return processor(text=text, images=list(sample.images), input_data_format="channels_last", return_tensors="pt")


@pytest.mark.parametrize("sizes", [[(40, 90)], [(70, 33), (64, 64)], [(32, 32)], [(200, 50), (32, 32), (31, 90)]])
def test_prompts_are_token_for_token_the_processors(model: SmolVLM, sizes: list[tuple[int, int]]) -> None:
    sample = tiny.picture(1, *sizes)
    whole = processed(model, sample)
    seen = model.look(tiny.inputs(model, [sample]))
    tokens, mask = model.prompts(seen, [sample.question])
    assert torch.equal(tokens, whole["input_ids"])
    assert torch.equal(mask, whole["attention_mask"])
    mine = model.transform(sample)
    assert torch.equal(mine["pixel_values"], whole["pixel_values"][0])
    assert torch.equal(mine["pixel_attention_mask"], whole["pixel_attention_mask"][0])


def test_likelihoods_are_those_of_the_models_own_forward_on_its_processors_inputs(model: SmolVLM) -> None:
    samples = tiny.pictures()
    together = tiny.likelihood(model, samples)
    for row, sample in enumerate(samples):
        whole, answer = processed(model, sample), model.chat.answer(sample.question.answer)
        ids = torch.cat([whole["input_ids"], torch.tensor([answer])], 1)
        logits = model.net(
            input_ids=ids, pixel_values=whole["pixel_values"], pixel_attention_mask=whole["pixel_attention_mask"]
        ).logits[0, -len(answer) - 1 : -1]
        expected = logits.log_softmax(-1)[range(len(answer)), answer]
        torch.testing.assert_close(together[row, : len(answer)], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "text"), [("paligemma", {}), ("gemma3", {}), ("llava", {"use_bidirectional_attention": True})]
)
def test_what_attends_in_both_directions_is_refused_before_its_weights_are_read(
    tmp_path: Path, kind: str, text: dict[str, bool]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind, "text_config": text}))
    with pytest.raises(SettingError, match=f"{kind} attends over its prompt in both directions") as error:
        tiny.model("llava", source=f"file:{tmp_path}", config=None)
    assert "\n" not in str(error.value)
    with pytest.raises(SettingError, match="in both directions"):
        require_causal(kind, text, "random:0")


def test_weights_of_another_kind_are_refused_before_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "idefics3"}))
    with pytest.raises(WeightsError, match=r"is of the type idefics3 \(config\.json\), not llava"):
        tiny.model("llava", source=f"file:{tmp_path}", config=None)


OWN = """
include: [backbone/smolvlm_256m, method/lora_vlm, trainer/qlora]
seed: 0
data: {_target_: data_modules.rsvqa.RSVQA, root: nowhere, variant: lr}
loader: {batch_size: 4}
task: {_target_: zoo.tasks.open_vqa.OpenVQA}
"""


def test_a_recipe_of_ones_own_takes_it_by_name(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    made = build_pairing(compose(str(tmp_path / "own.yaml"), smoke=True), ["count"], cached=False)
    assert made.method.describe() == "adapts language blocks 0 to 1 (8 layers: q_proj, k_proj, v_proj, o_proj)"
    assert isinstance(made.backbones["vlm"], SmolVLM)
