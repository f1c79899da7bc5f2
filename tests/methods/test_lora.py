"""LoRA reaches every kind of frozen encoder, and refuses what it cannot reach."""

import pytest
import torch
import vlm_tiny
from makers import MAKERS, clip
from tiny import pairing

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.lora import LoRA

TARGETS = {
    "dinov2": ["attn.qkv", "attn.proj", "mlp.fc1"],
    "dinov3": ["attn.qkv", "attn.proj"],
    "vit": ["attn.qkv"],
    "clip": ["mlp.c_fc", "mlp.c_proj"],
    "siglip": ["self_attn.q_proj", "self_attn.v_proj", "mlp.fc1"],
    "beats": ["self_attn.q_proj", "self_attn.v_proj", "fc2"],
    "aisfx": ["conv1", "conv2"],
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_update_is_silent_at_the_start_then_gets_gradients_and_changes_the_output(name: str) -> None:
    backbone, method = MAKERS[name](), LoRA(rank=2, targets={"stream": TARGETS[name]}, last={"stream": 2})
    inputs = backbone.transform(clip())
    plain = backbone.pool(backbone(inputs))
    method.attach({"stream": backbone})
    (depth,) = method.prefix_depths().values()
    assert depth == backbone.depth - 2
    tokens = backbone.embed(inputs)
    for block in backbone.blocks[:depth]:
        tokens = block(tokens)
    batch = Batch(ids=["c"], inputs={}, target={})
    with torch.no_grad():  # as `plain` was: with gradients PyTorch may choose another attention kernel
        start = method({"stream": backbone}, {"stream": tokens[None]}, batch)["stream"]
    if name == "aisfx":  # it folds its norms into plain convolutions, and only into those: the same up to rounding
        torch.testing.assert_close(start[0], plain, atol=1e-7, rtol=1e-4)
    else:
        assert torch.equal(start[0], plain)
    trained = {n: p for n, p in backbone.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * len(TARGETS[name])
    with torch.no_grad():
        for n, parameter in trained.items():
            if "lora_B" in n:
                parameter.normal_(std=0.1)
    moved = method({"stream": backbone}, {"stream": tokens[None]}, batch)["stream"]
    moved.square().sum().backward()
    assert not torch.allclose(moved, start)
    silent = [n for n, p in trained.items() if p.grad is None or not p.grad.abs().sum()]
    assert silent == []


def test_a_target_that_matches_nothing_is_refused_with_the_layers_there_are() -> None:
    with pytest.raises(SettingError, match=r"targets.vision, block 0: 'q_proj' matches no layer; it has \['1'\]"):
        pairing(LoRA(targets={"vision": ["q_proj"]}))


def test_a_target_inside_fused_attention_is_refused() -> None:
    with pytest.raises(SettingError, match=r"attn\.out_proj lies inside PyTorch's fused attention"):
        LoRA(targets={"vision": ["out_proj"]}).attach({"vision": MAKERS["clip"]()})


@pytest.mark.parametrize("name", vlm_tiny.NAMES)
def test_the_projector_learns_beside_it_at_its_own_rate_and_is_taken_away_with_it(name: str) -> None:
    model, samples = vlm_tiny.model(name), vlm_tiny.pictures()
    method = LoRA(rank=2, targets={"language": ["q_proj"]}, projector_lr=0.1)
    questions = [sample.question for sample in samples]
    batch = Batch(ids=[*"abc"], inputs={}, target={}, questions=questions)
    inputs = {"scene": vlm_tiny.inputs(model, samples)}
    before = vlm_tiny.likelihood(model, samples)
    method.attach({"scene": model})
    assert method.describe().endswith("; trains the projector")
    frozen = {id(parameter) for module in model.projectors for parameter in module.parameters()}
    own = [parameter for parameter in method.parameters() if parameter.requires_grad]
    assert len(own) == len(frozen)
    assert not frozen & {id(parameter) for parameter in own}
    groups = method.parameter_groups()
    assert {groups[parameter].lr for parameter in own} == {0.1}
    start = method({"scene": model}, inputs, batch)["scene"]
    torch.testing.assert_close(start, before, equal_nan=True, rtol=0, atol=0)
    start[~start.isnan()].sum().backward()
    silent = [n for n, p in method.projectors.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # What the tiny Qwen3-VL's last merger gives is added after its last block, where no word reads it.
    assert not [n for n in silent if not (name == "qwen3_vl" and n.startswith("2."))]
    with torch.no_grad():
        for parameter in own:
            parameter += 0.1
    assert not torch.equal(method({"scene": model}, inputs, batch)["scene"].nan_to_num(), before.nan_to_num())
    with method.without():
        again = method({"scene": model}, inputs, batch)["scene"]
    torch.testing.assert_close(again, before, equal_nan=True, rtol=0, atol=0)


def test_a_projector_where_there_is_none_is_refused() -> None:
    with pytest.raises(SettingError, match=r"projector_lr: needs a vision-language model with a projector"):
        pairing(LoRA(targets={"vision": ["1"]}, projector_lr=0.1))
