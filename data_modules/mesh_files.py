"""Meshes as OBJ, STL and GLB, read by trimesh: vertices, and triangles where there are faces.

Nothing beside the file is opened: materials and textures are passed over, and a file that keeps its numbers in others
is an error. What trimesh takes for an empty or a smaller mesh is refused where that can be known.
"""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from data_modules.errors import DamagedError
from data_modules.meshes import Triangles, within

HEADER, TRIANGLE = 84, 50
"""Bytes of a binary STL's header and of one of its triangles."""


def read_mesh(path: Path) -> tuple[NDArray[np.float64], Triangles]:
    """Vertices [V, 3], and triangles [F, 3] that index them, of all parts in their places.

    Raises:
        DamagedError: it ends early, or holds no shape.
    """
    content, kind = path.read_bytes(), path.suffix.lower().removeprefix(".")
    if kind == "stl":
        _whole_stl(content)
    further: dict[str, Any] = {} if kind == "stl" else {"skip_materials": True}
    try:
        scene = trimesh.load_scene(io.BytesIO(content), file_type=kind, process=False, **further)
        shape = scene.to_geometry()
    except Exception as error:  # whatever a damaged file makes of its reader
        raise DamagedError(f"it is damaged, cut short or no {kind.upper()} file") from error
    vertices = np.asarray(getattr(shape, "vertices", ()), np.float64).reshape(-1, 3)
    triangles = np.asarray(getattr(shape, "faces", ()), np.int64).reshape(-1, 3)
    if not len(vertices):
        raise DamagedError("it holds no vertex: it is empty, damaged or cut short")
    if kind != "obj" and not len(triangles) and not isinstance(shape, trimesh.PointCloud):
        raise DamagedError("it holds no face: it is damaged or cut short")
    try:
        return vertices, within(triangles, len(vertices))
    except ValueError as error:
        raise DamagedError(str(error)) from None


def _whole_stl(content: bytes) -> None:
    """Refuse an STL whose end is missing."""
    text = content.lstrip()[:5].lower() == b"solid"
    number = struct.unpack_from("<I", content, HEADER - 4)[0] if len(content) >= HEADER else 0
    size = HEADER + TRIANGLE * number
    if text and size != len(content):  # binary ones may begin with the word, too
        if b"endsolid" not in content[-1000:].lower():
            raise DamagedError("it ends early: its last line is not endsolid")
    elif len(content) < size:
        raise DamagedError(f"it ends early: its header says {number:,} triangles, {size:,} bytes in all")
