"""torchaudio's speech encoders: stepped they give what torchaudio gives, and LoRA acts in every layer."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchaudio_small import NAMES, RATE, RECIPE, SIZES, WAVLM, WORDS, clip, encoder, needs, pipelines, server

from zoo.adapter import directory
from zoo.adapter.get import fetch_weights
from zoo.backbones import weights
from zoo.batch import Batch, Clip
from zoo.errors import SettingError
from zoo.interop import merged
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.ops.resample_audio import resample
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose, to_yaml
from zoo.tasks.classification import Classification
from zoo.train import main as train

__all__ = ["server"]  # a fixture of tests here

LAYERS = ["q_proj", "v_proj", "output_dense"]


@needs
@pytest.mark.parametrize("name", NAMES + WAVLM)
@torch.no_grad()
def test_stepping_gives_what_torchaudio_gives_layer_by_layer(name: str, server: list[str]) -> None:
    model, theirs = encoder(name), getattr(pipelines, name).get_model()
    sound = clip()
    inputs = model.transform(sound)
    tokens = [model.embed(inputs)]
    for block in model.blocks:
        tokens.append(block(tokens[-1]))
    assert [t.shape[-1] for t in tokens] == list(model.dims)
    segments = torch.from_numpy(sound.audio)[:, None]  # one at a time: torchaudio scales a whole batch at once
    layers = zip(*(theirs.extract_features(segment)[0] for segment in segments), strict=True)
    for ours, expected in zip(tokens[1:], layers, strict=True):
        torch.testing.assert_close(ours, torch.cat(expected), atol=1e-5, rtol=0)
    getattr(theirs, "model", theirs).aux = None  # the letters' layer; what the fine-tuned give otherwise
    theirs.apply_log_softmax = theirs.append_star = False
    last = torch.cat([theirs(segment)[0] for segment in segments])
    torch.testing.assert_close(model(inputs), last, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.pool(model(inputs)), last.mean(1), atol=1e-5, rtol=0)
    assert last.std() > 0.1


@needs
@pytest.mark.parametrize("name", NAMES + WAVLM)
@torch.no_grad()
def test_a_segments_features_do_not_depend_on_its_batch(name: str, server: list[str]) -> None:
    model = encoder(name)
    inputs = model.transform(clip())
    torch.testing.assert_close(model(inputs)[1:2], model(inputs[1:2]), atol=1e-5, rtol=0)


@needs
def test_the_position_bias_of_wavlm_moves_every_layer_at_every_length(server: list[str]) -> None:
    model, without = encoder("WAVLM_BASE"), encoder("WAVLM_BASE")
    with torch.no_grad():
        without.net.encoder.transformer.layers[0].attention.rel_attn_embed.weight.zero_()
        for length in (1, 7, 900):  # from one token to beyond the reach of exact buckets
            tokens = torch.randn(2, length, 32, generator=torch.Generator().manual_seed(length))
            for ours, other in zip(model.blocks, without.blocks, strict=True):
                assert torch.allclose(ours(tokens), other(tokens), atol=1e-6) == (length == 1)


@needs
def test_sound_is_resampled_and_scaled_as_the_weights_were_trained(server: list[str]) -> None:
    sound = clip(rate=8000)
    plain = resample(torch.from_numpy(sound.audio), 8000, RATE)
    assert torch.equal(encoder("WAV2VEC2_BASE").transform(sound), plain)
    scaled = encoder("HUBERT_LARGE").transform(sound)
    expected = (plain - plain.mean(1, keepdim=True)) / (plain.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(scaled, expected, atol=1e-5, rtol=1e-5)
    short = Clip("s", sound.frames, sound.audio[:, :199], 8000, {})
    with pytest.raises(SettingError, match=r"^s: a segment has 398 samples at 16000 Hz, expected 400 or more"):
        encoder("WAV2VEC2_BASE").transform(short)
    enough = encoder("WAV2VEC2_BASE").transform(Clip("s", sound.frames, sound.audio[:, :200], 8000, {}))
    assert encoder("WAV2VEC2_BASE")(enough).shape == (3, 1, 32)


# --- methods and adapters ---------------------------------------------------------------------------------------------


def pairing(backbone: nn.Module, method: Any) -> Pairing:
    torch.manual_seed(0)
    return Pairing({"audio": backbone}, method, Classification(hidden=()), classes=["a", "b"])


@needs
@pytest.mark.parametrize("name", ["WAV2VEC2_BASE", "HUBERT_LARGE", "WAVLM_BASE"])
def test_lora_begins_as_the_frozen_encoder_learns_and_leaves_frozen_tensors_as_they_are(
    name: str, server: list[str]
) -> None:
    plain = pairing(encoder(name), Frozen())
    adapted = pairing(encoder(name), LoRA(rank=2, targets={"audio": LAYERS}))
    given = Batch(
        ["a", "b"], {"audio": plain.backbones["audio"].transform(clip(2))[:, None]}, {"label": torch.arange(2)}
    )
    with torch.no_grad():
        assert torch.equal(plain(given)["audio"], adapted(given)["audio"])
    before = {key: value.clone() for key, value in adapted.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    adapted.task.loss(adapted(given), given)["cross_entropy"].mean().backward()
    optimizer.step()
    moved = {key for key, value in adapted.state_dict().items() if not torch.equal(value, before[key])}
    assert moved <= set(adapted.trainable)
    layers = {key for key in adapted.trainable if "lora_B" in key}
    assert len(layers) == len(LAYERS) * 3
    assert layers <= moved  # every layer is reached


def config(name: str, source: str) -> DictConfig:
    whole: Any = OmegaConf.to_container(compose("scale_earth_rsscn7", ["data.root=nowhere"]))
    plain = {key: value for key, value in whole.items() if key not in ("smoke", "variants", "include", "cache")}
    target = "zoo.backbones.torchaudio_encoder.TorchaudioEncoder"
    sizes = {} if source.startswith("torchaudio:") else {"config": SIZES}
    backbone = {"_target_": target, "model": name, "source": source} | sizes
    lora = {"_target_": "zoo.methods.lora.LoRA", "rank": 2, "targets": {"audio": LAYERS}, "last": {"audio": 2}}
    return OmegaConf.create(plain | {"backbones": {"audio": backbone}, "method": lora})


def moved(recipe: DictConfig) -> Pairing:
    made = build_pairing(recipe, ["a", "b"], cached=False).eval()
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in made.trainable_state().values():
            tensor.add_(torch.randn(tensor.shape, generator=draw) * 0.1)
    return made


@needs
@pytest.mark.parametrize("name", ["HUBERT_LARGE", "WAVLM_BASE"])
@pytest.mark.parametrize("source", ["torchaudio", "random"])
@torch.no_grad()
def test_an_adapter_predicts_the_same_after_saving_and_loading(
    name: str, source: str, server: list[str], tmp_path: Path
) -> None:
    recipe = config(name, "random:0" if source == "random" else f"torchaudio:{name}")
    made = moved(recipe)
    folder = directory.save(made, tmp_path / "adapter", recipe=to_yaml(recipe), metrics={}, card=lambda _: "# card\n")
    loaded = directory.load(folder)[1].eval()
    given = made.batch([clip(1)])
    assert torch.equal(made(given)["audio"], loaded(loaded.batch([clip(1)]))["audio"])
    assert torch.equal(made.predict(given)["probabilities"], loaded.predict(given)["probabilities"])
    assert len(server) == (source == "torchaudio")
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert fetch_weights(folder) == []  # so `pull` does
    assert weights.here(recipe.backbones.audio.source)


@needs
@pytest.mark.parametrize("name", ["HUBERT_LARGE", "WAVLM_BASE"])
@torch.no_grad()
def test_merged_weights_are_a_file_that_the_encoder_loads(name: str, server: list[str], tmp_path: Path) -> None:
    recipe = config(name, "random:0")
    made, untouched = moved(recipe), build_pairing(recipe, ["a", "b"], cached=False).eval()
    plain = merged.rebuild(recipe, made, merged.write(made, tmp_path))
    given = made.batch([clip(1)])
    torch.testing.assert_close(plain(given)["audio"], made(given)["audio"], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain(given)["audio"], untouched(given)["audio"], atol=1e-3, rtol=1e-3)


@needs
def test_it_trains_from_a_recipe_by_its_short_name(tmp_path: Path) -> None:
    (recipe := tmp_path / "mine.yaml").write_text(RECIPE)
    words = [f"recipe={recipe}", "backbones.audio._target_=torchaudio_encoder", f"into={tmp_path / 'run'}", *WORDS]
    train([*words, "backbones.audio.model=WAVLM_BASE"])
    kept = (tmp_path / "run" / "adapter" / "recipe.yaml").read_text()
    assert "zoo.backbones.torchaudio_encoder.TorchaudioEncoder" in kept
    assert "WAVLM_BASE" in kept
