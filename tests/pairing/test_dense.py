"""Maps for dense tasks: of every method, through the cache of frozen tokens, sample by sample."""

from pathlib import Path

import mask_tiny
import pytest
import tiny
import torch
from mask_files import pairs, ready
from mask_tiny import CLASSES, batch, encoder, pairing
from torch import Tensor

from zoo.backbones.base import Backbone, tap
from zoo.backbones.dinov2 import DINOv2
from zoo.backbones.pixels import Pixels
from zoo.errors import SettingError
from zoo.methods.base import Method
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.scale_earth import ScaleEarth
from zoo.methods.tb_ava import TBAVA
from zoo.pairing import Pairing
from zoo.prefix import PrefixCache
from zoo.tasks.classification import Classification
from zoo.tasks.segmentation import Segmentation
from zoo.training.prefix_dataset import PrefixDataset

QKV = {"vision": ["attn.qkv"]}

METHODS = {
    "frozen": lambda last: Frozen(),
    "lora": lambda last: LoRA(targets=QKV, last={"vision": last}, rank=2),
    "without gates": lambda last: ScaleEarth(targets=QKV, last={"vision": last}, rank=4, scale="none", estimate=False),
    "gates, no scale told": lambda last: ScaleEarth(targets=QKV, last={"vision": last}, rank=4),
}
"""Those that give maps, adapting the last so many blocks."""


def whole(backbone: Backbone, inputs: Tensor) -> dict[int, Tensor]:
    """All maps of transformed pictures [N, ...], by a plain walk through the blocks."""
    tokens, taps = backbone.embed(inputs), {}
    if any(level.after == 0 for level in backbone.levels):
        taps[0] = tokens
    for after, block in enumerate(backbone.blocks, 1):
        tokens = taps[after] = block(tokens)
    return backbone.maps({level.after: taps[level.after] for level in backbone.levels})


@pytest.mark.parametrize(
    ("name", "last"), [("frozen", 12), *((name, last) for name in list(METHODS)[1:] for last in (2, 5, 12))]
)
@torch.no_grad()
def test_maps_have_the_stated_widths_and_are_those_of_the_backbone_run_whole(name: str, last: int) -> None:
    """At step 0 no method changes anything, wherever its first adapted block lies among the maps."""
    made = pairing(METHODS[name](last)).eval()
    data = batch(made, 0, 1)
    found, expected = made(data), whole(encoder(), data.inputs["vision"][:, 0])
    assert list(made.method.feature_dims) == list(found) == [tap("vision", after) for after in (3, 6, 9, 12)]
    for after, maps in expected.items():
        key = tap("vision", after)
        assert found[key].shape == (2, 1, made.method.feature_dims[key], 2, 2)
        torch.testing.assert_close(found[key][:, 0], maps, atol=1e-5, rtol=1e-5)
    assert made.taps("vision") == tuple(after for after in (3, 6, 9, 12) if after < (made.depths["vision"] or 0))


@torch.no_grad()
def test_what_lora_learned_moves_the_maps_behind_it_and_no_other() -> None:
    made = pairing(METHODS["lora"](5)).eval()
    data = batch(made, 0)
    before = made(data)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            parameter.fill_(0.05)
    after = made(data)
    moved = {key for key in before if not torch.allclose(before[key], after[key], atol=1e-4)}
    assert moved == {"vision@9", "vision@12"}


def test_pixels_are_a_map_of_stride_1_without_any_block() -> None:
    made = pairing(backbone=Pixels(image_size=16)).eval()
    (found,) = made(batch(made, 0)).values()
    assert found.shape == (1, 1, 3, 16, 16)
    assert made.method.feature_dims == {"vision@0": 3}
    assert -0.5 <= found.min() < found.max() <= 0.5


@torch.no_grad()
def test_a_prediction_does_not_hang_on_its_batch() -> None:
    for name in METHODS:
        made = pairing(METHODS[name](3)).eval()
        alone = made.predict(batch(made, 2))["scores"]
        together = made.predict(batch(made, 0, 1, 2))["scores"]
        torch.testing.assert_close(together[2:].float(), alone.float(), atol=1e-3, rtol=0, msg=name)  # float16
        logits = [made.task.logits(made(data), data) for data in (batch(made, 2), batch(made, 0, 1, 2))]
        torch.testing.assert_close(logits[1][2:], logits[0], atol=1e-5, rtol=0, msg=name)


# --- the cache --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@torch.no_grad()
def test_maps_before_the_prefix_are_kept_and_a_cached_epoch_is_bit_equal(tmp_path: Path, dtype: str) -> None:
    cache = PrefixCache(folder=str(tmp_path / "kept"), dtype=dtype)
    samples = ready(pairs(tmp_path / "own", side=(32, 32)), frame={"tile": 32}).sets["train"]
    made = pairing(METHODS["lora"](5), cache=cache).eval()
    data = PrefixDataset(samples, made.backbones, made.depths, cache, taps={"vision": made.taps("vision")})
    first = data.__getitems__([0, 1, 2])
    assert first.inputs
    assert data.cached() == 0
    expected = made.predict(first)["scores"]
    assert data.cached() == 3
    second = data.__getitems__([2, 0, 1])
    assert set(second.prefix) == {"vision", "vision@3", "vision@6"}
    assert not second.inputs
    assert torch.equal(made.predict(second)["scores"][[1, 2, 0]], expected)
    # A task of pooled features, or of other maps, has entries of its own.
    pooled = PrefixDataset(samples, made.backbones, made.depths, cache)
    other = PrefixDataset(samples, made.backbones, made.depths, cache, taps={"vision": (6,)})
    assert pooled.cached() == other.cached() == 0


def test_a_batch_with_one_uncached_picture_is_decoded_whole(tmp_path: Path) -> None:
    cache = PrefixCache(folder=str(tmp_path / "kept"))
    samples = ready(pairs(tmp_path / "own", side=(32, 32)), frame={"tile": 32}).sets["train"]
    made = pairing(METHODS["lora"](5), cache=cache).eval()
    data = PrefixDataset(samples, made.backbones, made.depths, cache, taps={"vision": made.taps("vision")})
    made.predict(data.__getitems__([0]))
    assert data.__getitems__([0, 1]).inputs


# --- refusals ---------------------------------------------------------------------------------------------------------


class NoMaps(Method):
    dense = False


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pairing(NoMaps()), r"^method NoMaps gives no maps, which task segmentation reads$"),
        (
            lambda: Pairing(tiny.backbones(), TBAVA(rank=2), Segmentation(), classes=CLASSES, text=tiny.TinyText()),
            r"^task\.segmentation reads maps of backbones\.vision; .*TinyVision.* give none$",
        ),
        (lambda: pairing(backbone=tiny.TinyVision()), r"backbones\.vision; \{'vision': 'TinyVision'\} give none$"),
        (
            lambda: pairing(task=Segmentation(levels=(3, 4))),
            r"^backbones\.vision \(TimmViT\): no map after blocks \[4\]; it gives maps after blocks 3, 6, 9, 12$",
        ),
        (
            lambda: pairing(ScaleEarth(targets=QKV, last={"vision": 2}, rank=4, scale="token")),
            r"^method\.scale=token: a map of tokens has no place for one more",
        ),
        (lambda: pairing(classes=["cell"]), r"^segmentation tells classes apart; the data have \['cell'\]$"),
        (lambda: pairing(task=Segmentation(cells="axon")), r"^task\.cells = axon: expected one of rest, cell$"),
    ],
)
def test_what_gives_no_maps_is_refused_in_one_line(make: object, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@torch.no_grad()
def test_other_tasks_are_given_pooled_features_as_before() -> None:
    torch.manual_seed(0)
    backbone = DINOv2(source="random:0", image_size=28, blocks=2)
    made = Pairing({"vision": backbone}, Frozen(), Classification(hidden=()), classes=CLASSES).eval()
    assert made.taps("vision") == ()
    assert list(made(mask_tiny.batch(made, 0))) == ["vision"]
