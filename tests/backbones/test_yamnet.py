"""YAMNet out of a TensorFlow Lite file: the file is read right, and the model gives what its runtime gives."""

from pathlib import Path

import numpy as np
import pytest
import tflite_files
import torch
from torch.nn import functional as F

from zoo.backbones import tflite, weights
from zoo.backbones.tflite import CONVOLUTION, DEPTHWISE, LINEAR, Layer
from zoo.backbones.weights import WeightsError
from zoo.backbones.yamnet import CLASSES, SAMPLES, YAMNet
from zoo.batch import Clip
from zoo.ops.fbank import _yamnet_filters

FILE = "yamnet/yamnet_audio_classifier_with_metadata.tflite"

LITERT = {
    "whistle": {"Sound effect": 0.19921875, "Plop": 0.1484375, "Synthesizer": 0.08203125},
    "noise": {"Static": 0.73828125, "Noise": 0.5859375, "White noise": 0.5, "Waterfall": 0.26171875},
    "silence": {"Silence": 0.80078125, "Sound effect": 0.0078125},
}
"""What ai-edge-litert 2.3 gives of the published file, the largest first."""

EIGHT_BITS = 0.06
"""The runtime rounds what stands between two layers to 8 bits."""


@pytest.fixture
def file(shared_data: Path) -> Path:
    if not (shared_data / FILE).is_file():
        pytest.skip(f"the published file is not at {shared_data / FILE}")
    return shared_data / FILE


@pytest.fixture(scope="module")
def drawn() -> YAMNet:
    return YAMNet(source="random:0")


def sound(seconds: float = SAMPLES / 16_000, rate: int = 16_000) -> np.ndarray:
    """A rising whistle, as exact numbers as float32 has."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (500 + 1000 * time) * time)).astype(np.float32)


def heard(name: str) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLES).astype(np.float32)
    return {"whistle": sound(), "noise": noise, "silence": np.zeros(SAMPLES, np.float32)}[name]


def clip(audio: np.ndarray, rate: int = 16_000) -> Clip:
    return Clip("a", np.zeros((len(audio), 8, 8, 3), np.uint8), audio, rate, {})


def layers_of(model: YAMNet) -> list[Layer]:
    """A model's layers as a file has them, the mel filters first."""
    found = [Layer(LINEAR, _yamnet_filters()[1].T.numpy(), np.full(64, 0.001, np.float32))]
    state = model.net.state_dict()
    for name in (name.removesuffix(".weight") for name in state if name.endswith(".weight")):
        weight, bias = state[f"{name}.weight"].numpy(), state[f"{name}.bias"].numpy()
        if weight.ndim == 2:
            found.append(Layer(LINEAR, weight, bias))
        elif weight.shape[1] == 1 and len(found) > 1:
            found.append(Layer(DEPTHWISE, weight.transpose(1, 2, 3, 0), bias))
        else:
            found.append(Layer(CONVOLUTION, weight.transpose(0, 2, 3, 1), bias))
    return found


def names() -> list[str]:
    return [f"name, {number}" for number in range(CLASSES)]


def test_a_file_of_its_layers_is_the_model(tmp_path: Path, drawn: YAMNet) -> None:
    path = tflite_files.write(tmp_path / "a.tflite", layers_of(drawn), names=names())
    read = YAMNet(source=f"file:{path}")
    assert read.vocabulary == tuple(names())
    assert all(torch.equal(one, read.net.state_dict()[name]) for name, one in drawn.net.state_dict().items())
    assert read.fingerprint.weights == drawn.fingerprint.weights
    assert read.fingerprint.settings != drawn.fingerprint.settings  # other names


def test_weights_of_eight_bits_are_multiplied_out_by_output(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    bias = draw.normal(size=5).astype(np.float32)
    scaled = draw.normal(size=(5, 3, 3, 2)).astype(np.float32) * np.array([1, 10, 0.1, 3, 7])[:, None, None, None]
    layers = [
        Layer(CONVOLUTION, scaled.astype(np.float32), bias),
        Layer(DEPTHWISE, draw.normal(size=(1, 3, 3, 5)).astype(np.float32), bias),
        Layer(LINEAR, draw.normal(size=(5, 7)).astype(np.float32), bias),
    ]
    found = tflite.layers(tflite_files.write(tmp_path / "a.tflite", layers, eight_bits=True))
    assert [layer.operator for layer in found] == [CONVOLUTION, DEPTHWISE, LINEAR]
    for one, two in zip(layers, found, strict=True):
        axis = one.weight.shape.index(5)
        step = np.abs(one.weight).max(tuple(k for k in range(one.weight.ndim) if k != axis), keepdims=True) / 127
        assert (np.abs(one.weight - two.weight) <= 0.501 * step).all()
        assert np.array_equal(one.bias, two.bias)


def test_files_that_are_none_are_refused(tmp_path: Path, drawn: YAMNet) -> None:
    whole = tflite_files.write(tmp_path / "whole.tflite", layers_of(drawn), names=names())
    data = whole.read_bytes()
    for name, content, words in (
        ("other", b"GIF89a" + data, "is no TensorFlow Lite file"),
        ("cut", data[: len(data) // 2], "is damaged"),
        ("head", data[:40], "is damaged"),
        ("empty", b"", "is no TensorFlow Lite file"),
    ):
        (path := tmp_path / f"{name}.tflite").write_bytes(content)
        with pytest.raises(WeightsError, match=words):
            YAMNet(source=f"file:{path}")
    for name, layers, labels, words in (
        ("few", layers_of(drawn)[:-1], names(), "has 27 layers after its filters; expected 28"),
        ("unnamed", layers_of(drawn), [], "expected one list of class names"),
        ("short", layers_of(drawn), names()[:-1], "520 class names, expected 521"),
    ):
        path = tflite_files.write(tmp_path / f"{name}.tflite", layers, names=labels)
        with pytest.raises(WeightsError, match=words):
            YAMNet(source=f"file:{path}")


def test_patches_overlap_by_half_and_are_averaged(drawn: YAMNet) -> None:
    long = drawn.transform(clip(sound(3.0)[None]))
    assert long.shape == (1, 5, 96, 64)
    assert torch.equal(long[:, 1, :48], long[:, 0, 48:])
    each = torch.cat([drawn.pool(drawn(long[:, k : k + 1])) for k in range(5)])
    torch.testing.assert_close(drawn.pool(drawn(long))[0], each.mean(0))
    tokens = drawn.embed(long)
    for block, width in zip(drawn.blocks, drawn.dims[1:], strict=True):
        tokens = block(tokens)
        assert tokens.shape[-1] == width
    assert tokens.shape == (1, 5 * 6, 1024)


def test_short_segments_are_silent_at_their_end_and_other_rates_are_resampled(drawn: YAMNet) -> None:
    short = drawn.transform(clip(np.stack([sound(0.5), sound(0.5)])))
    padded = drawn.transform(clip(np.pad(sound(0.5), (0, SAMPLES - 8000))[None]))
    assert short.shape == (2, 1, 96, 64)
    assert torch.equal(short[0], padded[0])
    other = drawn.transform(clip(sound(1.0, 44_100)[None], 44_100))
    same = drawn.transform(clip(sound(1.0)[None]))
    torch.testing.assert_close(other[0, 0, 10:80], same[0, 0, 10:80], atol=0.25, rtol=0)


def test_blocks_are_exported_for_batches_of_any_size(drawn: YAMNet) -> None:
    block = drawn.blocks[2]
    height, width = block.grid
    tokens = torch.rand(2, height * width, drawn.dims[2])
    batch = torch.export.Dim("batch", min=1, max=64)
    traced = torch.export.export(block, (tokens,), dynamic_shapes=({0: batch},)).module()
    more = torch.rand(5, height * width, drawn.dims[2])
    torch.testing.assert_close(traced(more), block(more))


def test_scores_are_the_classifier_of_pooled_features(drawn: YAMNet) -> None:
    pooled = torch.rand(2, 3, 1024, generator=torch.Generator().manual_seed(0))
    layer = drawn.net["classifier"]
    torch.testing.assert_close(drawn.scores(pooled), F.linear(pooled, layer.weight, layer.bias).sigmoid())
    assert len(drawn.vocabulary) == drawn.scores(pooled).shape[-1] == CLASSES


def test_the_published_file_is_the_pinned_one_and_holds_the_front_end(file: Path) -> None:
    from zoo.backbones.origins import YAMNET
    from zoo.files import file_hash

    assert file_hash(file) == weights.pin(YAMNET)
    mel = tflite.layers(file)[0]
    np.testing.assert_allclose(mel.weight, _yamnet_filters()[1].T.numpy(), atol=2e-6)
    np.testing.assert_allclose(mel.bias, 0.001, atol=1e-9)
    model = YAMNet(source=f"file:{file}")
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_729_481
    assert model.vocabulary[:2] == ("Speech", "Child speech, kid speaking")
    assert weights.origin(f"file:{file}").license == weights.origin(YAMNET).license == "Apache-2.0"


@pytest.mark.parametrize("name", LITERT)
def test_the_published_file_gives_what_its_runtime_gave(file: Path, name: str) -> None:
    model = YAMNet(source=f"file:{file}")
    scores = model.scores(model.pool(model(model.transform(clip(heard(name)[None])))))[0]
    for word, expected in LITERT[name].items():
        assert float(scores[model.vocabulary.index(word)]) == pytest.approx(expected, abs=EIGHT_BITS), word
    assert model.vocabulary[int(scores.argmax())] == next(iter(LITERT[name]))


@pytest.mark.parametrize("name", LITERT)
def test_the_published_file_gives_what_its_runtime_gives(file: Path, name: str) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    run = interpreter.Interpreter(model_path=str(file))
    run.allocate_tensors()
    run.set_tensor(run.get_input_details()[0]["index"], heard(name))
    run.invoke()
    expected = run.get_tensor(run.get_output_details()[0]["index"])[0]
    model = YAMNet(source=f"file:{file}")
    scores = model.scores(model.pool(model(model.transform(clip(heard(name)[None])))))[0]
    np.testing.assert_allclose(scores.numpy(), expected, atol=EIGHT_BITS)
    assert scores.argmax() == expected.argmax()
