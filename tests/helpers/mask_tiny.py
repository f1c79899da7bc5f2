"""Pairings of pictures with masks, small, and batches of whole pictures for them."""

from pathlib import Path

import numpy as np
import torch
from mask_files import blob, picture
from torch import Tensor

from zoo.backbones.base import Backbone
from zoo.backbones.pixels import Pixels
from zoo.backbones.timm_vit import TimmViT
from zoo.batch import Batch, Tile
from zoo.methods.base import Method
from zoo.methods.frozen import Frozen
from zoo.ops.frame import Place
from zoo.pairing import Pairing
from zoo.tasks.segmentation import Segmentation

RECIPE = Path(__file__).parent / "masks.yaml"

CLASSES = ["rest", "cell"]

SIDE = 32


def encoder() -> Backbone:
    """Twelve blocks of width 192, four maps of 2 x 2 cells."""
    return TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=SIDE)


def pairing(
    method: Method | None = None,
    backbone: Backbone | None = None,
    *,
    task: Segmentation | None = None,
    classes: list[str] = CLASSES,
    **settings: object,
) -> Pairing:
    torch.manual_seed(0)
    backbones = {"vision": encoder() if backbone is None else backbone}
    task = Segmentation(head="fpn", width=8) if task is None else task
    return Pairing(backbones, method or Frozen(), task, classes=classes, **settings)  # type: ignore[arg-type]


def dark_and_light(side: int = SIDE, cut: float = 0.5, **settings: object) -> Pairing:
    """Tells pixels lighter than `cut`, class 1, from darker ones, each alone: what it says of one does not hang on its
    surroundings but for `blur`."""
    made = pairing(backbone=Pixels(image_size=side, **settings), task=Segmentation(head="linear"))  # type: ignore[arg-type]
    linear = made.task.head.lateral[0]
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([-4.0, 4.0])[:, None, None, None].expand_as(linear.weight))
        linear.bias.copy_(torch.tensor([12.0, -12.0]) * (cut - 0.5))
    return made.eval()


def tile(index: int, side: int = SIDE) -> Tile:
    """One whole picture, its own group."""
    mask = blob((side, side), seed=index)
    place = Place(0, 0, side, side).condition(index, 1, side, side)
    return Tile(f"p{index}#0", picture(mask, index), {"mask": torch.from_numpy(mask)}, {"place": place})


def batch(made: Pairing, *indices: int) -> Batch:
    return made.batch([tile(index) for index in indices])


def certain(mask: np.ndarray | Tensor, classes: int) -> Tensor:
    """Log-probabilities float16 [K, H, W] that are sure of a mask."""
    own = torch.nn.functional.one_hot(torch.as_tensor(mask).long(), classes).movedim(-1, 0).float()
    return (20 * own).log_softmax(0).half()
