"""SAM, SAM 2 and LiteMedSAM: stepped, they are their libraries' own; masks hang on their own prompts alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sam_tiny import CLASSES, MAKERS, SIDE, kept, made, mapped, pictures, published
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.lite_medsam import LiteMedSAM
from zoo.backbones.sam import SAM
from zoo.backbones.sam2 import SAM2
from zoo.backbones.sam_prompts import PADDING, Promptable
from zoo.batch import Picture
from zoo.errors import SettingError
from zoo.methods.lora import LoRA

POINTS = torch.tensor([[[[5.0, 6.0], [40.0, 30.0]]], [[[50.0, 12.0], [8.0, 60.0]]]])  # [2, 1, 2, 2]

LABELS = torch.tensor([[[1, 0]], [[1, 1]]])

BOXES = torch.tensor([[[3.0, 4.0, 40.0, 50.0]], [[10.0, 20.0, 60.0, 44.0]]])


@pytest.fixture(params=MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(name: str) -> Promptable:
    return kept(name)


# --- blocks and maps --------------------------------------------------------------------------------------------------


def encoded(model: Promptable, inputs: Tensor) -> dict[int, Tensor]:
    """Maps by the library's own forward pass of its whole encoder."""
    encoder = model.net.vision_encoder
    if isinstance(model, SAM2):
        found = encoder(inputs).fpn_hidden_states
        return {level.after: each for level, each in zip(model.levels, found, strict=False)}
    if isinstance(model, LiteMedSAM):
        stages = encoder.forward_intermediates(inputs, intermediates_only=True)
        maps = {level.after: each for level, each in zip(model.levels, stages[1:], strict=False)}
        return maps | {model.depth: encoder.neck(stages[-1].permute(0, 2, 3, 1))}
    return {model.depth: encoder(inputs).last_hidden_state}


@torch.no_grad()
def test_blocks_one_by_one_give_the_maps_of_the_librarys_whole_encoder(model: Promptable) -> None:
    ours, theirs = mapped(model, pictures()), encoded(model, pictures())
    assert theirs
    for after, expected in theirs.items():
        torch.testing.assert_close(ours[after], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_widths_and_maps_are_those_that_are_declared(model: Promptable) -> None:
    tokens = model.embed(pictures(1))
    for block, width in zip([None, *model.blocks], model.dims, strict=True):
        tokens = tokens if block is None else block(tokens)
        assert tokens.shape[-1] == width
    assert model.pool(model.finish(tokens)).shape == (1, model.dim)
    found = mapped(model, pictures(1))
    sides = {level.after: (1, level.width, SIDE // level.stride, SIDE // level.stride) for level in model.levels}
    assert {after: tuple(each.shape) for after, each in found.items()} == sides
    assert list(found) == sorted(found)
    assert [level.stride for level in model.levels] == sorted(level.stride for level in model.levels)


def test_strides_of_the_maps() -> None:
    strides = {name: [(level.stride, level.width) for level in kept(name).levels] for name in MAKERS}
    assert strides["lite_medsam"] == [(2, 128), (4, 160), (4, 320), (4, 256)]
    assert strides["sam2"] == [(4, 32), (8, 32), (16, 32), (32, 32)]
    assert strides["sam"] == [(16, 32)] * 4


@torch.no_grad()
def test_the_pyramid_gives_a_part_of_its_maps_but_none_without_what_is_added_to_it() -> None:
    model, tokens = kept("sam2"), {}
    flat = model.embed(pictures(1))
    for after, block in enumerate(model.blocks, 1):
        flat = tokens[after] = block(flat)
    first, second, third, last = (level.after for level in model.levels)
    whole = model.maps({after: tokens[after] for after in (first, second, third, last)})
    assert torch.equal(model.maps({second: tokens[second]})[second], whole[second])
    assert torch.equal(model.maps({third: tokens[third], last: tokens[last]})[third], whole[third])
    with pytest.raises(SettingError, match=f"the map after block {third} needs the one after block {last}"):
        model.maps({third: tokens[third]})


@torch.no_grad()
def test_maps_and_masks_of_a_picture_do_not_depend_on_its_neighbours(model: Promptable) -> None:
    together, alone = mapped(model, pictures()), mapped(model, pictures()[1:])
    for after, found in alone.items():
        torch.testing.assert_close(together[after][1:], found, atol=1e-5, rtol=1e-5)
    whole, one = model.masks(together, boxes=BOXES), model.masks(alone, boxes=BOXES[1:])
    for ours, theirs in zip(whole, one, strict=True):
        torch.testing.assert_close(ours[1:], theirs, atol=1e-5, rtol=1e-5)


# --- masks ------------------------------------------------------------------------------------------------------------

PROMPTS: dict[str, dict[str, Tensor]] = {
    "points": {"points": POINTS, "labels": LABELS},
    "boxes": {"boxes": BOXES},
    "both": {"points": POINTS, "labels": LABELS, "boxes": BOXES},
    "none": {},
}


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("several", [False, True])
@torch.no_grad()
def test_masks_are_those_of_the_librarys_whole_model(model: Promptable, prompts: str, several: bool) -> None:
    maps, asked = mapped(model, pictures()), PROMPTS[prompts]
    seen: dict[str, Any] = {"pixel_values": pictures()}
    if isinstance(model, LiteMedSAM):
        seen = {"image_embeddings": maps[model.depth]}  # its encoder is not transformers'
    if isinstance(model, SAM2):
        model.net.backbone_feature_sizes = [[SIDE // stride] * 2 for stride in (4, 8, 16)]
    theirs = model.net(**seen, **{f"input_{key}": each for key, each in asked.items()}, multimask_output=several)
    logits, scores = model.masks(maps, **asked, several=several)
    side = 4 * SIDE // model.levels[2].stride
    assert logits.shape == (2, 1, 3 if several else 1, side, side)
    assert torch.equal(logits, theirs.pred_masks.view(logits.shape))
    assert torch.equal(scores, theirs.iou_scores.view(scores.shape))


@torch.no_grad()
def test_a_mask_does_not_depend_on_how_many_points_other_objects_have(model: Promptable) -> None:
    maps = mapped(model, pictures())
    points = torch.cat([POINTS, POINTS.flip(2)], dim=1)  # two objects a picture
    labels = torch.tensor([[[1, PADDING], [1, 0]], [[PADDING, 1], [PADDING, PADDING]]])
    logits, scores = model.masks(maps, points, labels)
    first = {after: each[:1] for after, each in maps.items()}
    second = {after: each[1:] for after, each in maps.items()}
    alone = (
        (0, 0, model.masks(first, points[:1, :1, :1], labels[:1, :1, :1])),
        (0, 1, model.masks(first, points[:1, 1:], labels[:1, 1:])),
        (1, 0, model.masks(second, points[1:, :1, 1:], labels[1:, :1, 1:])),
        (1, 1, model.masks(second)),
    )
    for picture, thing, (mask, score) in alone:
        torch.testing.assert_close(logits[picture, thing], mask[0, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(scores[picture, thing], score[0, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "prompts",
    [
        {"points": POINTS},
        {"labels": LABELS},
        {"points": POINTS, "labels": LABELS[..., :1]},
        {"points": POINTS[:1], "labels": LABELS[:1]},
        {"boxes": BOXES[..., :3]},
        {"boxes": BOXES.expand(2, 2, 4), "points": POINTS, "labels": LABELS},
    ],
)
def test_prompts_that_do_not_go_together_are_refused(prompts: dict[str, Tensor]) -> None:
    model = kept("sam")
    with pytest.raises(SettingError, match="prompts of 2 pictures have the shapes"):
        model.masks({model.depth: torch.zeros(2, 32, 4, 4)}, **prompts)


def test_the_decoders_norms_have_their_authors_epsilon(model: Promptable) -> None:
    norms = [m for n, m in model.net.mask_decoder.transformer.named_modules() if "layer_norm" in n]
    assert [norm.eps for norm in norms] == [1e-5] * 9


# --- methods ----------------------------------------------------------------------------------------------------------


def test_lora_on_both_towers_starts_exactly_and_trains_its_own_tensors_alone(name: str) -> None:
    model = made(name)
    with torch.no_grad():
        before = model.masks(mapped(model, pictures()), boxes=BOXES)
    lora = LoRA(rank=2, targets={"image": ["attn.qkv"], "mask": ["q_proj", "v_proj"]})
    lora.attach({"vision": model})
    with torch.no_grad():
        after = model.masks(mapped(model, pictures()), boxes=BOXES)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    maps = mapped(model, pictures())
    logits, scores = model.masks(maps, boxes=BOXES)
    (logits.mean() + scores.mean() + sum(each.mean() for each in maps.values())).backward()
    learning = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert all(".lora_" in key for key in learning)
    ups = [p for key, p in learning.items() if ".lora_B." in key]
    assert len(ups) == len(model.towers["image"]) + 2 * 2 * 3
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in ups)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen)


def test_a_tower_says_which_blocks_precede_what_is_adapted(name: str) -> None:
    late, masks = made(name), made(name)
    lora = LoRA(rank=2, targets={"image": ["attn.proj"]}, last={"image": 1})
    lora.attach({"vision": late})
    depths = {"lite_medsam": 11, "sam": 3, "sam2": 5}
    assert lora.prefix_depths() == {"vision": depths[name]}
    with torch.no_grad():  # the block that is said to be adapted is
        for key, p in late.named_parameters():
            if ".lora_B." in key:
                p.add_(1)
        ours, theirs = late.embed(pictures(1)), masks.embed(pictures(1))
        for depth, (one, other) in enumerate(zip(late.blocks, masks.blocks, strict=True)):
            assert torch.equal(ours, theirs) == (depth <= depths[name])
            ours, theirs = one(ours), other(theirs)
    lora = LoRA(rank=2, targets={"mask": ["q_proj"]})
    lora.attach({"vision": masks})
    assert lora.prefix_depths() == {"vision": masks.depth}


# --- sizes and pixels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size", "cell"), [("lite_medsam", 66, 4), ("sam", 72, 16), ("sam2", 80, 32)])
def test_a_side_that_cuts_cells_is_refused(name: str, size: int, cell: int) -> None:
    nano = {} if name == "lite_medsam" else {"size": "nano"}
    with pytest.raises(SettingError, match=f"image_size = {size}: expected a multiple of {cell}"):
        CLASSES[name](source="random:0", image_size=size, **nano)


def test_at_another_side_sams_positions_are_resampled_and_its_weights_are_known_as_the_same(tmp_path: Path) -> None:
    path = tmp_path / "sam.pt"
    torch.save(published("sam", kept("sam").net.state_dict()), path)
    own, other = (SAM(source=f"file:{path}", image_size=side) for side in (SIDE, 96))
    assert other.fingerprint.weights == own.fingerprint.weights
    assert other.fingerprint != own.fingerprint
    stored = own.net.vision_encoder.pos_embed.permute(0, 3, 1, 2)
    expected = F.interpolate(stored, (6, 6), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
    assert torch.equal(other.net.vision_encoder.pos_embed, expected)
    assert not other.net.vision_encoder.pos_embed.requires_grad
    picture = torch.zeros(1, 3, 96, 96)
    with torch.no_grad():
        logits, _ = other.masks(mapped(other, picture), boxes=BOXES[:1])
    assert logits.shape == (1, 1, 1, 24, 24)


def frames(*colours: tuple[int, int, int]) -> Picture:
    """A picture of stripes of these colours."""
    stripe = SIDE // len(colours)
    rows = [np.full((stripe, SIDE, 3), colour, dtype=np.uint8) for colour in colours]
    return Picture("p", (np.concatenate(rows),), {})


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_pixels_are_normed_by_imagenets_mean_and_deviation(name: str) -> None:
    found = kept(name).transform(frames((124, 116, 104), (255, 0, 0)))
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])  # as published, of 255
    for row, colour in ((0, (124.0, 116.0, 104.0)), (-1, (255.0, 0.0, 0.0))):
        torch.testing.assert_close(found[0, :, row, 0], (torch.tensor(colour) - mean) / std, atol=1e-5, rtol=0)


def test_lite_medsam_stretches_a_picture_from_its_least_to_its_greatest_value() -> None:
    found = kept("lite_medsam").transform(frames((50, 60, 70), (150, 100, 90)))
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([0.0, 0.1, 0.2]))
    torch.testing.assert_close(found[0, :, -1, 0], torch.tensor([1.0, 0.5, 0.4]))
    assert torch.equal(kept("lite_medsam").transform(frames((9, 9, 9))), torch.zeros(1, 3, SIDE, SIDE))
