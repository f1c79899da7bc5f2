"""What is wrong with a copy of a benchmark is one clear error; pickles are never opened."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloud_files
import numpy as np
import pytest
from cloud_files import LAYOUTS, fold_of, ready

from data_modules.errors import DataError
from data_modules.readers import point_files

BG = "main_split/training_objectdataset.h5"
FOLD = "5way_10shot/0.npz"


def hdf5(path: str, **arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda root: cloud_files.write_hdf5(root / path, **arrays)


def change(path: str, key: str, how: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda root: cloud_files.change_hdf5(root / path, key, how)


def text(path: str, content: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text(content) and None


def more(path: str, line: str) -> Callable[[Path], None]:
    return lambda root: (root / path).open("a").write(line + "\n") and None


def cut(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:700]) and None


def gone(*paths: str) -> Callable[[Path], None]:
    return lambda root: [(root / path).unlink() for path in paths] and None


def fold(**changes: np.ndarray) -> Callable[[Path], None]:
    return lambda root: cloud_files.fewshot(root, **changes) and None


def objects(**changes: np.ndarray) -> Callable[[Path], None]:
    return lambda root: cloud_files.dales(root, **changes) and None


def part_entry(entry: object) -> Callable[[Path], None]:
    return text("train_test_split/shuffled_val_file_list.json", json.dumps([entry]))


MUG = cloud_files.SYNSETS["Mug"]
CLOUD = np.ones((3, 64, 3), np.float32)
WRONG: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "hdf5 missing": (
        "bg",
        gone(BG),
        r"training_objectdataset\.h5 does not exist\. ScanObjectNN is distributed by HKUST",
    ),
    "hdf5 keys": (
        "bg",
        hdf5(BG, points=CLOUD, label=np.zeros(3, int)),
        r"training_objectdataset\.h5 holds the keys label, points; expected data, label\. ScanObjectNN is dist",
    ),
    "hdf5 cut short": ("bg", cut(BG), r"training_objectdataset\.h5 cannot be read, so it is damaged or cut short"),
    "hdf5 of text": ("bg", text(BG, "version https://git-lfs"), r"objectdataset\.h5 cannot be read, so it is damaged"),
    "hdf5 shape": (
        "bg",
        hdf5(BG, data=CLOUD[..., :2], label=np.zeros(3, int)),
        r"clouds of shape \[3, 64, 2\] and type float32; expected numbers \[clouds, points, 3\]",
    ),
    "hdf5 on its side": ("bg", hdf5(BG, data=CLOUD.swapaxes(1, 2), label=np.zeros(3, int)), r"shape \[3, 3, 64\]"),
    "hdf5 group for data": ("bg", hdf5(BG, **{"data/x": CLOUD, "label": np.zeros(3, int)}), r"clouds of shape \[1\]"),
    "hdf5 other number of labels": (
        "bg",
        hdf5(BG, data=CLOUD, label=np.zeros(4, int)),
        r"labels of shape \[4\] and type int64 beside 3 clouds; expected one whole number a cloud",
    ),
    "hdf5 label beyond": (
        "bg",
        change(BG, "label", lambda label: np.where(np.arange(60) == 41, 15, label)),
        r"training_objectdataset\.h5, row 41: label 15 is none of 0 to 14",
    ),
    "hdf5 label below": (
        "bg",
        change(BG, "label", lambda label: np.where(np.arange(60) == 2, -1, label)),
        r"row 2: label -1 is none of 0 to 14",
    ),
    "hdf5 label between": (
        "bg",
        change(BG, "label", lambda label: np.where(np.arange(60) == 2, 0.5, label)),
        r"row 2: label 0\.5 is none of 0 to 14",
    ),
    "another variant": (
        "hardest",
        gone("main_split/test_objectdataset_augmentedrot_scale75.h5"),
        r"scale75\.h5 does not",
    ),
    "modelnet file missing": (
        "modelnet",
        gone("bed/bed_0001.txt", "tv_stand/tv_stand_0003.txt"),
        r"modelnet40_train\.txt: 2 of 20 files are missing, e\.g\. .*bed_0001\.txt, .*tv_stand_0003\.txt\. Model",
    ),
    "modelnet list missing": (
        "modelnet",
        gone("modelnet40_test.txt"),
        r"modelnet40_test\.txt does not exist\. ModelNet40",
    ),
    "modelnet names missing": ("modelnet", gone("modelnet40_shape_names.txt"), r"shape_names\.txt does not exist"),
    "modelnet class": (
        "modelnet",
        more("modelnet40_test.txt", "night_0001"),
        r"modelnet40_test\.txt, line 11: 'night_0001' is of none of the classes of .*shape_names\.txt",
    ),
    "modelnet leak": (
        "modelnet",
        more("modelnet40_test.txt", "bed_0000"),
        "bed_0000 is listed in train and again in test",
    ),
    "modelnet list is no text": (
        "modelnet",
        lambda root: (root / "modelnet40_train.txt").write_bytes(b"\xff\xfe\x00") and None,
        r"modelnet40_train\.txt is no text",
    ),
    "modelnet hdf5 label": (
        "modelnet_hdf5",
        hdf5("ply_data_train1.h5", data=CLOUD, label=np.array([[0], [40], [1]])),
        r"ply_data_train1\.h5, row 1: label 40 is none of 0 to 39",
    ),
    "modelnet hdf5 sizes": (
        "modelnet_hdf5",
        hdf5("ply_data_train1.h5", data=CLOUD[:, :60], label=np.zeros((3, 1), int)),
        r"clouds of train have \[60, 64\] points by file",
    ),
    "modelnet hdf5 without test": ("modelnet_hdf5", gone("ply_data_test0.h5"), r"holds no ply_data_test\*\.h5"),
    "no fold": ("fewshot", gone(FOLD), r"holds neither 5way_10shot/0\.npz nor ModelNet40\. The field's folds are dist"),
    "fold cut short": ("fewshot", cut(FOLD), r"0\.npz cannot be read, so it is damaged or cut short"),
    "fold is an npy": (
        "fewshot",
        lambda root: np.save((root / FOLD).open("wb"), CLOUD),
        r"0\.npz cannot be read, .*one array without a key",
    ),
    "fold keys": (
        "fewshot",
        lambda root: np.savez(root / FOLD, train=CLOUD),
        r"0\.npz holds the keys train; expected train_points, train_labels, test_points, test_labels",
    ),
    "fold label": (
        "fewshot",
        fold(test_labels=np.arange(20)),
        r"0\.npz, test, row 5: label 5 is none of 0 to 4",
    ),
    "fold shape": ("fewshot", fold(test_points=CLOUD[0]), r"0\.npz, test: clouds of shape \[64, 3\]"),
    "fold shots": (
        "fewshot",
        fold(train_points=np.repeat(CLOUD, 15, 0), train_labels=np.arange(45) % 5),
        r"0\.npz: class 0 has 9 training clouds; expected 10",
    ),
    "fold names": (
        "fewshot",
        fold(classes=np.array(["a", "b"])),
        r"0\.npz: classes of shape \[2\].*; expected 5 names",
    ),
    "part of another category": (
        "part",
        lambda root: part_label(root, 3, 38),
        rf"{MUG}/a1\.txt, row 3: part 38 is none of Mug's, which are 36 to 37",
    ),
    "part beyond 49": ("part", lambda root: part_label(root, 5, 50), r"row 5: part 50 is none of Mug's"),
    "part between": ("part", lambda root: part_label(root, 0, 36.5), r"row 0: part 36\.5 is none of Mug's"),
    "part NaN": ("part", lambda root: part_label(root, 0, np.nan), r"row 0: part nan is none of Mug's"),
    "part columns": (
        "part",
        text(f"{MUG}/a1.txt", "1 2 3 36\n2 3 4 36\n"),
        r"a1\.txt has shape \[2, 4\]; expected lines of x y z nx ny nz part",
    ),
    "part file missing": (
        "part",
        gone(f"{MUG}/c1.txt"),
        rf"test_file_list\.json: 1 of 16 files are missing, e\.g\. .*{MUG}",
    ),
    "part synset": (
        "part",
        part_entry("shape_data/1/b1"),
        r"val_file_list\.json, entry 0: 'shape_data/1/b1'; expected",
    ),
    "part entry": ("part", part_entry(7), r"val_file_list\.json, entry 0: 7; expected shape_data/<synset>/<id>"),
    "part leak": ("part", part_entry(f"shape_data/{MUG}/a1"), rf"{MUG}/a1 is listed in train and again in val"),
    "part list is no JSON": (
        "part",
        text("train_test_split/shuffled_train_file_list.json", "["),
        r"list\.json is no JSON",
    ),
    "part list is no list": ("part", text("train_test_split/shuffled_train_file_list.json", "{}"), "holds a dict"),
    "part list missing": (
        "part",
        gone("train_test_split/shuffled_train_file_list.json"),
        r"shuffled_train_file_list\.json does not exist\. ShapeNetPart with normals is distributed",
    ),
    "part categories": (
        "part",
        text("synsetoffset2category.txt", "Bag\t1\n"),
        r"category\.txt lacks Airplane, Cap, Car",
    ),
    "part category": (
        "part",
        more("synsetoffset2category.txt", "Boat 1"),
        r"category\.txt, line 17: 'Boat 1'; expected a",
    ),
    "shapenet55 line": (
        "shapenet55",
        more("train.txt", "a/../b.npy"),
        r"train\.txt, line 13: 'a/\.\./b\.npy'; expected <tax",
    ),
    "shapenet55 missing": (
        "shapenet55",
        more("test.txt", "1-2.npy"),
        r"test\.txt: 1 of 7 files are missing, .*1-2\.npy",
    ),
    "shapenet55 on its side": (
        "shapenet55",
        lambda root: np.save(root / "shapenet_pc" / "02691150-1a0.npy", CLOUD[0].T),
        r"02691150-1a0\.npy has shape \[3, 64\]; expected \[points, 3 to 32 columns\]",
    ),
    "shapenet55 cut short": (
        "shapenet55",
        lambda root: (root / "shapenet_pc" / "02691150-1a0.npy").write_bytes(b"") and None,
        r"02691150-1a0\.npy is empty",
    ),
    "shapenet55 of words": (
        "shapenet55",
        lambda root: np.save(root / "shapenet_pc" / "02691150-1a0.npy", np.full((64, 3), "a")),
        r"02691150-1a0\.npy is no table of numbers: it holds no array of real numbers",
    ),
    "dales missing": ("dales", gone("dales_objects_2048.npz"), r"2048\.npz does not exist\. DALES is distributed by"),
    "dales label": ("dales", objects(labels=np.arange(50)), r"2048\.npz, row 5: label 5 is none of 0 to 4"),
    "dales shape": ("dales", objects(points=CLOUD[..., :2]), r"clouds of shape \[3, 64, 2\]"),
    "dales ids": (
        "dales",
        objects(ids=np.zeros(50, int)),
        r"50 ids beside 50 clouds; expected a different one for each",
    ),
    "dales classes": ("dales", objects(classes=np.arange(5)), r"classes of type int64; expected names"),
}


def part_label(root: Path, row: int, label: float) -> None:
    path = root / MUG / "a1.txt"
    table = np.loadtxt(path)
    table[row, -1] = label
    np.savetxt(path, table, fmt="%.6f")


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_clear_error(what: str, tmp_path: Path) -> None:
    name, damage, message = WRONG[what]
    root = LAYOUTS[name].write(tmp_path)
    damage(root)
    with pytest.raises(DataError, match=message):
        ready(name, root).fingerprint()


class Trap:
    """Unpickling this leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


def test_pickles_are_refused_unopened(tmp_path: Path) -> None:
    folder, trace = tmp_path / "5way_10shot", tmp_path / "trace"
    folder.mkdir()
    (folder / "0.pkl").write_bytes(pickle.dumps(Trap(trace)))
    with pytest.raises(DataError, match=r"0\.pkl is a pickle, .* is not opened; expected 0\.npz beside it"):
        fold_of(str(tmp_path)).setup()
    (folder / "0.pkl").rename(folder / "0.npz")
    with pytest.raises(DataError, match=r"0\.npz cannot be read"):
        fold_of(str(tmp_path)).setup()
    objects = np.empty(2, object)
    objects[:] = Trap(trace)
    cloud_files.fewshot(tmp_path, train_points=objects)
    with pytest.raises(DataError, match=r"0\.npz cannot be read.*allow_pickle=False"):
        fold_of(str(tmp_path)).setup()
    np.save(tmp_path / "cloud.npy", objects, allow_pickle=True)
    with pytest.raises(DataError, match=r"cloud\.npy is no table of numbers"):
        point_files.read_table(tmp_path / "cloud.npy")
    assert not trace.exists()
