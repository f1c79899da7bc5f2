"""Adapters that nobody trained, and folders of good and bad files to predict."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cloud_formats
import numpy as np
import picture_files
from av_files import write_clip

from zoo.adapter import directory
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose, to_yaml
from zoo.recipe.instantiate import instantiate


def untrained(name: str, folder: Path, *words: str) -> Path:
    """The adapter directory of a recipe's smoke block as it is before training."""
    config = compose(name, list(words), smoke=True)
    data = instantiate(config.data)
    pairing = build_pairing(config, data.classes, cached=False)
    pairing.preparation = data.preparation
    return directory.save(pairing, folder, recipe=to_yaml(config), metrics={}, card=lambda _: "# nothing was trained\n")


def points(seed: int, count: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)) * [1, 2, 0.5]


def _png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def _cut(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])


GOOD_CLOUDS: tuple[tuple[str, Callable[[Path, int], object]], ...] = (
    ("npy", lambda path, k: np.save(path, points(k))),
    ("ply", lambda path, k: cloud_formats.ply(path, points(k), form="binary_little_endian")),
    ("pcd", lambda path, k: cloud_formats.pcd(path, points(k), form="binary_compressed")),
    ("txt", lambda path, k: np.savetxt(path, points(k))),
    ("off", lambda path, k: cloud_formats.off(path, points(k, 8), [[0, 1, 2, 3], [4, 5, 6], [5, 6, 7]])),
    ("h5", lambda path, k: cloud_formats.hdf5(path, data=points(k))),
)
BAD_CLOUDS: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("cut.ply", lambda path: (cloud_formats.ply(path, points(0), form="binary_big_endian"), _cut(path, 0.6))),
    ("empty.npy", lambda path: path.write_bytes(b"")),
    ("nan.npy", lambda path: np.save(path, np.full((40, 3), np.nan))),
    ("folder.off", lambda path: path.mkdir()),
    ("page.pcd", lambda path: path.write_text("<html>404</html>")),
    ("lost.xyz", lambda path: path.symlink_to("nowhere.xyz")),
    ("pickle.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True)),
    ("flat.txt", lambda path: np.savetxt(path, np.ones((40, 2)))),
    ("one.csv", lambda path: path.write_text("1,2,3\n")),
    ("torn.h5", lambda path: (cloud_formats.hdf5(path, data=points(0)), _cut(path, 0.5))),
)
GOOD_PICTURES: tuple[tuple[str, Callable[[Path, int], object]], ...] = (
    ("png", lambda path, k: picture_files.save(path, picture_files.picture(k, k % 7))),
    ("jpg", lambda path, k: picture_files.save(path, picture_files.picture(k, k % 7, 48))),
    (
        "tif",
        lambda path, k: picture_files.geotiff(
            path, picture_files.picture(k, k % 7).transpose(2, 0, 1), crs=picture_files.UTM, pixel=0.5
        ),
    ),
    ("webp", lambda path, k: picture_files.save(path, picture_files.picture(k, k % 7))),
    ("bmp", lambda path, k: picture_files.save(path, picture_files.picture(k, k % 7))),
)
BAD_PICTURES: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("cut.jpg", lambda path: (picture_files.save(path, picture_files.picture(0, 0, 64)), _cut(path, 0.5))),
    ("empty.png", lambda path: path.write_bytes(b"")),
    ("bomb.png", lambda path: path.write_bytes(_png_header(60_000, 60_000))),
    ("folder.tif", lambda path: path.mkdir()),
    ("page.jpeg", lambda path: path.write_text("<html>404</html>")),
    ("lost.webp", lambda path: path.symlink_to("nowhere.webp")),
    ("flat.png", lambda path: path.write_bytes(_png_header(0, 0))),
    ("cut.tif", lambda path: (picture_files.geotiff(path, np.ones((3, 64, 64), np.uint8)), _cut(path, 0.3))),
    ("cut.gif", lambda path: path.write_bytes(b"GIF89a\1\0")),
    (
        "far.tif",
        lambda path: picture_files.geotiff(
            path, np.ones((3, 8, 8), np.uint8), crs=picture_files.UTM, pixel=90_000.0, at=(0, 0)
        ),
    ),
)
GOOD_CLIPS: tuple[tuple[str, Callable[[Path, int], object]], ...] = (
    ("mp4", lambda path, k: write_clip(path, seed=k)),
    ("mkv", lambda path, k: write_clip(path, seed=k, channels=2)),
)
BAD_CLIPS: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("cut.mp4", lambda path: (write_clip(path), _cut(path, 0.5))),
    ("mute.mkv", lambda path: write_clip(path, sound=False)),
    ("alone.wav", lambda path: path.write_bytes(b"RIFF")),
    ("empty.avi", lambda path: path.write_bytes(b"")),
)
KINDS = {
    "clouds": (GOOD_CLOUDS, BAD_CLOUDS),
    "pictures": (GOOD_PICTURES, BAD_PICTURES),
    "clips": (GOOD_CLIPS, BAD_CLIPS),
}


def folder(root: Path, kind: str, files: int, bad: int) -> list[str]:
    """Write so many files, bad ones spread among them, below `root`; the names of the bad ones, sorted.

    Good files lie in two folders, and beside them what is no input.
    """
    good, spoiled = KINDS[kind]
    for part in ("a", "b/deep"):
        (root / part).mkdir(parents=True)
    for k in range(files - bad):
        suffix, write = good[k % len(good)]
        write(root / ("a" if k % 2 else "b/deep") / f"{k:04d}.{suffix}", k)
    for k in range(bad):
        name, write = spoiled[k]
        write(root / ("a" if k % 2 else "b/deep") / f"{k * files // bad:04d}_{name}")
    (root / "notes.md").write_text("no input")
    (root / ".hidden.npy").write_text("no input either")
    return sorted(str(path) for path in root.rglob("*_*"))
