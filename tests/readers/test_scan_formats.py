"""Laser scans, meshes of designers and text with a count on top: read to what was written, as others write it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import cloud_formats
import laspy
import numpy as np
import pytest
import trimesh

from data_modules.dales_objects import DalesObjects
from data_modules.errors import DataError
from data_modules.folder_clouds import CloudFolder
from data_modules.readers.point_files import DRAWN, clouds_in, read_points
from data_modules.synthetic_shapes import SyntheticShapes
from zoo.recipe import own_data

POINTS = np.random.default_rng(0).normal(size=(60, 3)).round(3)
UTM = np.array([500_000.0, 5_400_000.0, 100.0])


def las(path: Path, points: np.ndarray = POINTS) -> Path:
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.offsets, header.scales = UTM, [0.001] * 3
    file = laspy.LasData(header)
    file.x, file.y, file.z = (points + UTM).T
    file.write(str(path))
    return path


def text(path: Path, *, head: str = "", columns: np.ndarray | None = None) -> None:
    rows = POINTS if columns is None else np.hstack([POINTS, columns])
    path.write_text(head + "\n".join(" ".join(f"{value:g}" for value in row) for row in rows) + "\n")


def driving(path: Path, further: int) -> None:
    rng = np.random.default_rng(1)
    columns = [rng.random((60, 1)), rng.integers(0, 32, (60, 1))][:further]
    np.hstack([POINTS, *columns]).astype("<f4").tofile(path)


COLOURS = np.random.default_rng(2).integers(0, 255, (60, 4))
WRITERS: dict[str, Callable[[Path], object]] = {
    "scan.pts": lambda p: text(p, head="60\n", columns=COLOURS),
    "two.pts": lambda p: p.write_text(
        "".join(f"30\n{chr(10).join(' '.join(map(str, row)) for row in half)}\n" for half in (POINTS[:30], POINTS[30:]))
    ),
    "scan.asc": lambda p: text(p),
    "counted.xyz": lambda p: text(p, head="60\n"),
    "counted.txt": lambda p: text(p, head="60\r\n"),
    "000000.bin": lambda p: driving(p, 1),
    "n015.pcd.bin": lambda p: driving(p, 2),
    "points.obj": lambda p: p.write_text("".join(f"v {x} {y} {z}\n" for x, y, z in POINTS)),
    "points.glb": lambda p: trimesh.Scene(trimesh.PointCloud(POINTS)).export(str(p)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_points_are_those_that_were_written(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    values, notes = read_points(tmp_path / name)
    assert notes == []
    np.testing.assert_allclose(values[:, :3], POINTS, atol=1e-6)
    assert clouds_in(tmp_path / name) == [tmp_path / name]


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_map_coordinates_of_a_scan_keep_their_millimetres(tmp_path: Path, suffix: str) -> None:
    values, notes = read_points(las(tmp_path / f"scan.{suffix}"))
    assert notes == []
    np.testing.assert_allclose(values - UTM, POINTS, atol=1e-6)


@pytest.mark.parametrize("suffix", ["las", "laz"])
def test_a_scan_cut_anywhere_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    content = las(tmp_path / f"scan.{suffix}").read_bytes()
    # Of records of 30 bytes: also where one ends.
    for kept in [*range(0, len(content) - 1, 97), len(content) - 30, len(content) - 60]:
        (tmp_path / f"cut.{suffix}").write_bytes(content[:kept])
        with pytest.raises(DataError, match=rf"cut\.{suffix} (cannot be read as {suffix}: it|is empty)"):
            read_points(tmp_path / f"cut.{suffix}")


def test_a_changed_byte_of_a_scan_gives_points_or_an_error_of_ours(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for suffix in ("las", "laz"):
        content = las(tmp_path / f"scan.{suffix}").read_bytes()
        for _ in range(30):
            broken = bytearray(content)
            broken[rng.integers(len(content))] = rng.integers(256)
            (tmp_path / f"scan.{suffix}").write_bytes(broken)
            with contextlib.suppress(DataError):
                assert read_points(tmp_path / f"scan.{suffix}")[0].ndim == 2


@pytest.mark.parametrize("name", ["box.obj", "box.stl", "box.glb", "ascii.stl"])
def test_a_mesh_is_drawn_from_with_every_part_in_its_place(tmp_path: Path, name: str) -> None:
    """A box of 1 x 1 x 3, which areas of sides are known of, and a second one five along x where parts are kept."""
    box = trimesh.creation.box((1, 1, 3))
    scene = trimesh.Scene(box)
    if name.endswith("glb"):
        scene.add_geometry(box, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
        scene.export(str(tmp_path / name))
    else:
        box.export(str(tmp_path / name), file_type="stl_ascii" if name.startswith("ascii") else None)
    points, notes = read_points(tmp_path / name)
    assert notes == [f"a mesh: {DRAWN:,} points are drawn from its surface"]
    np.testing.assert_allclose(np.ptp(points, axis=0), [6 if name.endswith("glb") else 1, 1, 3], atol=1e-6)
    assert np.isclose(np.abs(points[:, 2]), 1.5).mean() == pytest.approx(2 / 14, abs=0.012)
    content = (tmp_path / name).read_bytes()
    if not name.endswith("obj"):  # whose text may end anywhere
        for kept in range(0, len(content) - 12, 83):
            (tmp_path / name).write_bytes(content[:kept])
            with pytest.raises(DataError, match=r"cannot be read as|is empty"):
                read_points(tmp_path / name)


def test_nothing_beside_a_mesh_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.mtl").write_text("newmtl a\nmap_Kd secret.png\n")
    path = tmp_path / "thing.obj"
    path.write_text("mtllib secret.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    opened = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or real(self, *a, **k))
    assert len(read_points(path)[0]) == DRAWN
    assert "secret.mtl" not in opened


def test_zeros_that_were_not_measured_are_left_out_and_told(tmp_path: Path) -> None:
    holes = np.concatenate([POINTS + 5, np.zeros((30, 3))])
    for name, write in (
        ("scan.pcd", lambda p: cloud_formats.pcd(p, holes, form="binary")),
        ("scan.npy", lambda p: np.save(p, holes)),
    ):
        write(tmp_path / name)
        values, notes = read_points(tmp_path / name)
        assert notes == ["30 points at 0 0 0, which were not measured, are left out"]
        assert len(values) == 60
    # A vertex at the origin is a point like others, also where all are stored twice.
    for times in (1, 2):
        vertex = np.repeat(np.concatenate([POINTS, np.zeros((1, 3))]), times, axis=0)
        np.save(tmp_path / "thing.npy", vertex)
        assert len(read_points(tmp_path / "thing.npy")[0]) == 61 * times
        assert read_points(tmp_path / "thing.npy")[1] == []


def test_map_coordinates_in_32_bits_are_told_of(tmp_path: Path) -> None:
    far = POINTS + UTM
    np.save(tmp_path / "single.npy", far.astype(np.float32))
    np.save(tmp_path / "double.npy", far)
    np.save(tmp_path / "near.npy", POINTS.astype(np.float32))
    (note,) = read_points(tmp_path / "single.npy")[1]
    # IEEE 754: singles between 2**22 and 2**23 are half a metre apart.
    assert note.startswith("coordinates up to 5,400,00")
    assert "in 32-bit numbers are exact to 0.5 only" in note
    assert "store them as doubles" in note
    assert read_points(tmp_path / "double.npy")[1] == read_points(tmp_path / "near.npy")[1] == []


def test_a_format_that_says_what_is_up_is_turned_and_up_says_it_of_others(tmp_path: Path) -> None:
    """A mast along the up axis: z in the scan, as its format has it."""
    mast = (np.random.default_rng(0).random((41, 3)) * [1, 2, 9]).round(3)
    las(tmp_path / "mast.laz", mast)
    np.save(tmp_path / "mast.npy", mast)
    y_up, z_up = SyntheticShapes(points=41), DalesObjects(root="/nowhere", points=41)
    scan, (note,) = y_up.read(tmp_path / "mast.laz", {})
    assert note.startswith("z points up in .laz files, y in the data of this adapter: the cloud is turned")
    assert np.ptp(scan.points, axis=0).argmax() == 1
    assert z_up.read(tmp_path / "mast.laz", {})[1] == []
    assert np.ptp(z_up.read(tmp_path / "mast.laz", {})[0].points, axis=0).argmax() == 2
    # Nothing is known of arrays but what is told.
    as_is, notes = y_up.read(tmp_path / "mast.npy", {})
    assert (np.ptp(as_is.points, axis=0).argmax(), notes) == (2, [])
    settings = {"up": "z"}
    told, notes = y_up.read(tmp_path / "mast.npy", settings)
    assert (settings, notes) == ({}, [])
    np.testing.assert_allclose(told.points, scan.points, atol=1e-5)
    # A turn, not a mirror image: z x y of the file are y z x of the adapter.
    np.testing.assert_allclose(sorted(told.points[:, 2]), sorted(as_is.points[:, 0]), atol=1e-6)
    np.testing.assert_allclose(sorted(told.points[:, 0]), sorted(as_is.points[:, 1]), atol=1e-6)
    with pytest.raises(DataError, match="up=w: expected the axis that points up in the file, one of x, y, z"):
        y_up.require({"up": "w"})


def test_a_folder_to_train_on_is_read_as_a_file_to_predict_is(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(5):
            (tmp_path / label).mkdir(exist_ok=True)
            las(tmp_path / label / f"{number}.laz", np.random.default_rng([number, ord(label)]).normal(size=(40, 3)))
    data = CloudFolder(root=str(tmp_path), points=32, up="y")
    data.setup()
    for index in range(len(data.sets["train"])):
        stored = data.sets["train"][index]
        path = tmp_path / stored.id
        np.testing.assert_array_equal(data.read(path, {})[0].points, stored.points)


def test_own_files_in_place_of_a_benchmark_keep_its_up_axis() -> None:
    """DALES is z up; a folder's own default is y."""
    config = {"data": {"_target_": "data_modules.dales_objects.DalesObjects", "root": "DIR", "points": 512}}
    problems: list[str] = []
    own = own_data.substitute(config, problems)["data"]
    assert (own["_target_"], own["up"], own["points"], problems) == (CloudFolder.own_files, "z", 512, [])
    told = own_data.substitute({"data": {"_target_": CloudFolder.own_files, "root": "DIR", "up": "x"}}, problems)
    assert told["data"]["up"] == "x"
