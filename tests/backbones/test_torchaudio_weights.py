"""Weights of torchaudio's speech encoders are fetched once and checked; wrong names, and a torchaudio that is not there
or not of this torch, are told in one line."""

import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from torchaudio_small import RATE, RECIPE, SIZES, WORDS, checkpoint, encoder, needs, server

from zoo.backbones import hashes, torchaudio_bundles, weights
from zoo.backbones.origins import BUNDLES, ORIGINS
from zoo.backbones.torchaudio_encoder import TorchaudioEncoder
from zoo.backbones.weights import WeightsError
from zoo.errors import UserError
from zoo.train import main as train

__all__ = ["server"]  # a fixture of tests here


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
