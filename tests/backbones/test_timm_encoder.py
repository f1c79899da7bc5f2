"""Any encoder of timm: stepped it gives what timm gives, methods act inside, names and objects are one, and what cannot
be stepped is refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm_tiny
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.adapter import directory
from zoo.backbones import timm_models
from zoo.backbones.timm_encoder import TimmEncoder
from zoo.backbones.timm_vit import TimmViT
from zoo.backbones.weights import WeightsError
from zoo.batch import Batch, Picture
from zoo.errors import SettingError, UserError
from zoo.interop import merged
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.scale_earth import ScaleEarth
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose, to_yaml
from zoo.tasks.classification import Classification
from zoo.train import main as train

LAYERS = {
    "tiny_vit": ["attn.qkv"],
    "test_vit4": ["attn.qkv"],
    "test_vit_relpos": ["attn.qkv"],
    "tiny_swin": ["attn.qkv", "mlp.fc1"],
    "tiny_swinv2": ["attn.proj"],
    "tiny_pvt": ["attn.kv"],
    "tiny_hiera": ["attn.qkv"],
    "test_maxvit": ["attn.qkv", "conv3_1x1"],
    "test_coatnet": [],
    "test_convnext": ["mlp.fc1"],
    "test_mambaout": ["fc1"],
    "test_resnet": ["conv2"],
    "test_nfnet": [],
    "test_efficientnet": [],
    "test_byobnet": [],
    "mobilenetv4_conv_small_035": [],
}
"""Families, and layers that every block has and LoRA can update: none in blocks of several kinds, or of odd layers."""

ADAPTED = sorted(name for name, targets in LAYERS.items() if targets)

TARGET = "zoo.backbones.timm_encoder.TimmEncoder"


def encoder(name: str, **settings: Any) -> TimmEncoder:
    size = None if name.startswith("tiny_") else 64
    return TimmEncoder(**{"model": name, "source": "random:0", "image_size": size} | settings)


def pictures(model: TimmEncoder, count: int = 3) -> Tensor:
    return torch.randn(count, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(7))


def batch(model: TimmEncoder, count: int = 3) -> Batch:
    labels = {"label": torch.arange(count) % 2}
    gsd = {"gsd": torch.linspace(0.5, 20, count)}
    return Batch([str(i) for i in range(count)], {"vision": pictures(model, count)[:, None]}, labels, conditions=gsd)


def pairing(backbone: Any, method: Any) -> Pairing:
    torch.manual_seed(0)
    return Pairing({"vision": backbone}, method, Classification(hidden=()), classes=["a", "b"])


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_stepping_is_timms_own_forward_bit_for_bit(name: str) -> None:
    model = encoder(name)
    inputs, net = pictures(model), model.net
    tokens = model.embed(inputs)
    for block, width in zip([None, *model.blocks], model.dims, strict=True):
        tokens = tokens if block is None else block(tokens).contiguous()  # as the prefix cache has them
        assert tokens.ndim == 3
        assert tokens.shape[-1] == width
    whole = net.forward_features(inputs)
    assert torch.equal(model.finish(tokens), model.chain.end.tokens(whole))
    pooled = model.pool(model.finish(tokens))
    assert pooled.shape == (3, model.dim)
    assert torch.equal(pooled, net.forward_head(whole, pre_logits=True))
    assert len(model.blocks) >= 3  # acting between blocks is what stepping is for


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_pictures_features_do_not_depend_on_its_batch(name: str) -> None:
    model = encoder(name)
    inputs = pictures(model)
    torch.testing.assert_close(model(inputs)[1:2], model(inputs[1:2]), atol=1e-5, rtol=1e-4)


def stirred(model: TimmEncoder) -> TimmEncoder:
    """With no part silent: timm starts gains behind residual branches at zero."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.mark.parametrize("name", ADAPTED)
def test_lora_begins_as_the_frozen_encoder_learns_and_leaves_frozen_tensors_as_they_are(name: str) -> None:
    method = LoRA(rank=2, targets={"vision": LAYERS[name]})
    plain, adapted = pairing(stirred(encoder(name)), Frozen()), pairing(stirred(encoder(name)), method)
    given = batch(plain.backbones["vision"])
    with torch.no_grad():
        assert torch.equal(plain(given)["vision"], adapted(given)["vision"])
    before = {key: value.clone() for key, value in adapted.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    adapted.task.loss(adapted(given), given)["cross_entropy"].mean().backward()
    optimizer.step()
    moved = {key for key, value in adapted.state_dict().items() if not torch.equal(value, before[key])}
    assert moved <= set(adapted.trainable)
    layers = [key for key in adapted.trainable if "lora_B" in key]
    assert len(layers) >= len(plain.backbones["vision"].blocks)
    assert {key for key in layers if key in moved} == set(layers)  # every block is reached


@pytest.mark.parametrize("name", ["tiny_swin", "test_convnext", "tiny_vit"])
def test_scale_earth_acts_in_its_layers_for_each_picture_alone(name: str) -> None:
    method = ScaleEarth(targets={"vision": ["mlp.fc1"]}, rank=3, thresholds=[1.0, 4.0, 9.0])
    model = pairing(encoder(name), method).eval()
    with torch.no_grad():
        for key, parameter in model.method.named_parameters():
            if key.endswith("up"):
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
        given = batch(model.backbones["vision"])
        whole = model(given)["vision"]
        alone = Batch(
            ["1"], {"vision": given.inputs["vision"][1:2]}, {}, conditions={"gsd": given.conditions["gsd"][1:2]}
        )
        torch.testing.assert_close(model(alone)["vision"], whole[1:2], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(whole, pairing(encoder(name), Frozen())(given)["vision"])


SAVED: dict[str, tuple[list[str], dict[str, Any]]] = {
    "test_efficientnet": (["conv_pwl"], {"image_size": 64}),
    "tiny_swin": (["attn.qkv"], {"blocks": 3}),
    "tiny_vit": (["attn.qkv"], {"blocks": 2}),
}
"""Layers of the last block, and settings of the encoder."""


def config(name: str) -> DictConfig:
    whole: Any = OmegaConf.to_container(compose("scale_earth_rsscn7", ["data.root=nowhere"]))
    layers, settings = SAVED[name]
    backbone = {"_target_": TARGET, "model": name, "source": "random:0"} | settings
    lora = {"_target_": "zoo.methods.lora.LoRA", "rank": 2, "targets": {"vision": layers}, "last": {"vision": 1}}
    plain = {key: value for key, value in whole.items() if key not in ("smoke", "variants", "include", "cache")}
    return OmegaConf.create(plain | {"backbones": {"vision": backbone}, "method": lora})


def moved(recipe: DictConfig) -> Pairing:
    made = build_pairing(recipe, ["a", "b"], cached=False).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in made.trainable_state().values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return made


def picture() -> Picture:
    return Picture("p", [np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)], {}, {})


@pytest.mark.parametrize("name", SAVED)
@torch.no_grad()
def test_an_adapter_predicts_the_same_after_saving_and_loading(name: str, tmp_path: Path) -> None:
    made = moved(config(name))
    recipe = to_yaml(config(name))
    folder = directory.save(made, tmp_path / "adapter", recipe=recipe, metrics={}, card=lambda _: "# card\n")
    loaded = directory.load(folder)[1].eval()
    given = made.batch([picture()])
    assert torch.equal(made(given)["vision"], loaded(loaded.batch([picture()]))["vision"])
    assert torch.equal(made.predict(given)["probabilities"], loaded.predict(given)["probabilities"])


@pytest.mark.parametrize("name", SAVED)
@torch.no_grad()
def test_merged_weights_are_a_file_that_the_encoder_loads(name: str, tmp_path: Path) -> None:
    made, untouched = moved(config(name)), build_pairing(config(name), ["a", "b"], cached=False).eval()
    plain = merged.rebuild(config(name), made, merged.write(made, tmp_path))
    given = made.batch([picture()])
    torch.testing.assert_close(plain(given)["vision"], made(given)["vision"], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain(given)["vision"], untouched(given)["vision"], atol=1e-3, rtol=1e-3)
    assert plain.fingerprints != made.fingerprints


@pytest.mark.parametrize("size", [32, 64])
def test_a_file_of_weights_is_known_at_every_size(size: int, tmp_path: Path) -> None:
    save_file(timm.create_model("tiny_vit", num_classes=0).state_dict(), tmp_path / "net.safetensors")
    from_file = TimmEncoder(model="tiny_vit", source=f"file:{tmp_path / 'net.safetensors'}", image_size=size)
    again = TimmEncoder(model="tiny_vit", source=f"file:{tmp_path / 'net.safetensors'}", image_size=size)
    assert from_file.fingerprint == again.fingerprint
    assert from_file.image_size == size
    other = TimmEncoder(model="tiny_vit", source=f"file:{tmp_path / 'net.safetensors'}", image_size=96 - size)
    assert other.fingerprint.weights == from_file.fingerprint.weights  # of what is stored, not of resampled positions
    assert other.fingerprint.settings != from_file.fingerprint.settings


def test_a_cut_encoder_runs_its_first_blocks_then_its_norm_and_pooling() -> None:
    whole, cut = encoder("tiny_vit"), encoder("tiny_vit", blocks=2)
    assert cut.depth == 2
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in whole.parameters())
    tokens = whole.embed(pictures(whole))
    for block in whole.blocks[:2]:
        tokens = block(tokens)
    assert torch.equal(cut(pictures(cut)), whole.finish(tokens))
    assert cut.fingerprint != whole.fingerprint
    swin = encoder("tiny_swin", blocks=3, image_size=64)
    assert swin.dims == (12, 12, 12, 24)


def test_an_object_and_its_name_give_the_same_and_the_object_is_frozen() -> None:
    named = encoder("test_convnext", image_size=160)
    torch.manual_seed(0)
    net = timm.create_model("test_convnext", num_classes=5)
    net.load_state_dict(named.net.state_dict(), strict=False)
    ours = TimmEncoder.of(net.train())
    assert ours.fingerprint == named.fingerprint
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.training
    model = pairing(net, LoRA(rank=2, targets={"vision": ["mlp.fc1"]}))
    given = batch(ours)
    with torch.no_grad():
        assert torch.equal(model(given)["vision"], pairing(named, Frozen())(given)["vision"])
    assert torch.equal(named.transform(picture()), model.backbones["vision"].transform(picture()))


def test_pictures_are_prepared_as_the_weights_were_trained() -> None:
    clip = Picture("p", [np.full((32, 32, 3), 128, np.uint8)], {}, {})
    seen = encoder("tiny_vit").transform(clip)
    expected = (128 / 255 - torch.tensor(timm_tiny.CONFIG["mean"])) / torch.tensor(timm_tiny.CONFIG["std"])
    torch.testing.assert_close(seen, expected.view(1, 3, 1, 1).expand(1, 3, 32, 32))
    sharp = Picture(
        "p", [np.kron([[0, 255], [255, 0]], np.ones((8, 8)))[..., None].repeat(3, 2).astype(np.uint8)], {}, {}
    )
    bicubic, bilinear = encoder("tiny_vit"), encoder("tiny_vit")
    bicubic.interpolation = "bicubic"
    first, second = bicubic.transform(sharp), bilinear.transform(sharp)
    assert not torch.allclose(first, second)
    assert first.max() <= second.max() + 1e-6  # no value beyond white


WRONG = {
    "an unknown model": ({"model": "convnext_ato"}, r"has no model 'convnext_ato'\. Did you mean 'convnext_atto'"),
    "nonsense": ({"model": "nonsense"}, r"has no model 'nonsense'"),
    "an unknown tag": ({"source": "timm:test_convnext.x"}, r"no weights 'test_convnext.x'; it has test_convnext.r160"),
    "a tag of another model": ({"source": "timm:resnet18.a1_in1k"}, r"expected weights of that model"),
    "another kind of source": ({"source": "hf:a/b"}, r"expected timm:NAME, file:PATH or random:SEED"),
    "no chain": ({"model": "tiny_forked"}, r"^tiny_forked: no usable stages: its blocks, run one by one, give other"),
    "a second path": (
        {"model": "tiny_joined"},
        r"^tiny_joined: no usable stages: its blocks, run one by one, give other",
    ),
    "no blocks": ({"model": "tiny_layers"}, r"^tiny_layers: no usable stages: expected a chain of blocks"),
    "a size that it cannot take": ({"model": "tiny_hiera", "image_size": 48}, r"^image_size = 48: tiny_hiera does not"),
    "too many blocks": ({"blocks": 12}, r"^blocks = 12: expected 8 to 9, which norm and pooling of test_convnext fit"),
    "a cut before the last stage": ({"blocks": 3}, r"^blocks = 3: expected 8 to 9"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_told_in_one_line_before_weights_are_fetched(case: str, monkeypatch: Any) -> None:
    def fetched(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were asked for")

    monkeypatch.setattr(timm_models, "published", fetched)
    settings, message = WRONG[case]
    with pytest.raises(UserError, match=message) as error:
        encoder("test_convnext", **settings)
    assert "\n" not in str(error.value)


def test_a_network_that_cannot_be_stepped_is_refused_before_its_weights_are_fetched(monkeypatch: Any) -> None:
    asked: list[str] = []
    monkeypatch.setattr(timm_models, "published", asked.append)
    with pytest.raises(SettingError, match=r"^hrnet_w18_small: no usable stages"):
        TimmEncoder(model="hrnet_w18_small", source="timm:hrnet_w18_small.gluon_in1k", image_size=32)
    assert asked == []


def test_a_file_that_does_not_fit_is_told(tmp_path: Path) -> None:
    state = timm.create_model("tiny_vit", num_classes=0).state_dict()
    state["extra"] = state.pop("norm.weight")
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match=r"does not fit tiny_vit: missing \['norm.weight'\], left over \['extra'\]"):
        encoder("tiny_vit", source=f"file:{tmp_path / 'net.safetensors'}")


@pytest.mark.parametrize("thing", [nn.Linear(2, 2), "convnext_atto", 3])
def test_what_is_no_backbone_is_refused_with_what_is_taken(thing: Any) -> None:
    with pytest.raises(
        SettingError, match=r"^backbones\.vision: expected a Backbone, a model of timm, or 'timm:NAME', "
    ):
        pairing(thing, Frozen())


def test_a_name_gives_the_pretrained_encoder(monkeypatch: Any) -> None:
    made = timm.create_model("tiny_vit", num_classes=0)
    monkeypatch.setattr(timm, "is_model_pretrained", lambda name: name == "tiny_vit")
    monkeypatch.setattr(timm_models, "published", lambda source: made)
    assert pairing("timm:tiny_vit", Frozen()).backbones["vision"].net is made


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("test_convnext", "qkv", r"block 0: 'qkv' matches no layer; it has \['stages_0_blocks_0\.conv_dw', "),
        ("test_convnext", "conv_dw", r"block 0: .*conv_dw is a convolution in 24 groups"),
        ("test_nfnet", "conv1", r"block 0: .*conv1 is a ScaledStdConv2d, which does not take its weight as it is"),
    ],
)
def test_lora_says_which_layers_it_can_update(name: str, target: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        pairing(encoder(name), LoRA(rank=2, targets={"vision": [target]}))


@pytest.mark.parametrize("name", ["resnet18", "tiny_swin"])
def test_the_class_of_plain_transformers_names_the_one_that_takes_others(name: str) -> None:
    with pytest.raises(SettingError, match=r"no plain vision transformer: .*timm_encoder\.TimmEncoder"):
        TimmViT(model=name, source="random:0", image_size=32)


def test_a_training_names_an_unknown_model_before_it_looks_at_data(capsys: Any, tmp_path: Path) -> None:
    words = ["recipe=scale_earth_rsscn7", "data.root=/nowhere", f"backbones.vision._target_={TARGET}"]
    words += ["backbones.vision.model=resnet1", "backbones.vision.source=random:0", f"into={tmp_path / 'run'}"]
    with pytest.raises(SystemExit):
        train(words)
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "backbones.vision: timm" in told[0]
    assert "Did you mean 'resnet18'?" in told[0]
