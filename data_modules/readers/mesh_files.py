"""Meshes as OBJ, STL and GLB: vertices, and triangles where there are faces.

Nothing beside the file is opened: materials and textures are passed over, and a file that keeps its numbers in others
is an error. STL and GLB are read by trimesh; what it takes for an empty or a smaller mesh is refused where that can be
known. OBJ is read here: trimesh counts relative vertices, as in `f -4 -3 -2 -1`, from the end of the file, where the
format counts them from the line that they stand in, and so makes another shape of it.
"""

import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DamagedError
from data_modules.readers.meshes import Triangles, fan, within

HEADER, TRIANGLE = 84, 50
"""Bytes of a binary STL's header and of one of its triangles."""

MARK = b"\xef\xbb\xbf"
"""With which some editors begin a text."""

SHOWN = 40


def read_obj(path: Path) -> tuple[NDArray[np.float64], Triangles]:
    """Vertices [V, 3], and triangles [F, 3] that index them; what else an OBJ describes is passed over.

    Raises:
        DamagedError: no vertex, or naming the line that is wrong.
    """
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    # A backslash continues a line.
    text = path.read_text("utf-8-sig", errors="replace").replace("\\\n", " ")
    for number, line in enumerate(text.splitlines(), 1):
        kind, *words = line.partition("#")[0].split() or [""]
        try:
            if kind == "v":
                x, y, z, *_ = map(float, words)
                vertices.append([x, y, z])
            elif kind == "f":
                named = [int(word.partition("/")[0]) for word in words]
                faces.append([len(vertices) + k if k < 0 else k - 1 for k in named])
        except ValueError:
            raise DamagedError(f"line {number} ({line.strip()[:SHOWN]!r}) is no vertex or face") from None
    if not vertices:
        raise DamagedError("it holds no vertex: it is empty, damaged or cut short")
    return np.array(vertices), within(fan(faces), len(vertices))


def read_mesh(path: Path) -> tuple[NDArray[np.float64], Triangles]:
    """Vertices [V, 3], and triangles [F, 3] that index them, of all parts of an STL or GLB in their places.

    Raises:
        DamagedError: it ends early, or holds no shape.
    """
    import trimesh  # brings networkx along, for which nobody waits who reads points

    content, kind = path.read_bytes(), path.suffix.lower().removeprefix(".")
    if kind == "stl":
        content = _whole_stl(content)
    try:
        scene = trimesh.load_scene(io.BytesIO(content), file_type=kind, process=False, skip_materials=True)
        shape = scene.to_geometry()
    except Exception as error:  # whatever a damaged file makes of its reader
        raise DamagedError(f"it is damaged, cut short or no {kind.upper()} file") from error
    vertices = np.asarray(getattr(shape, "vertices", ()), np.float64).reshape(-1, 3)
    triangles = np.asarray(getattr(shape, "faces", ()), np.int64).reshape(-1, 3)
    if not len(vertices):
        raise DamagedError("it holds no vertex: it is empty, damaged or cut short")
    if not len(triangles) and not isinstance(shape, trimesh.PointCloud):
        raise DamagedError("it holds no face: it is damaged or cut short")
    return vertices, within(triangles, len(vertices))


def _whole_stl(content: bytes) -> bytes:
    """An STL without what programs put before or behind it.

    Raises:
        DamagedError: its end is missing.
    """
    content = content.removeprefix(MARK)
    text = content.lstrip()[:5].lower() == b"solid"
    number = struct.unpack_from("<I", content, HEADER - 4)[0] if len(content) >= HEADER else 0
    size = HEADER + TRIANGLE * number
    if text and size != len(content):  # binary ones may begin with the word, too
        if b"endsolid" not in content[-1000:].lower():
            raise DamagedError("it ends early: its last line is not endsolid")
        return content
    if len(content) < size:
        raise DamagedError(f"it ends early: its header says {number:,} triangles, {size:,} bytes in all")
    return content[:size]
