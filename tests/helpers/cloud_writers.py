"""One cloud in every format that is read."""

from collections.abc import Callable
from pathlib import Path

import cloud_formats
import numpy as np

POINTS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32).astype(np.float64)


WRITERS: dict[str, Callable[[Path], object]] = {
    "table.txt": lambda path: np.savetxt(path, POINTS, fmt="%.17g"),
    "table.xyz": lambda path: np.savetxt(path, np.hstack([POINTS, POINTS]), fmt="%.17g", delimiter="\t"),
    "table.csv": lambda path: np.savetxt(path, POINTS, fmt="%.17g", delimiter=","),
    "semicolons.csv": lambda path: np.savetxt(path, POINTS, fmt="%.17g", delimiter=";"),
    "named.csv": lambda path: np.savetxt(path, POINTS, fmt="%.17g", delimiter=",", header="X,Y,Z", comments=""),
    "turned.csv": lambda path: np.savetxt(
        path, POINTS[:, [2, 0, 1]], fmt="%.17g", delimiter=",", header="z,x,y", comments=""
    ),
    "compare.txt": lambda path: np.savetxt(path, POINTS, fmt="%.17g", header="//X Y Z", comments=""),
    "array.npy": lambda path: np.save(path, POINTS),
    "one.npy": lambda path: np.save(path, POINTS[None]),
    "array.npz": lambda path: np.savez_compressed(path, labels=np.arange(60), points=POINTS),
    "array.h5": lambda path: cloud_formats.hdf5(path, data=POINTS, normal=POINTS),
    "deep.hdf5": lambda path: cloud_formats.hdf5(path, **{"scan/cloud": POINTS}),
    "UPPER.PLY": lambda path: cloud_formats.ply(path, POINTS),
    **{f"{form}.ply": lambda path, form=form: cloud_formats.ply(path, POINTS, form=form) for form in cloud_formats.PLY},
    "windows.ply": lambda path: cloud_formats.ply(path, POINTS, form="binary_little_endian", newline="\r\n"),
    **{f"{form}.pcd": lambda path, form=form: cloud_formats.pcd(path, POINTS, form=form) for form in cloud_formats.PCD},
    "points.off": lambda path: cloud_formats.off(path, POINTS, []),
}
