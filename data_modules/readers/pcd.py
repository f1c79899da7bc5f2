"""Point clouds as PCD, the format of the Point Cloud Library: text, binary, and compressed by LZF.

Read here, as the package that reads all three (pypcd4) brings pydantic and a C extension along and takes a text cut
short for a smaller cloud. LZF is part of h5py, which the zoo needs for HDF5.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DamagedError

KINDS = {"F": "f", "I": "i", "U": "u"}

MOST = 88
"""Bytes that LZF makes of one, at most: 264 of three."""

NEEDED = ("FIELDS", "SIZE", "TYPE", "POINTS", "DATA")


def read_pcd(path: Path) -> NDArray[np.float64]:
    """Coordinates [M, 3]; NaN where a sensor measured nothing, as the format has it.

    Raises:
        DamagedError: no PCD, no coordinates, or fewer values than the header says.
    """
    content = path.read_bytes()
    header, start = _header(content)
    if missing := [key for key in NEEDED if not header.get(key)]:
        raise DamagedError(f"its header has no {', '.join(missing)}")
    body, number, names = content[start:], int(header["POINTS"][0]), header["FIELDS"]
    if not number:
        raise DamagedError("it holds no point")
    if absent := [axis for axis in "xyz" if axis not in names]:
        raise DamagedError(f"its points have no {', '.join(absent)}")
    axes = [names.index(axis) for axis in "xyz"]
    counts = [int(count) for count in header.get("COUNT") or ["1"] * len(names)]
    kinds = [f"<{KINDS[kind]}{int(size)}" for kind, size in zip(header["TYPE"], header["SIZE"], strict=True)]
    # By number, as several fields may be called _, which is padding.
    row = np.dtype([(str(k), kind, (count,)) for k, (kind, count) in enumerate(zip(kinds, counts, strict=True))])
    match header["DATA"][0]:
        case "ascii":
            values = np.array(body.split(), dtype=np.float64)
            if len(values) < number * sum(counts):
                raise DamagedError(f"it ends early: {len(values)} values for {number} points of {sum(counts)}")
            first = np.cumsum([0, *counts])
            return values[: number * sum(counts)].reshape(number, -1)[:, first[axes]]
        case "binary":
            if len(body) < number * row.itemsize:
                raise DamagedError(f"it ends early: {len(body)} bytes for {number} points of {row.itemsize}")
            table = np.frombuffer(body, row, number)
            return _doubles([table[str(k)] for k in axes], number)
        case "binary_compressed":
            packed, size = struct.unpack_from("<II", body)
            if len(body) - 8 < packed:
                raise DamagedError(f"it ends early: {len(body) - 8} of {packed} bytes")
            if size != number * row.itemsize or size > MOST * packed:
                raise DamagedError(
                    f"{packed} bytes are said to hold {size}; expected {number} points of {row.itemsize}"
                )
            # Compressed fields stand one after the other, each of all points.
            plain = _plain(body[8 : 8 + packed], size)
            ends = number * np.cumsum([0, *(row[k].itemsize for k in range(len(names)))])
            return _doubles([np.frombuffer(plain[ends[k] : ends[k + 1]], row[k].base) for k in axes], number)
        case other:
            raise DamagedError(f"its data are {other}; expected ascii, binary or binary_compressed")


def _doubles(columns: Sequence[NDArray[Any]], number: int) -> NDArray[np.float64]:
    """The first value of every field [M, count], or flat, side by side: [M, fields]."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is NaN all the same
        return np.stack([column.reshape(number, -1)[:, 0].astype(np.float64) for column in columns], axis=1)


def _header(content: bytes) -> tuple[dict[str, list[str]], int]:
    """Words of every line by its first one, and where the data begin."""
    header: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in header and (end := content.find(b"\n", start)) >= 0:
        key, *words = content[start:end].decode("latin-1").split() or [""]
        header[key] = words
        start = end + 1
    return header, start


def _plain(packed: bytes, size: int) -> bytes:
    """The points' bytes, packed or, as some writers leave what LZF makes no smaller, as they are."""
    try:
        return inflated(packed, size)
    except DamagedError:
        if len(packed) == size:
            return packed
        raise


def inflated(packed: bytes, size: int) -> bytes:
    """The `size` bytes that LZF packed: HDF5 has the filter, so the packed ones become a chunk of a file in memory.

    Raises:
        DamagedError: they are not so many bytes.
    """
    try:
        with h5py.File.in_memory() as file:
            chunk = file.create_dataset("chunk", (size,), "u1", chunks=(size,), compression="lzf")
            chunk.id.write_direct_chunk((0,), packed)
            plain: bytes = chunk[()].tobytes()
            return plain
    except OSError as error:
        raise DamagedError(f"its compressed points are damaged: they do not unpack to {size} bytes") from error
