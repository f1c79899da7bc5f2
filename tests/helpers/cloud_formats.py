"""Writers of cloud files, independent of the readers: each value is packed here by hand, as the formats' pages say."""

import struct
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

PLY = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
PCD = ("ascii", "binary", "binary_compressed")


def ply(
    path: Path, points: np.ndarray, *, form: str = "ascii", faces: Sequence[Sequence[int]] = (), newline: str = "\n"
) -> Path:
    """Doubles between a colour and a normal's part, and polygons of any size."""
    names = ["uchar red", "double x", "double y", "double z", "float nx"]
    header = ["ply", f"format {form} 1.0", "comment made up", f"element vertex {len(points)}"]
    header += [f"property {name}" for name in names]
    if faces:
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    body = b""
    for x, y, z in points.tolist():
        if form == "ascii":
            body += f"7 {x!r} {y!r} {z!r} 0.5{newline}".encode()
        else:
            body += struct.pack(f"{PLY[form]}B3df", 7, x, y, z, 0.5)
    for face in faces:
        if form == "ascii":
            body += f"{' '.join(map(str, [len(face), *face]))}{newline}".encode()
        else:
            body += struct.pack(f"{PLY[form]}B{len(face)}i", len(face), *face)
    path.write_bytes(newline.join([*header, "end_header", ""]).encode() + body)
    return path


def off(path: Path, points: np.ndarray, faces: Sequence[Sequence[int]], *, first: str = "OFF\n") -> Path:
    lines = [f"{len(points)} {len(faces)} 0", *(" ".join(map(repr, row)) for row in points.tolist())]
    lines += [" ".join(map(str, [len(face), *face])) for face in faces]
    path.write_text(first + "\n".join(lines) + "\n")
    return path


def pcd(path: Path, points: np.ndarray, *, form: str = "ascii") -> Path:
    """Padding, coordinates as float32 and a descriptor of two bytes a point."""
    rows = points.astype(np.float32)
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS _ x y z code",
        "SIZE 1 4 4 4 1",
        "TYPE U F F F U",
        "COUNT 3 1 1 1 2",
        f"WIDTH {len(rows)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(rows)}",
        f"DATA {form}",
        "",
    ]
    if form == "ascii":
        body = "".join(f"0 0 0 {x!r} {y!r} {z!r} 1 2\n" for x, y, z in rows.tolist()).encode()
    elif form == "binary":
        body = b"".join(b"\0\0\0" + struct.pack("<3f", *row) + b"\1\2" for row in rows.tolist())
    else:
        plain = bytes(3 * len(rows)) + rows.T.astype("<f4").tobytes() + b"\1\2" * len(rows)
        packed = lzf(plain)
        body = struct.pack("<II", len(packed), len(plain)) + packed
    path.write_bytes("\n".join(header).encode() + body)
    return path


def lzf(plain: bytes) -> bytes:
    """LZF: runs of one byte as references to the byte before, all else as it is."""
    out, at = b"", 0
    while at < len(plain):
        run = 1
        while at and run < 264 and plain[at : at + run + 1] == plain[at - 1 : at] * (run + 1):
            run += 1
        if at and run >= 3 and plain[at] == plain[at - 1]:
            length = run - 2
            out += bytes([length << 5, 0]) if length < 7 else bytes([7 << 5, length - 7, 0])
            at += run
            continue
        end = at + 1
        while end < min(len(plain), at + 32) and plain[end : end + 3] != plain[end - 1 : end] * 3:
            end += 1
        out += bytes([end - at - 1]) + plain[at:end]
        at = end
    return out


def hdf5(path: Path, **arrays: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path
