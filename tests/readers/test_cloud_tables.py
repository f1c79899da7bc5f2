"""Clouds as text and meshes as OBJ, as programs and people write them: the points are known by how they are written."""

from pathlib import Path

import numpy as np
import pytest

from data_modules.errors import DataError
from data_modules.readers.mesh_files import read_obj
from data_modules.readers.point_files import read_points

POINTS = np.round(np.random.default_rng(3).uniform(-50, 50, (40, 3)), 3)
COMMAS = "commas are read as decimal points"


def lines(between: str, decimals: str = ".", end: str = "") -> str:
    return "".join(between.join(f"{v:.3f}".replace(".", decimals) for v in p) + end + "\n" for p in POINTS)


numbered = "".join(f"{k},{x},{y},{z}\n" for k, (x, y, z) in enumerate(POINTS.tolist()))
TABLES = {
    "european.csv": ("x;y;z\n" + lines(";", ","), [COMMAS]),
    "european.txt": (lines(" ", ","), [COMMAS]),
    "tabs.txt": (lines("\t", ","), [COMMAS]),
    "counted.pts": (f"{len(POINTS)}\n" + lines(" ", ","), [COMMAS]),
    "ends.csv": ("x,y,z,\n" + lines(",", end=","), []),
    "quoted.csv": ('"x","y","z"\n' + '"' + lines('","').replace("\n", '"\n"').removesuffix('"'), []),
    "comments.csv": ("# made by X 3.2\n# x,y,z\n" + lines(","), []),
    "compare.txt": (f"//X Y Z\n{len(POINTS)}\n" + lines(" "), []),
    "units.csv": ("id,Easting [m],Northing [m],Height (m)\n" + numbered, []),
    "degrees.csv": ("lon,lat,alt\n" + lines(","), ["columns called lon, lat, alt are taken for x, y and z"]),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", TABLES)
def test_tables_as_programs_write_them_give_the_points_that_were_written(
    tmp_path: Path, name: str, encoding: str
) -> None:
    text, notes = TABLES[name]
    for ends in ("\n", "\r\n"):
        (tmp_path / name).write_bytes(text.replace("\n", ends).encode(encoding))
        values, said = read_points(tmp_path / name)
        np.testing.assert_array_equal(values[:, :3], POINTS)
        assert said == notes


REFUSED = {
    "commas.csv": ("x,y,z\n" + lines(",", ","), r"line of names has 3 columns, its rows have 6 numbers"),
    "class.csv": ("x,y,z,class\n1,2,3,car\n", r"line 2 \('1,2,3,car'\) is no row of numbers; expected numbers alone"),
    "thousands.xyz": ("1,000.5 2 3\n4 5 6\n", "no table of numbers|is no row|numbers; the lines"),
    "empty.pcd": ("VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 0\nDATA ascii\n", "it holds no point"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path: Path, name: str) -> None:
    text, reason = REFUSED[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name} cannot be read as .*({reason})"):
        read_points(tmp_path / name)


def test_numpy_tables_of_named_columns_are_read_and_objects_are_not(tmp_path: Path) -> None:
    table = np.zeros(len(POINTS), [("i", "u1"), ("z", "f8"), ("x", "f8"), ("y", "f8")])
    for k, axis in enumerate("xyz"):
        table[axis] = POINTS[:, k]
    np.save(tmp_path / "named.npy", table)
    np.testing.assert_array_equal(read_points(tmp_path / "named.npy")[0], POINTS)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects\.npy .* holds Python objects, which are not loaded; save an array"):
        read_points(tmp_path / "objects.npy")


CORNERS = [(x, y, z) for x in (0, 2) for y in (0, 3) for z in (0, 5)]
SIDES = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]


def vertices(numbers: list[int]) -> str:
    return "".join("v {} {} {}\n".format(*CORNERS[k]) for k in numbers)


OBJ = {
    "absolute": vertices(list(range(8))) + "".join(f"f {' '.join(str(k + 1) for k in s)}\n" for s in SIDES),
    "from the end": vertices(list(range(8))) + "".join(f"f {' '.join(str(k - 8) for k in s)}\n" for s in SIDES),
    # As the format has it: counted from the line that names them.
    "from here": "".join(vertices(side) + "f -4 -3 -2 -1\n" for side in SIDES),
    "with normals": "\ufeffmtllib no.mtl\n"
    + vertices(list(range(8)))
    + "vt 0 0\nvn 0 0 1\n"
    + "".join("f " + " \\\n".join(f"{k + 1}/1/1" for k in s) + " # side\n" for s in SIDES),
}


@pytest.mark.parametrize("name", OBJ)
def test_faces_of_an_obj_are_the_sides_that_were_written(tmp_path: Path, name: str) -> None:
    """A box of 2 x 3 x 5 has a surface of 62 and, its sides facing outwards, a volume of 30."""
    (tmp_path / "a.obj").write_text(OBJ[name], encoding="utf-8")
    points, triangles = read_obj(tmp_path / "a.obj")
    corners = points[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(across, axis=1).sum() / 2 == pytest.approx(62)
    volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert abs(volume) == pytest.approx(30)


@pytest.mark.parametrize(
    ("line", "reason"),
    [("v 1 2", r"line 9 \('v 1 2'\) is no vertex or face"), ("f 1 2 9", "names vertex 8"), ("f 0 1 2", "or -1 of 8")],
)
def test_a_line_of_an_obj_that_is_wrong_is_named(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.obj").write_text(vertices(list(range(8))) + line + "\n")
    with pytest.raises(DataError, match=rf"a\.obj cannot be read as obj: .*{reason}"):
        read_points(tmp_path / "a.obj")


def test_what_programs_put_around_an_stl_changes_nothing(tmp_path: Path) -> None:
    import trimesh

    box = trimesh.creation.box((2, 3, 5))
    plain = box.export(file_type="stl")
    text = box.export(file_type="stl_ascii")
    contents = {
        "plain": plain,
        "solid": b"solid by a program".ljust(80) + plain[80:],
        "longer": plain + b"colours",
        "text": text.encode(),
        "marked": text.encode("utf-8-sig"),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.stl").write_bytes(content)
        values, _ = read_points(tmp_path / f"{name}.stl")
        assert np.ptp(values, axis=0) == pytest.approx([2, 3, 5], abs=0.01)
        on = np.isclose(np.abs(values), [1, 1.5, 2.5], atol=1e-6).any(1)
        assert on.all()
