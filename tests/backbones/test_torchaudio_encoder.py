"""torchaudio's speech encoders: stepped they give what torchaudio gives, LoRA acts in every layer, weights are fetched
once and checked; where torchaudio is not, or not of this torch, one line says so."""

import shutil
import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from zoo.adapter import directory
from zoo.adapter.get import fetch_weights
from zoo.backbones import hashes, torchaudio_bundles, weights
from zoo.backbones.origins import BUNDLES, ORIGINS
from zoo.backbones.torchaudio_encoder import TorchaudioEncoder
from zoo.backbones.weights import WeightsError
from zoo.batch import Batch, Clip
from zoo.errors import SettingError, UserError
from zoo.interop import merged
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.ops.resample_audio import resample
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose, to_yaml
from zoo.tasks.classification import Classification
from zoo.train import main as train

try:
    from torchaudio import models, pipelines
except (ImportError, OSError, RuntimeError):  # not installed, or made for another torch
    pipelines = None

needs = pytest.mark.skipif(pipelines is None, reason="needs torchaudio 2.11, which stands beside torch 2.11 alone")

SIZES: dict[str, Any] = {
    "extractor_conv_layer_config": [
        [16, 10, 5],
        [16, 3, 2],
        [16, 3, 2],
        [16, 3, 2],
        [16, 3, 2],
        [16, 2, 2],
        [16, 2, 2],
    ],
    "encoder_embed_dim": 32,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 64,
    "encoder_pos_conv_groups": 4,
}
NAMES = ("WAV2VEC2_BASE", "HUBERT_LARGE", "WAV2VEC2_XLSR53", "WAV2VEC2_ASR_BASE_960H", "MMS_FA")
WAVLM = ("WAVLM_BASE", "WAVLM_LARGE")
LAYERS = ["q_proj", "v_proj", "output_dense"]
RATE = 16_000


def checkpoint(name: str) -> dict[str, Tensor]:
    """What torchaudio's server would have of a bundle that was this small: a fine-tuned one with three letters more."""
    bundle = getattr(pipelines, name)
    make = {"Wav2Vec2": models.wav2vec2_model, "WavLM": models.wavlm_model}[bundle._model_type]
    letters = bundle._params["aux_num_out"] and bundle._params["aux_num_out"] + len(bundle._remove_aux_axis)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        state: dict[str, Tensor] = make(**bundle._params | {"aux_num_out": letters}).state_dict()
    draw = torch.Generator().manual_seed(len(name))
    return {key: tensor + torch.randn(tensor.shape, generator=draw) * 0.05 for key, tensor in state.items()}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Bundles of true architecture and small sizes, and what was asked of the server that has their weights."""
    asked: list[str] = []
    for name in (*NAMES, *WAVLM):
        bundle = getattr(pipelines, name)
        monkeypatch.setattr(bundle, "_params", bundle._params | SIZES)

    def download(url: str, to: str, *_: Any, **__: Any) -> None:
        asked.append(url)
        (name,) = (n for n in (*NAMES, *WAVLM) if url.endswith(getattr(pipelines, n)._path))
        torch.save(checkpoint(name), to)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return asked


def clip(segments: int = 3, rate: int = RATE) -> Clip:
    rng = np.random.default_rng(4)
    audio = rng.standard_normal((segments, rate // 2)) * np.geomspace(0.02, 0.2, segments)[:, None] + 0.1
    return Clip("c", np.zeros((segments, 4, 4, 3), np.uint8), audio.astype(np.float32), rate, {})


def encoder(name: str, **settings: Any) -> TorchaudioEncoder:
    return TorchaudioEncoder(**{"model": name, "source": f"torchaudio:{name}"} | settings)


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


RECIPE = """
include: [backbone/torchaudio_encoder, trainer/cpu]
seed: 0
data: {_target_: data_modules.synthetic_events.SyntheticEvents}
loader: {batch_size: 4}
method: {_target_: zoo.methods.frozen.Frozen}
task: {_target_: zoo.tasks.event_localization.EventLocalization, hidden: 16}
optimizer: {lr: 1.0e-2}
trainer: {max_epochs: 1}
smoke: {data.train_clips: 8, data.val_clips: 4, data.test_clips: 4}
"""
WORDS = ["method=lora", "method.targets={audio: [q_proj, v_proj]}", "method.rank=2", "--smoke"]


@needs
def test_it_trains_from_a_recipe_by_its_short_name(tmp_path: Path) -> None:
    (recipe := tmp_path / "mine.yaml").write_text(RECIPE)
    words = [f"recipe={recipe}", "backbones.audio._target_=torchaudio_encoder", f"into={tmp_path / 'run'}", *WORDS]
    train([*words, "backbones.audio.model=WAVLM_BASE"])
    kept = (tmp_path / "run" / "adapter" / "recipe.yaml").read_text()
    assert "zoo.backbones.torchaudio_encoder.TorchaudioEncoder" in kept
    assert "WAVLM_BASE" in kept


# --- weights ----------------------------------------------------------------------------------------------------------


@needs
def test_weights_are_fetched_once_into_the_zoos_cache_and_then_offline(
    server: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not weights.here("torchaudio:WAVLM_BASE")
    first = encoder("WAVLM_BASE")
    assert [url.rpartition("/")[2] for url in server] == ["wavlm_base.pth"]
    assert weights.here("torchaudio:WAVLM_BASE")
    stored = sorted(p.name for p in (tmp_path / "cache" / "torchaudio").iterdir())
    assert stored == ["WAVLM_BASE.pth", "WAVLM_BASE.pth.sha256"]
    assert not (tmp_path / "hub").exists()
    offline(monkeypatch)
    assert encoder("WAVLM_BASE").fingerprint == first.fingerprint
    path = weights.bundle_path("WAVLM_BASE")
    assert list(hashes.stored(tmp_path / "cache")) == [(path, True)]  # so `pull --verify` reads it
    path.write_bytes(b"damaged")
    assert list(hashes.stored(tmp_path / "cache")) == [(path, False)]
    with pytest.raises(WeightsError, match="connect once"):
        encoder("WAVLM_BASE")


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@needs
def test_without_a_network_one_line_says_what_to_do(
    server: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offline(monkeypatch)
    line = r"^torchaudio:HUBERT_LARGE is not in the cache, and its server cannot be read \(<urlopen error no route"
    with pytest.raises(WeightsError, match=line) as error:
        encoder("HUBERT_LARGE")
    assert "or get hubert_fairseq_large_ll60k.pth elsewhere and set source=file:PATH" in str(error.value)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "cache" / "torchaudio").iterdir()) == []


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


CAME: dict[str, Any] = {"code": {"a": Evil()}, "half a file": b"PK\x03\x04", "a page": b"<html>", "nothing": b""}


@needs
@pytest.mark.parametrize("case", CAME)
def test_what_is_no_checkpoint_is_neither_run_nor_kept(
    case: str, server: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def download(url: str, to: str, *_: Any, **__: Any) -> None:
        came = CAME[case]
        Path(to).write_bytes(came) if isinstance(came, bytes) else torch.save(came, to)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(WeightsError, match=r"^torchaudio:HUBERT_LARGE: what came is no whole checkpoint") as error:
        encoder("HUBERT_LARGE")
    assert "\n" not in str(error.value)
    assert not Path("executed").exists()
    assert list((tmp_path / "cache" / "torchaudio").iterdir()) == []


@needs
def test_a_full_disk_is_said_to_be(server: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.hub, "download_url_to_file", full)
    with pytest.raises(
        WeightsError, match=r"cannot be stored below .*No space left on device.* set ZOO_CACHE to another"
    ):
        encoder("HUBERT_LARGE")


@needs
@pytest.mark.parametrize("name", ["WAV2VEC2_ASR_BASE_960H", "WAVLM_LARGE"])
def test_a_checkpoint_got_by_hand_is_the_same_backbone(name: str, server: list[str], tmp_path: Path) -> None:
    state = checkpoint(name)
    for old, new in (("original0", "weight_g"), ("original1", "weight_v")):  # as older torch wrote it
        state = {key.replace(f"parametrizations.weight.{old}", new): value for key, value in state.items()}
    torch.save(state, tmp_path / "got.pth")
    by_hand = encoder(name, source=f"file:{tmp_path / 'got.pth'}", config=SIZES)
    assert by_hand.fingerprint.weights == encoder(name).fingerprint.weights
    with pytest.raises(WeightsError, match=r"does not fit this architecture: .*layers\.3\."):
        encoder(name, source=f"file:{tmp_path / 'got.pth'}", config=SIZES | {"encoder_num_layers": 4})
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"list\.pth: expected tensors by name"):
        encoder(name, source=f"file:{tmp_path / 'list.pth'}", config=SIZES)


@needs
def test_every_bundle_has_a_known_licence_and_builds() -> None:
    known = torchaudio_bundles.bundles()
    assert {name for names in BUNDLES.values() for name in names.split()} == known.keys()
    for name, bundle in known.items():
        assert bundle._sample_rate == RATE
        assert ("NC" in ORIGINS[name].license) == name.startswith(("VOXPOPULI", "MMS"))
        assert torchaudio_bundles.build(bundle, SIZES).encoder.transformer.layers[2]


# --- what is refused --------------------------------------------------------------------------------------------------

WRONG = {
    "an unknown bundle": ({"model": "WAVLM_BAS"}, r"no speech encoder 'WAVLM_BAS'\. Did you mean 'WAVLM_BASE'\?$"),
    "unknown weights": ({"source": "torchaudio:HUBERT_BAS"}, r"'HUBERT_BAS'\. Did you mean 'HUBERT_BASE'\?$"),
    "a pipeline of another kind": ({"model": "HDEMUCS_HIGH_MUSDB"}, r"no speech encoder 'HDEMUCS_HIGH_MUSDB'"),
    "two bundles": (
        {"source": "torchaudio:HUBERT_BASE"},
        r"^model = 'WAVLM_BASE', but source = 'torchaudio:HUBERT_BASE'",
    ),
    "another kind of source": ({"source": "hf:a/b"}, r"expected torchaudio:BUNDLE, file:PATH or random:SEED"),
    "sizes of real weights": ({"config": SIZES}, r"^torchaudio:WAVLM_BASE: config belongs to random: and file:"),
    "an unknown size": (
        {"source": "random:0", "config": {"encoder_num_layer": 2}},
        r"^config\.encoder_num_layer: .* Did you mean 'encoder_num_layers'\?$",
    ),
    "sizes that do not go together": (
        {"source": "random:0", "config": SIZES | {"encoder_num_heads": 5}},
        r"^config = ",
    ),
}


@needs
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_told_in_one_line_before_weights_are_fetched(case: str, server: list[str]) -> None:
    settings, message = WRONG[case]
    with pytest.raises(UserError, match=message) as error:
        encoder("WAVLM_BASE", **settings)
    assert "\n" not in str(error.value)
    assert server == []


def test_without_torchaudio_one_line_names_the_extra_and_its_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    how = "pip install 'multimodal-peft-zoo[torchaudio]'; torchaudio ends at 2.11, which needs torch 2.11"
    with pytest.raises(UserError) as error:
        TorchaudioEncoder()
    assert str(error.value) == f"a speech encoder of torchaudio needs torchaudio, which is not installed: {how}"
    (recipe := tmp_path / "mine.yaml").write_text(RECIPE)
    with pytest.raises(SystemExit):
        train([f"recipe={recipe}", f"into={tmp_path / 'run'}", *WORDS])
    told = capsys.readouterr().err.strip().splitlines()
    assert told == [f"error: this recipe needs torchaudio, which is not installed: {how}"]


def test_one_that_is_made_for_another_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package := tmp_path / "torchaudio").mkdir()
    (package / "__init__.py").write_text("raise OSError('libtorch.so: undefined symbol\\nand more')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError) as error:
        TorchaudioEncoder(source="random:0")
    assert str(error.value) == (
        f"torchaudio cannot be imported beside torch {torch.__version__} (libtorch.so: undefined symbol): "
        "pip install 'multimodal-peft-zoo[torchaudio]'; torchaudio ends at 2.11, which needs torch 2.11"
    )
