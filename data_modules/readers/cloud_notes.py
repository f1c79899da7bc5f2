"""Warnings about a cloud's file: placeholder points, lost digits, and the axis that points up."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_modules.readers.cloud_preparation import FARTHEST, copies

Axis = Literal["x", "y", "z"]

AXES: dict[str, int] = {"x": 0, "y": 1, "z": 2}

UP: dict[str, Axis] = {".las": "z", ".laz": "z", ".bin": "z", ".glb": "y"}
"""Formats that say which axis points up: by their specification, or by the sensor that they are of."""

COARSE = 1e-3
"""Smallest step between coordinates that is reported, as a share of the cloud's extent."""


def measured(values: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Rows without those at 0 0 0 that stand for nothing measured, and a note where there were such.

    Sensors and converters write a zero for every ray that came back from nowhere: so the origin stands there more often
    than any other point.
    """
    zero = (values[:, :3] == 0).all(1)
    number = int(zero.sum())
    if number < 2 or number == len(values) or number <= copies(values[~zero, :3]):
        return values, []
    return values[~zero], [f"{number:,} points at 0 0 0, which were not measured, are left out"]


def lost_digits(values: NDArray[Any]) -> list[str]:
    """A note where coordinates were stored in 32 bits so far from the origin that their last digits are gone."""
    points = values[:, :3].astype(np.float64)
    if not (np.abs(points) < FARTHEST).all() or not (points.astype(np.float32) == points).all():
        return []
    largest, extent = float(np.abs(points).max()), float(np.ptp(points, axis=0).max())
    step = float(np.spacing(np.float32(largest)))
    if step <= COARSE * extent:
        return []
    return [
        f"coordinates up to {largest:,.0f} in 32-bit numbers are exact to {step:g} only, of an extent of {extent:g}: "
        "store them as doubles, or take an offset off before they are stored"
    ]


def upright(values: NDArray[Any], path: Path, stated: str | None, wanted: Axis) -> tuple[NDArray[Any], list[str]]:
    """Turn the cloud so that its up axis is the requested one; a note if its own up axis was not stated.

    Args:
        values: [M, >= 3].
        path: the file; some formats say which axis points up.
        stated: the file's up axis as the user stated it, or None.
        wanted: up axis of the adapter's data.
    """
    suffix = path.suffix.lower().partition("#")[0]
    found = stated or UP.get(suffix, wanted)
    if found == wanted:
        return values, []
    shift = AXES[wanted] - AXES[found]
    # Axes are exchanged in a cycle, so that nothing is mirrored.
    turned = np.concatenate([values[:, [(k - shift) % 3 for k in range(3)]], values[:, 3:]], axis=1)
    known = f"{found} points up in {suffix} files, {wanted} in the data of this adapter: the cloud is turned (up= says "
    return turned, [] if stated else [known + "otherwise)"]
