"""Our own ViT is timm's: same names, same draws, same fingerprint, same outputs; and it can be cut."""

import json
from functools import cache

import pytest
import timm
import torch
import yaml
from safetensors import safe_open

from zoo.adapter.places import bundled
from zoo.backbones import vit, weights
from zoo.backbones.dinov2 import EMBEDDED, MODEL, DINOv2, converted
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint, fingerprints_of_format
from zoo.backbones.timm_vit import TimmViT
from zoo.errors import SettingError
from zoo.methods.lora import LoRA


def settings(size: int) -> dict:
    return {"image_size": size, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def timms(size: int) -> torch.nn.Module:
    """timm's model with the embedded weights."""
    net = timm.create_model(MODEL, num_classes=0, img_size=size)
    state = weights.load_state_dict(converted(weights.resolve(EMBEDDED)))
    vit.load(net, state, source=EMBEDDED, antialias=False)
    return net.eval()


@pytest.mark.parametrize("size", [56, 112])
def test_its_outputs_and_gradients_are_timms(size: int) -> None:
    ours, theirs = DINOv2(image_size=size), timms(size)
    pictures = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    one, two = pictures.clone().requires_grad_(), pictures.clone().requires_grad_()
    out, expected = ours(one), theirs.forward_features(two)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-6)
    out.square().mean().backward()
    expected.square().mean().backward()
    torch.testing.assert_close(one.grad, two.grad, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_its_fingerprints_are_timms_in_every_format_of_adapters(number: int) -> None:
    with fingerprints_of_format(number):
        assert DINOv2(image_size=56).fingerprint == fingerprint(timms(56), settings(56))


@pytest.mark.parametrize("number", [2, 3])
def test_random_weights_are_drawn_as_timm_draws_them(number: int) -> None:
    with fingerprints_of_format(number), initialising("random:3", MODEL):
        net = timm.create_model(MODEL, num_classes=0, img_size=56)
    with fingerprints_of_format(number):
        assert DINOv2(source="random:3", image_size=56).fingerprint == fingerprint(net, settings(56))


def test_layers_have_the_names_by_which_methods_find_them() -> None:
    ours = {name for name, _ in whole_one("own").net.named_parameters()}
    assert ours == {name for name, _ in timm.create_model(MODEL, num_classes=0, img_size=56).named_parameters()}


@pytest.mark.parametrize("name", ["tb_ava-grid", "scale_earth-rsscn7"])
def test_adapters_that_were_trained_on_timms_model_know_ours(name: str) -> None:
    folder = bundled()[name]
    with safe_open(folder / "adapter.safetensors", framework="pt") as file:
        header = file.metadata()
    stored = json.loads(header["fingerprints"])["vision"]
    block = dict(yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))["backbones"]["vision"])
    block.pop("_target_")
    with fingerprints_of_format(int(header["format"])):
        found = DINOv2(**block).fingerprint
    assert stored in (found.weights, {"weights": found.weights, "settings": found.settings})


MAKERS = {
    "own": lambda **more: DINOv2(source="random:0", image_size=56, **more),
    "timm": lambda **more: TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=32, **more),
    "timm with rotary positions": lambda **more: TimmViT(
        model="vit_small_patch16_dinov3", source="random:0", image_size=32, **more
    ),
}


whole_one = cache(lambda name: MAKERS[name]())


@pytest.mark.parametrize("name", ["own", "timm", pytest.param("timm with rotary positions", marks=pytest.mark.slow)])
def test_a_cut_encoder_is_the_whole_ones_first_blocks_and_its_last_norm(name: str) -> None:
    whole, short = whole_one(name), MAKERS[name](blocks=2)
    pictures = torch.randn(2, 3, whole.image_size, whole.image_size, generator=torch.Generator().manual_seed(0))
    tokens = whole.embed(pictures)
    for block in whole.blocks[:2]:
        tokens = block(tokens)
    assert torch.equal(short(pictures), whole.finish(tokens))
    assert short.depth == len(short.blocks) == 2
    assert short.fingerprint != whole.fingerprint
    assert MAKERS[name](blocks=12).fingerprint == whole.fingerprint


@pytest.mark.parametrize("name", ["own", "timm"])
@pytest.mark.parametrize("blocks", [0, 13])
def test_more_blocks_than_there_are_and_none_are_refused(name: str, blocks: int) -> None:
    with pytest.raises(SettingError, match=rf"blocks = {blocks}: expected 1 to 12"):
        MAKERS[name](blocks=blocks)


def test_a_method_on_a_cut_encoder_adapts_its_last_block() -> None:
    short = MAKERS["own"](blocks=3)
    method = LoRA(rank=2, targets={"vision": ["attn.qkv", "mlp.fc2"]}, last={"vision": 1})
    method.attach({"vision": short})
    assert method.describe() == "adapts vision blocks 2 to 2 (2 layers: qkv, fc2)"
    assert method.prefix_depths() == {"vision": 2}
