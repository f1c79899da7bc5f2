"""Made-up pictures with masks, and simple ways to segment them."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from data_modules.folder_masks import MaskFolder


def blob(side: tuple[int, int] = (40, 60), classes: int = 2, seed: int = 0) -> np.ndarray:
    """uint8 [H, W]: a rectangle of every class but the first, none symmetric to another."""
    mask = np.zeros(side, np.uint8)
    for label in range(1, classes):
        top, left = 2 + 7 * (label - 1) + seed % 3, 3 + 11 * (label - 1)
        mask[top : top + 6, left : left + 9] = label
    return mask


def picture(mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3]: noise over a grey of every class."""
    noise = np.random.default_rng(seed).integers(0, 40, (*mask.shape, 3))
    return (noise + 60 * np.minimum(mask, 3)[..., None]).astype(np.uint8)


def pairs(
    root: Path, number: int = 5, *, values: Sequence[int] = (0, 1), ending: str = "", side: tuple[int, int] = (40, 60)
) -> Path:
    """`root/images` and `root/masks`, no two pictures alike; masks store `values` for class 0, 1, ..."""
    for index in range(number):
        mask = blob(side, len(values), index)
        save(root / "images" / f"p{index}.png", picture(mask, index))
        save(root / "masks" / f"p{index}{ending}.png", np.array(values, np.uint8)[mask])
    return root


def save(path: Path, values: np.ndarray, mode: str | None = None) -> Path:
    """An array in the format of the name; `mode` P stores a palette of VOC's first colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    image.save(path)
    return path


def nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Values [X, Y, Z] as a volume of NIfTI, which needs nibabel."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def ready(root: Path, **settings: object) -> MaskFolder:
    data = MaskFolder(root=str(root), **{"frame": {"tile": 32, "overlap": 8}, **settings})  # type: ignore[arg-type]
    data.setup()
    return data


def whole(data: MaskFolder) -> dict[str, np.ndarray]:
    """Every mask by the name of its picture."""
    return {
        picture.id: samples.labels(k) for samples in data.sets.values() for k, picture in enumerate(samples.pictures)
    }


def mean_iou(found: np.ndarray, truth: np.ndarray, classes: int) -> float:
    """Mean over classes of pooled intersection over union."""
    counts = np.bincount(classes * truth.ravel().astype(int) + found.ravel(), minlength=classes**2)
    table = counts.reshape(classes, classes)
    union = table.sum(0) + table.sum(1) - np.diag(table)
    return float((np.diag(table) / np.maximum(1, union)).mean())


def grey_threshold(images: np.ndarray, masks: np.ndarray, classes: int, blurs: Sequence[float]) -> tuple[float, ...]:
    """The best (mean IoU, blur, threshold, class below, class above) on these grey pictures [n, H, W]."""
    best: tuple[float, ...] = (-1.0,)
    for blur in blurs:
        blurred = np.stack([ndimage.gaussian_filter(image.astype(float), blur) for image in images])
        for threshold in np.unique(np.percentile(blurred, np.arange(2, 100, 4))):
            above = np.array([((blurred > threshold) & (masks == label)).sum() for label in range(classes)])
            sizes = np.array([(masks == label).sum() for label in range(classes)])
            for low, high in itertools.permutations(range(classes), 2):
                hit, found = np.zeros(classes), np.zeros(classes)
                hit[low], hit[high] = sizes[low] - above[low], above[high]
                found[low], found[high] = (sizes - above).sum(), above.sum()
                best = max(best, (float((hit / (sizes + found - hit)).mean()), blur, threshold, low, high))
    return best


def by_texture_and_shape(image: np.ndarray, cut: float) -> np.ndarray:
    """Classes 0, 1 (round), 2 (long) of a grey picture: where its finest grain is strong, by the shape of the patch."""
    fine = image - ndimage.gaussian_filter(image, 1.2)
    energy = ndimage.gaussian_filter(fine**2, 2.0)
    patches, number = ndimage.label(ndimage.binary_opening(energy > cut, iterations=2))
    found = np.zeros(image.shape, np.uint8)
    for patch in range(1, number + 1):
        at = np.argwhere(patches == patch)
        if len(at) > 60:
            spread = np.sqrt(np.linalg.eigvalsh(np.cov(at.T)))
            found[patches == patch] = 2 if spread[1] > 1.8 * spread[0] else 1
    return found
