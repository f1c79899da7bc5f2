"""Meshes and clouds as PLY and OFF: vertices, and triangles where there are faces.

Read here, as what is kept well reads too little: trimesh takes a text cut short for a smaller cloud and refuses binary
PLY whose faces differ in size; plyfile is under the GPL; Open3D weighs 400 MB.
PLY: text and binary of either byte order, any further elements and properties. OFF: text, with what its variants (COFF,
NOFF, ...) add to a vertex passed over.
"""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DamagedError

Triangles = NDArray[np.int64]

SCALARS = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}

ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}

CORNERS = ("vertex_indices", "vertex_index")


class Property(NamedTuple):
    """A column of an element; a list where `length` is the type of its length."""

    name: str
    kind: str
    length: str | None = None


class Element(NamedTuple):
    """So many rows of the same properties."""

    name: str
    number: int
    properties: list[Property]


def read_ply(path: Path) -> tuple[NDArray[np.float64], Triangles]:
    """Vertices [V, 3], and triangles [F, 3] that index them; no triangles in a cloud.

    Raises:
        DamagedError: no PLY, no coordinates, or fewer values than the header says.
    """
    elements, order, body = _header(path.read_bytes())
    if not order:
        # A text is numbers, one a property: the same table as a binary file whose every value is a double.
        body = np.array(body.split(), dtype=np.float64).tobytes()
        wide = [[Property(p.name, "f8", p.length and "f8") for p in e.properties] for e in elements]
        elements = [e._replace(properties=properties) for e, properties in zip(elements, wide, strict=True)]
    start, vertices, triangles = 0, np.empty((0, 3)), np.empty((0, 3), np.int64)
    for element in elements:
        rows, start = _rows(body, start, element, order)
        if element.name == "vertex":
            if missing := [axis for axis in "xyz" if axis not in rows]:
                raise DamagedError(f"its vertices have no {', '.join(missing)}")
            vertices = np.stack([np.asarray(rows[axis], np.float64) for axis in "xyz"], axis=1)
        elif element.name == "face" and element.number:
            faces = next((rows[name] for name in CORNERS if name in rows), None)
            triangles = fan([] if faces is None else faces)
    return vertices, within(triangles, len(vertices))


def _header(content: bytes) -> tuple[list[Element], str, bytes]:
    """Elements, byte order (empty for text), and what follows."""
    head, mark, rest = content.partition(b"end_header")
    if not head.startswith(b"ply") or not mark:
        raise DamagedError("it has no PLY header")
    # The line may end as in Windows; binary values begin after it.
    body = rest.partition(b"\n")[2]
    order, elements = None, []
    for line in head.decode("latin-1").splitlines():
        match line.split():
            case ["format", name, *_]:
                order = ORDERS.get(name)
            case ["element", name, count]:
                elements.append(Element(name, int(count), []))
            case ["property", "list", length, kind, name] if elements:
                elements[-1].properties.append(Property(name, SCALARS[kind], SCALARS[length]))
            case ["property", kind, name] if elements:
                elements[-1].properties.append(Property(name, SCALARS[kind]))
    if order is None:
        raise DamagedError(f"its format is none of {', '.join(ORDERS)}")
    return elements, order, body


def _rows(body: bytes, start: int, element: Element, order: str) -> tuple[dict[str, Any], int]:
    """Columns of an element by name (of lists: [rows, n], or a list of tuples), and where the next one begins."""
    # Most lists are as long as the first one: then the element is a table.
    fields: list[Any] = []
    at = start
    lists = [p.name for p in element.properties if p.length]
    for p in element.properties if element.number else ():
        if p.length is None:
            fields.append((p.name, order + p.kind))
            at += np.dtype(p.kind).itemsize
        else:
            (length,) = np.frombuffer(body, order + p.length, 1, at)
            fields += [(f"{p.name} length", order + p.length), (p.name, order + p.kind, (int(length),))]
            at += np.dtype(p.length).itemsize + int(length) * np.dtype(p.kind).itemsize
    kind = np.dtype(fields)
    if len(body) - start >= element.number * kind.itemsize:
        table = np.frombuffer(body, kind, element.number, start) if fields else np.empty(0, kind)
        if all((table[f"{name} length"] == table.dtype[name].shape[0]).all() for name in lists if fields):
            return {p.name: table[p.name] for p in element.properties if fields}, start + table.nbytes
    if not lists:
        raise DamagedError(f"it ends early: its header says {element.number} of {element.name}")
    columns: dict[str, Any] = {p.name: [] for p in element.properties}
    for _ in range(element.number):
        for p in element.properties:
            number = 1
            if p.length is not None:
                (number,), start = _unpacked(body, start, order, p.length, 1)
            values, start = _unpacked(body, start, order, p.kind, int(number))
            columns[p.name].append(values if p.length else values[0])
    return columns, start


CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}


def _unpacked(body: bytes, start: int, order: str, kind: str, count: int) -> tuple[tuple[Any, ...], int]:
    form = f"{order or '='}{count}{CODES[kind]}"
    return struct.unpack_from(form, body, start), start + struct.calcsize(form)


def read_off(path: Path) -> tuple[NDArray[np.float64], Triangles]:
    """Vertices [V, 3], and triangles [F, 3] that index them.

    Raises:
        DamagedError: no OFF, a binary one, or fewer lines than it says.
    """
    text = path.read_text(encoding="latin-1")  # of comments, whatever they are written in
    lines = [words for line in text.splitlines() if (words := line.partition("#")[0].split())]
    if not lines or "OFF" not in lines[0][0]:
        raise DamagedError("it does not start with OFF")
    # ModelNet has files whose counts follow in the first line, some without a space.
    first = [lines[0][0].partition("OFF")[2], *lines[0][1:]]
    counts = [word for word in first if word] or lines.pop(1)
    vertices, faces = int(counts[0]), int(counts[1])
    body = lines[1:]
    if len(body) < vertices + faces:
        raise DamagedError(f"it ends early: {len(body)} lines for {vertices} vertices and {faces} faces")
    points = np.array([words[:3] for words in body[:vertices]], dtype=np.float64).reshape(-1, 3)
    corners = []
    for words in body[vertices : vertices + faces]:
        corners.append([int(word) for word in words[1 : int(words[0]) + 1]])
        if len(corners[-1]) < int(words[0]):
            raise DamagedError(f"a face of {words[0]} corners names {len(corners[-1])}")
    return points, within(fan(corners), vertices)


def fan(faces: NDArray[Any] | Sequence[Sequence[Any]]) -> Triangles:
    """Polygons as triangles around their first corner: [F', n] or F' lists of corners -> [F, 3]."""
    if isinstance(faces, np.ndarray):
        corners = range(1, max(1, faces.shape[1] - 1))
        parts = [faces[:, [0, k, k + 1]].astype(np.int64) for k in corners]
        return np.concatenate(parts) if parts else np.empty((0, 3), np.int64)
    found = [(face[0], face[k], face[k + 1]) for face in faces for k in range(1, len(face) - 1)]
    return np.array(found, np.int64).reshape(-1, 3)


def within(triangles: Triangles, vertices: int) -> Triangles:
    """The triangles themselves.

    Raises:
        DamagedError: one names a vertex that is not there.
    """
    if len(triangles) and not 0 <= triangles.min() <= triangles.max() < vertices:
        raise DamagedError(f"a face names vertex {triangles.max()} or {triangles.min()} of {vertices}")
    return triangles


def surface(vertices: NDArray[np.float64], triangles: Triangles, count: int) -> NDArray[np.float64]:
    """Points [count, 3] drawn evenly by area from triangles [F, 3], the same ones every time.

    Raises:
        DamagedError: the triangles have no area, or a corner of theirs is not finite.
    """
    corners = vertices[triangles]  # [F, 3, 3]
    origin, right, up = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.linalg.norm(np.cross(right, up), axis=1)
    if not 0 < areas.sum() < math.inf:
        raise DamagedError("its faces have no area, or corners that are not finite")
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(areas), count, p=areas / areas.sum())
    a, b = rng.random((2, count, 1))
    outside = a + b > 1  # the other half of the parallelogram
    a, b = np.where(outside, 1 - a, a), np.where(outside, 1 - b, b)
    points: NDArray[np.float64] = origin[chosen] + a * right[chosen] + b * up[chosen]
    return points
