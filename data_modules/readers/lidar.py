"""Clouds as laser scanners and the programs around them store them: LAS and LAZ, and the bare floats of driving sets.

LAS by laspy, LAZ by laspy over lazrs: both are kept well, and have wheels for every platform. Coordinates come scaled
and shifted as the header says, in doubles.
"""

from pathlib import Path
from typing import Any

import laspy
import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DamagedError

MOST = 1000
"""Times that LAZ packs points, at most: a header that says more is damaged, and would ask for all memory."""

COLUMNS = {4: "KITTI", 5: "nuScenes"}

FARTHEST, BRIGHTEST = 1000.0, 255.0
"""Range of a driving car's laser in metres, and the highest stored reflectance."""


def read_las(path: Path) -> NDArray[np.float64]:
    """Coordinates [M, 3] of a LAS or LAZ file.

    Raises:
        DamagedError: it ends early, or its header says what no file holds.
    """
    try:
        return _read_las(path)
    except (laspy.errors.LaspyException, RuntimeError) as error:  # lazrs raises the latter
        raise DamagedError("it is damaged, cut short or no LAS") from error


def _read_las(path: Path) -> NDArray[np.float64]:
    with laspy.open(path) as file:
        number, size = file.header.point_count, file.header.point_format.size
        if number * size > path.stat().st_size * MOST:
            raise DamagedError(f"its header says {number:,} points, more than {path.stat().st_size:,} bytes can hold")
        if path.suffix.lower() == ".las" and number * size > path.stat().st_size - file.header.offset_to_point_data:
            raise DamagedError(f"it ends early: its header says {number:,} points")
        points: NDArray[np.float64] = np.asarray(file.read().xyz, np.float64)
    if len(points) != number:
        raise DamagedError(f"it ends early: {len(points):,} of {number:,} points")
    return points


def read_floats(path: Path) -> NDArray[np.float32]:
    """Rows of a driving set's .bin: x y z reflectance, as KITTI has them, or with the laser's number, as nuScenes.

    Raises:
        DamagedError: its numbers are neither.
    """
    values = np.fromfile(path, "<f4")
    likely = (5, 4) if path.name.lower().endswith(".pcd.bin") else (4, 5)
    for columns in likely:
        if path.stat().st_size % (4 * columns) == 0 and _fits(table := values.reshape(-1, columns)):
            return table
    raise DamagedError(
        "it is no table of 32-bit numbers x y z reflectance (KITTI; with the laser's number, nuScenes) in metres from "
        "the sensor; save it as .npy, .ply or .xyz"
    )


def _fits(table: NDArray[Any]) -> bool:
    """Whether numbers are what a laser on a car measures."""
    shine = table[:, 3]
    lasers = table[:, 4:]
    return (
        len(table) > 0
        and bool((np.abs(table[:, :3]) < FARTHEST).all())
        and bool(((shine >= 0) & (shine <= BRIGHTEST)).all())
        and bool(((lasers >= 0) & (lasers == np.floor(lasers))).all())
    )
