"""Drawn cells: deterministic, with equal grey values, and not to be told by a grey threshold."""

import mask_tiny
import numpy as np
import pytest
import torch
from mask_files import by_texture_and_shape, grey_threshold, mean_iou
from scipy import ndimage

from data_modules.synthetic_cells import SyntheticCells
from zoo.backbones.pixels import Pixels
from zoo.ops.frame import IGNORE
from zoo.training.loaders import Loaders


def drawn(data: SyntheticCells, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Grey pictures and masks, [n, H, W]."""
    tiles = [data.sets[split][index] for index in range(len(data.sets[split]))]
    return np.stack([tile.image[..., 0] for tile in tiles]), np.stack([tile.target["mask"].numpy() for tile in tiles])


@pytest.fixture(scope="module")
def cells() -> SyntheticCells:
    data = SyntheticCells(train_pictures=32, val_pictures=1, test_pictures=8)
    data.setup()
    return data


def test_pictures_hang_on_seed_split_and_index_alone(cells: SyntheticCells) -> None:
    again = SyntheticCells(train_pictures=2, val_pictures=1, test_pictures=1)
    other = SyntheticCells(train_pictures=2, val_pictures=1, test_pictures=1, generator_seed=1)
    again.setup()
    other.setup()
    train, same = cells.sets["train"], again.sets["train"]
    assert (train[1].image == same[1].image).all()
    assert train.key(1) == same.key(1)
    assert (train[1].image != other.sets["train"][1].image).any()
    assert len({train.key(0), train.key(1), other.sets["train"].key(0), cells.sets["test"].key(0)}) == 4
    assert (train[0].image != cells.sets["test"][0].image).any()


def test_every_class_is_there_in_equal_grey_values(cells: SyntheticCells) -> None:
    images, masks = drawn(cells, "train")
    assert set(np.unique(masks)) == {0, 1, 2}
    shares = np.bincount(masks.ravel()) / masks.size
    assert 0.05 < shares[1] < 0.2
    assert 0.05 < shares[2] < 0.2
    means = [images[masks == label].mean() for label in range(3)]
    spreads = [images[masks == label].std() for label in range(3)]
    assert max(means) - min(means) < 3
    assert max(spreads) - min(spreads) < 3


def test_a_grey_threshold_is_far_below_what_texture_and_shape_tell(cells: SyntheticCells) -> None:
    images, masks = drawn(cells, "train")
    fitted, blur, threshold, low, high = grey_threshold(images, masks, 3, (0, 2, 4))
    images, masks = drawn(cells, "test")
    blurred = np.stack([ndimage.gaussian_filter(image.astype(float), blur) for image in images])
    grey = mean_iou(np.where(blurred > threshold, int(high), int(low)), masks, 3)
    told = mean_iou(np.stack([by_texture_and_shape(image.astype(float), 150) for image in images]), masks, 3)
    assert fitted < 0.3
    assert grey < 0.3
    assert told > grey + 0.15


@pytest.mark.parametrize(
    ("frame", "tiles"), [({"tile": 128}, 4), ({"letterbox": 64}, 1), ({"tile": 128, "overlap": 32}, 9)]
)
def test_larger_pictures_are_cut_as_the_frame_says(frame: dict[str, int], tiles: int) -> None:
    data = SyntheticCells(train_pictures=1, val_pictures=1, test_pictures=1, side=256, frame=frame)
    data.setup()
    train = data.sets["train"]
    assert len(train) == tiles
    tile = train[tiles - 1]
    assert tile.image.shape == (data.frame.side, data.frame.side, 3)
    assert tile.conditions["place"].tolist()[5:] == [tiles, 256, 256]
    assert not (tile.target["mask"] == IGNORE).any()


def test_a_head_takes_a_step_on_them() -> None:
    data = SyntheticCells(train_pictures=3, val_pictures=1, test_pictures=1, frame={"letterbox": 32})
    data.setup()
    made = mask_tiny.pairing(backbone=Pixels(image_size=32), classes=data.classes).train()
    batch = next(iter(Loaders(data, made, batch_size=3).train_dataloader()))
    assert batch.target["mask"].shape == (3, 32, 32)
    before = {name: value.clone() for name, value in made.trainable_state().items()}
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss = torch.stack(list(made.losses(batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(not torch.equal(value, before[name]) for name, value in made.trainable_state().items())
