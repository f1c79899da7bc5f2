"""Clouds in every format are read to the same points; what is damaged is refused by name, wherever it is cut."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloud_formats
import numpy as np
import pytest
from cloud_writers import POINTS, WRITERS

from data_modules.errors import DataError
from data_modules.readers.point_files import DRAWN, clouds_in, read_points
from data_modules.synthetic_shapes import SyntheticShapes

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
QUADS = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4]]
MIXED = [*QUADS, [1, 5, 7], [1, 7, 3]]
"""A cube of five quadrilaterals and two triangles."""


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_points(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    values, notes = read_points(tmp_path / name)
    assert notes == []
    np.testing.assert_array_equal(values[:, :3], POINTS)


@pytest.mark.parametrize(
    "name", [*(f"{form}.ply" for form in cloud_formats.PLY), *(f"{f}.pcd" for f in cloud_formats.PCD)]
)
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    # The last digits of a text may be missed by nobody.
    for kept in range(1, len(content) - (8 if name.startswith("ascii") else 1), 7):
        (tmp_path / f"cut {name}").write_bytes(content[:kept])
        with pytest.raises(DataError, match=rf"cut {name} cannot be read as"):
            read_points(tmp_path / f"cut {name}")


@pytest.mark.parametrize("name", [name for name in WRITERS if name.endswith((".ply", ".pcd", ".off", ".npz", ".h5"))])
def test_a_changed_byte_gives_points_or_an_error_of_ours(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    content, rng = (tmp_path / name).read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(content)
        broken[rng.integers(min(400, len(broken)))] = rng.integers(256)
        (tmp_path / name).write_bytes(broken)
        with contextlib.suppress(DataError):
            assert read_points(tmp_path / name)[0].ndim in (1, 2)


def test_compressed_points_are_what_the_library_that_defines_them_packs() -> None:
    """Its bytes, from liblzf by way of h5py, hold references of every length that ours do not."""
    import h5py

    from data_modules.readers.pcd import inflated

    plain = np.tile(np.random.default_rng(1).integers(0, 9, 700, dtype=np.uint8), 5)
    with h5py.File("x", "w", driver="core", backing_store=False) as file:
        chunk = file.create_dataset("x", data=plain, chunks=plain.shape, compression="lzf")
        mask, packed = chunk.id.read_direct_chunk((0,))
    assert mask == 0
    assert len(packed) < len(plain) / 2
    assert inflated(packed, len(plain)) == plain.tobytes()
    assert inflated(cloud_formats.lzf(plain.tobytes()), len(plain)) == plain.tobytes()


def test_points_that_are_called_compressed_but_left_as_they_are_are_read(tmp_path: Path) -> None:
    """As pypcd4 leaves what LZF makes no smaller."""
    columns = POINTS.astype("<f4").T.tobytes()
    header = "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nPOINTS 60\nDATA binary_compressed\n"
    (tmp_path / "scan.pcd").write_bytes(header.encode() + np.array([len(columns)] * 2, "<u4").tobytes() + columns)
    np.testing.assert_array_equal(read_points(tmp_path / "scan.pcd")[0], POINTS)


@pytest.mark.parametrize(
    "name", ["ascii.ply", "binary_little_endian.ply", "binary_big_endian.ply", "a.off", "joined.off"]
)
def test_a_mesh_is_drawn_from_evenly_by_area_and_the_same_every_time(tmp_path: Path, name: str) -> None:
    stretched = CUBE * [1, 1, 3]
    if name.endswith(".ply"):
        cloud_formats.ply(tmp_path / name, stretched, form=name.removesuffix(".ply"), faces=MIXED)
    else:
        cloud_formats.off(tmp_path / name, stretched, MIXED, first="OFF" if name == "joined.off" else "# a\nCOFF\n")
    points, notes = read_points(tmp_path / name)
    assert notes == ["a mesh: 10,000 points are drawn from its surface"]
    assert points.shape == (DRAWN, 3)
    np.testing.assert_array_equal(points, read_points(tmp_path / name)[0])
    on = [np.isclose(points[:, axis], side) for axis, sides in enumerate(((0, 1), (0, 1), (0, 3))) for side in sides]
    assert np.any(on, axis=0).all()
    # Four sides of 3 x 1 and two of 1 x 1.
    np.testing.assert_allclose([side.mean() for side in on], [3 / 14] * 4 + [1 / 14] * 2, atol=0.012)
    # Within a side too: each of its quarters has a quarter of its points.
    side = points[on[0]]
    np.testing.assert_allclose(((side[:, 1] < 0.5) & (side[:, 2] < 1.5)).mean(), 0.25, atol=0.03)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "face.off": (lambda p: cloud_formats.off(p, CUBE, [[0, 1, 8]]), "a face names vertex 8 or 0 of 8"),
    "flat.off": (lambda p: cloud_formats.off(p, CUBE, [[0, 1, 1]]), "its faces have no area"),
    "few.off": (lambda p: p.write_text("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"), "it ends early: 4 lines"),
    "page.ply": (lambda p: p.write_text("<!DOCTYPE html>"), "it has no PLY header"),
    "flat.ply": (
        lambda p: p.write_text("ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n"),
        "its vertices have no y, z",
    ),
    "words.ply": (
        lambda p: p.write_text("ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\none\n"),
        "cannot be read as ply: it is damaged",
    ),
    "empty.ply": (lambda p: p.write_bytes(b""), "is empty"),
    "other.pcd": (lambda p: p.write_text("hello\n"), "its header has no FIELDS"),
    "two.csv": (lambda p: p.write_text("1,2\n3,4\n"), r"has shape \[2, 2\]"),
    "ragged.txt": (lambda p: p.write_text("1 2 3\n4 5\n"), "cannot be read as txt"),
    "nan.npy": (lambda p: np.save(p, np.full((9, 3), np.nan)), "9 of 9 points are NaN"),
    "objects.npy": (lambda p: np.save(p, np.array([None, 1]), allow_pickle=True), "cannot be read as npy"),
    "two.npz": (lambda p: np.savez(p, a=POINTS, b=POINTS), r"holds a \[60, 3\], b \[60, 3\]; expected one array"),
    "none.h5": (lambda p: cloud_formats.hdf5(p, label=np.arange(3)), r"holds label \[3\]; expected one array"),
    "torn.h5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)), "cannot be read as h5"),
    "folder.ply": (lambda p: p.mkdir(), "is a folder; expected a file"),
    "lost.pcd": (lambda p: p.symlink_to("/nowhere/at/all"), "does not exist"),
    "stack.npy": (lambda p: np.save(p, np.stack([POINTS] * 3)), r"holds 3 clouds; .*#0 is the first, .*#2 the last"),
    "scan.las": (lambda p: p.write_bytes(b"LASF"), "cannot be read as las: it is damaged"),
    "scan.e57": (lambda p: p.write_bytes(b"ASTM-E57"), r"\.e57 files cannot be read here; save it as \.laz, \.ply or"),
    "scan.ptx": (lambda p: p.write_text("2\n2\n"), r"\.ptx files cannot be read here; save it as \.laz"),
    "thing.gltf": (lambda p: p.write_text("{}"), r"\.gltf files cannot be read here; save it as \.glb, \.obj"),
    "scan.docx": (lambda p: p.write_text("x"), r"expected a cloud as \.txt, .*\.laz, \.bin"),
    "grid.asc": (lambda p: p.write_text("ncols 4\nnrows 2\n1 2 3 4\n"), "a raster in ESRI's text format"),
    "lines.txt": (
        lambda p: p.write_text("1 2 3\n4 5 6\n7 8\n"),
        r"line 3 \('7 8'\) has 2 numbers; the lines before it",
    ),
    "words.txt": (lambda p: p.write_text("1 2 3\n4 five 6\n"), r"line 2 \('4 five 6'\) is no row of numbers"),
    "counted.xyz": (lambda p: p.write_text("3\n1 2 3\n4 5 6\n"), "a line says 3 points, 2 lines follow"),
    "binary.xyz": (lambda p: p.write_bytes(bytes(range(128, 256)) * 9), "it is no text"),
    "model.bin": (lambda p: p.write_bytes(np.full(800, 1e9, "<f4").tobytes()), "it is no table of 32-bit numbers"),
    "odd.bin": (lambda p: p.write_bytes(bytes(17)), "it is no table of 32-bit numbers"),
    "page.obj": (lambda p: p.write_text("<!DOCTYPE html>"), "it holds no vertex"),
    "few.obj": (lambda p: p.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"), "cannot be read as obj"),
    "empty.glb": (lambda p: p.write_bytes(b""), "is empty"),
    "words.xyz": (lambda p: p.write_text("abc"), "no row of numbers"),
    "blank.txt": (lambda p: p.write_text(" \n\n"), "no row of numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_cloud_is_named_with_the_reason(tmp_path: Path, name: str) -> None:
    write, reason = WRONG[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=rf"(?s){name}.*{reason}"):
        SyntheticShapes(points=32).read(tmp_path / name, {})


def test_a_stack_is_as_many_clouds(tmp_path: Path) -> None:
    stack = np.stack([POINTS + k for k in range(3)])
    np.save(tmp_path / "a.npy", stack)
    np.savez(tmp_path / "a.npz", data=stack)
    cloud_formats.hdf5(tmp_path / "a.h5", data=stack, label=np.arange(3))
    for file in ("a.npy", "a.npz", "a.h5"):
        parts = clouds_in(tmp_path / file)
        assert [part.name for part in parts] == [f"{file}#{k}" for k in range(3)]
        for k, part in enumerate(parts):
            np.testing.assert_array_equal(read_points(part)[0], stack[k])
    with pytest.raises(DataError, match=r"a\.npy holds 3 clouds"):
        read_points(tmp_path / "a.npy#3")
    np.save(tmp_path / "flat.npy", POINTS)
    assert clouds_in(tmp_path / "flat.npy") == [tmp_path / "flat.npy"]
    (tmp_path / "torn.npy").write_bytes(b"\x93NUMPY")
    assert clouds_in(tmp_path / "torn.npy") == [tmp_path / "torn.npy"]


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).normal(size=(60, 500, 3)).astype(np.float32)
    cloud_formats.hdf5(tmp_path / "stack.h5", data=stack)
    np.save(tmp_path / "stack.npy", stack)
    paths = [part for name in ("stack.h5", "stack.npy") for part in clouds_in(tmp_path / name)]
    for k, cloud in enumerate(stack):
        paths.append(cloud_formats.pcd(tmp_path / f"{k}.pcd", cloud, form="binary_compressed"))
    with ThreadPoolExecutor(8) as pool:
        found = [values for values, _ in pool.map(read_points, paths)]
    np.testing.assert_array_equal(np.stack(found), np.concatenate([stack] * 3))


def test_what_a_sensor_did_not_measure_is_left_out_and_told(tmp_path: Path) -> None:
    holes = POINTS.copy()
    holes[::4] = np.nan
    cloud_formats.pcd(tmp_path / "scan.pcd", holes, form="binary")
    values, notes = read_points(tmp_path / "scan.pcd")
    assert notes == ["15 points without coordinates are left out"]
    np.testing.assert_array_equal(values, POINTS[np.arange(60) % 4 > 0])


def test_a_very_large_cloud_is_thinned_out_the_same_way_every_time(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(150_000, 3))
    np.save(tmp_path / "large.npy", points)
    data = SyntheticShapes(points=32)
    one, notes = data.read(tmp_path / "large.npy", {})
    assert notes == ["of more than 100,000 points a random 100,000 are used"]
    np.testing.assert_array_equal(one.points, data.read(tmp_path / "large.npy", {})[0].points)
