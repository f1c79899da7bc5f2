"""Masks that are drawn, not stored: shapes of labelme's JSON, and of COCO's, which has one file for many pictures.

A pixel belongs to a polygon that its centre lies in (even-odd rule). Shapes are drawn in the order of the file, so a
later one covers an earlier one. What lies in no shape is background; a crowd of COCO (`iscrowd`) has no label, but
where another shape lies. Neither labelme nor pycocotools is needed. Layouts: labelme's `Shape` and `LabelFile`
(github.com/wkentaro/labelme), COCO's format (cocodataset.org, "Data format") and its run lengths (`maskApi.c`).
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.readers.foreign import read_text
from zoo.ops.frame import IGNORE

BACKGROUND = "background"


@dataclass(frozen=True)
class Shape:
    """One drawn object.

    Attributes:
        name: of its class; empty for a crowd, whose pixels have no label.
        rings: polygons [(x, y), ...] in pixels, whose union it is.
        runs: lengths of runs of 0 and 1, from above and from the left, in place of polygons.
        bitmap: (left, top, bool [h, w]) in place of either.
    """

    name: str
    rings: tuple[NDArray[np.float64], ...] = ()
    runs: tuple[int, ...] = ()
    bitmap: tuple[int, int, NDArray[np.bool_]] | None = None

    def drawn(self, height: int, width: int, where: str) -> NDArray[np.bool_]:
        """Its pixels, bool [height, width].

        Raises:
            DataError: run lengths of another size.
        """
        found = np.zeros((height, width), bool)
        if self.runs:
            if sum(self.runs) != height * width:
                raise DataError(f"{where}: run lengths of {sum(self.runs)} pixels; expected {height} x {width}")
            ones = np.arange(len(self.runs)) % 2 == 1
            return np.repeat(ones, self.runs).reshape(width, height).T
        if self.bitmap is not None:
            left, top, pixels = self.bitmap
            part = found[max(0, top) : top + len(pixels), max(0, left) : left + pixels.shape[1]]
            part |= pixels[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]]
        for ring in self.rings:
            found |= filled(ring, height, width)
        return found


@dataclass(frozen=True)
class Drawing:
    """All shapes of one picture.

    Attributes:
        where: file, for messages.
        height: of the picture in pixels, as the file says.
        width: of the picture in pixels, as the file says.
        shapes: in their order.
    """

    where: str
    height: int
    width: int
    shapes: tuple[Shape, ...]

    def classes(self, names: Sequence[str]) -> NDArray[np.uint8]:
        """Class indices, uint8 [H, W].

        Raises:
            DataError: a class that is not among the names, or none for what lies in no shape.
        """
        if BACKGROUND not in names:
            raise DataError(f"{self.where}: what lies in no shape is {BACKGROUND!r}; name it in data.classes")
        if unknown := sorted({shape.name for shape in self.shapes if shape.name} - set(names)):
            raise DataError(f"{self.where}: {', '.join(unknown)}: no class of {', '.join(names)}")
        labels = np.full((self.height, self.width), names.index(BACKGROUND), np.uint8)
        for shape in sorted(self.shapes, key=lambda shape: bool(shape.name)):  # crowds first
            pixels = shape.drawn(self.height, self.width, self.where)
            labels[pixels] = names.index(shape.name) if shape.name else IGNORE
        return labels


def filled(ring: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """Pixels whose centres lie inside a polygon, bool [height, width].

    Args:
        ring: [n, 2], x and y of its corners.
        height: of the picture.
        width: of the picture.
    """
    crossings = np.zeros((height, width + 1), np.uint8)
    for (x, y), (other_x, other_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        low, high = sorted((y, other_y))
        first, end = max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5)))
        if first < end:
            rows = np.arange(first, end)
            across = x + (rows + 0.5 - y) * (other_x - x) / (other_y - y)
            crossings[rows, np.ceil(across - 0.5).clip(0, width).astype(int)] ^= 1
    inside: NDArray[np.bool_] = np.logical_xor.accumulate(crossings[:, :width].astype(bool), axis=1)
    return inside


def load(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: no such object.
    """
    try:
        found = json.loads(read_text(path))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected an object {{...}} of labelme or COCO")
    return found


def is_coco(content: Mapping[str, Any]) -> bool:
    """Whether this is COCO's one file for many pictures, and not labelme's for one."""
    return {"images", "annotations", "categories"} <= set(content)


# --- labelme ----------------------------------------------------------------------------------------------------------


def labelme(path: Path) -> Drawing:
    """The shapes of a labelme file: polygons, rectangles, circles and masks.

    Raises:
        DataError: another file, or a shape without an area.
    """
    content = load(path)
    try:
        height, width, shapes = int(content["imageHeight"]), int(content["imageWidth"]), list(content["shapes"])
        return Drawing(str(path), height, width, tuple(_labelme_shape(shape, path) for shape in shapes))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no file of labelme ({error!r}); expected imageHeight, imageWidth and shapes with label, points "
            "and shape_type"
        ) from None


def _labelme_shape(shape: Mapping[str, Any], path: Path) -> Shape:
    name, kind = str(shape["label"]), shape.get("shape_type", "polygon")
    name = BACKGROUND if name in ("_background_", "__background__") else name
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    if kind == "polygon" and len(points) > 2:
        return Shape(name, (points,))
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        return Shape(name, (np.array([[left, top], [right, top], [right, bottom], [left, bottom]]),))
    if kind == "circle" and len(points) == 2:
        angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
        radius = np.hypot(*(points[1] - points[0]))
        return Shape(name, (points[0] + radius * np.column_stack([np.cos(angles), np.sin(angles)]),))
    if kind == "mask" and len(points) == 2:
        left, top = np.floor(points[0]).astype(int).tolist()
        return Shape(name, bitmap=(left, top, _bitmap(shape["mask"], path)))
    raise DataError(
        f"{path}: a {kind} of {len(points)} points, called {name!r}, has no area; expected polygons, rectangles, "
        "circles or masks"
    )


def _bitmap(text: str, path: Path) -> NDArray[np.bool_]:
    import io

    from PIL import PngImagePlugin

    try:
        with PngImagePlugin.PngImageFile(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            return np.array(image.convert("L")) > 0
    except (OSError, SyntaxError, binascii.Error) as error:
        raise DataError(f"{path}: a mask inside is no PNG: {error}") from None


# --- COCO -------------------------------------------------------------------------------------------------------------


def coco(path: Path) -> tuple[dict[str, Drawing], list[str]]:
    """Drawings by the name of the picture (`file_name`), and names of the categories by their id.

    Raises:
        DataError: another file, or an annotation without a shape.
    """
    content = load(path)
    try:
        names = {each["id"]: str(each["name"]) for each in sorted(content["categories"], key=lambda each: each["id"])}
        sizes = {each["id"]: (str(each["file_name"]), each["height"], each["width"]) for each in content["images"]}
        shapes: dict[Any, list[Shape]] = {picture: [] for picture in sizes}
        for each in content["annotations"]:
            where = f"{path}: annotation {each.get('id')}"
            if each["image_id"] not in sizes or each["category_id"] not in names:
                raise DataError(f"{where} is of image {each['image_id']}, category {each['category_id']}: no such one")
            name = "" if each.get("iscrowd") else names[each["category_id"]]
            shapes[each["image_id"]].append(_coco_shape(name, each["segmentation"], where))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is no file of COCO ({error!r}); expected images, annotations, categories") from None
    found: dict[str, Drawing] = {}
    for picture, (name, height, width) in sizes.items():
        if name in found:
            raise DataError(f"{path}: {name} stands twice among the images")
        found[name] = Drawing(str(path), int(height), int(width), tuple(shapes[picture]))
    return found, list(names.values())


def _coco_shape(name: str, segmentation: Any, where: str) -> Shape:
    if isinstance(segmentation, list) and segmentation:
        rings = tuple(np.array(ring, np.float64).reshape(-1, 2) for ring in segmentation)
        return Shape(name, rings)
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        return Shape(name, runs=tuple(run_lengths(counts) if isinstance(counts, str) else map(int, counts)))
    raise DataError(f"{where} has no segmentation, only a box; expected polygons or run lengths")


def run_lengths(text: str) -> list[int]:
    """Run lengths of COCO's compressed text.

    Each number is written in groups of 5 bits, least first, as a character from code 48; bit 6 says that more follow,
    bit 5 of the last one is the sign. From the fourth number on it is the difference to the one before the last.

    Raises:
        ValueError: the text ends inside a number, or has other characters.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64:
            raise ValueError(f"{letter!r} in compressed run lengths")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift or any(count < 0 for count in counts):
        raise ValueError("compressed run lengths that are cut short")
    return counts
