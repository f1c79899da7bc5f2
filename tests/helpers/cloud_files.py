"""Made-up tiny copies of the true layouts of point-cloud benchmarks, the number of points apart."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from data_modules.base import DataModule
from data_modules.dales_objects import CLASSES as DALES_CLASSES
from data_modules.dales_objects import FILE as DALES_FILE
from data_modules.dales_objects import DalesObjects
from data_modules.kinds.clouds import CloudDataModule
from data_modules.modelnet40 import ModelNet40
from data_modules.modelnet40_fewshot import ModelNet40FewShot
from data_modules.scanobjectnn import FILES as SCANOBJECTNN_FILES
from data_modules.scanobjectnn import ScanObjectNN, Variant
from data_modules.shapenet55 import ShapeNet55
from data_modules.shapenet_part import PARTS, ShapeNetPart

POINTS = 64
MODELNET = ["bathtub", "bed", "chair", "night_stand", "tv_stand"]
SYNSETS = {category: f"{2_000_000 + 17 * k:08d}" for k, category in enumerate(PARTS)}


def cloud(rng: np.random.Generator, label: int, points: int = POINTS) -> np.ndarray:
    """float32 [points, 3]: a class is as long along x as its label says."""
    return (rng.normal(size=(points, 3)) * (1 + label / 4, 1, 1)).astype(np.float32)


def clouds(rng: np.random.Generator, labels: list[int], points: int = POINTS) -> np.ndarray:
    """float32 [n, points, 3]."""
    return np.stack([cloud(rng, label, points) for label in labels])


def write_hdf5(path: Path, **arrays: np.ndarray) -> None:
    """One file of these keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array


def change_hdf5(path: Path, key: str, how: Callable[[np.ndarray], np.ndarray]) -> None:
    """The same file with one array changed."""
    with h5py.File(path) as file:
        arrays = {name: np.asarray(file[name]) for name in file}
    write_hdf5(path, **(arrays | {key: how(arrays[key])}))


def scanobjectnn_file(path: Path, each: int, **further: np.ndarray) -> None:
    """All 15 classes, class after class."""
    labels = [label for label in range(15) for _ in range(each)]
    rng = np.random.default_rng([each, len(str(path.name))])
    write_hdf5(path, data=clouds(rng, labels), label=np.array(labels), **further)


def scanobjectnn(root: Path) -> Path:
    """ScanObjectNN's layout, all variants: 4 training and 2 test clouds a class, 30 and 2 in the hardest."""
    for folder, ending in SCANOBJECTNN_FILES.values():
        each = 30 if "augmented" in ending else 4
        scanobjectnn_file(root / folder / f"training_{ending}", each)
        scanobjectnn_file(root / folder / f"test_{ending}", 2)
    return root


def modelnet40(root: Path, *, train: int = 4, test: int = 2) -> Path:
    """ModelNet40's text layout: five of the classes, two with an underscore in their names."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    (root / "modelnet40_shape_names.txt").write_text("\n".join(MODELNET) + "\n")
    for split, numbers in (("train", range(train)), ("test", range(train, train + test))):
        names = [f"{kind}_{number:04d}" for kind in MODELNET for number in numbers]
        (root / f"modelnet40_{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            kind = name.rpartition("_")[0]
            (root / kind).mkdir(exist_ok=True)
            points = cloud(rng, MODELNET.index(kind))
            np.savetxt(root / kind / f"{name}.txt", np.hstack([points, points]), fmt="%.6f", delimiter=",")
    return root


def modelnet40_hdf5(root: Path, *, kinds: Sequence[int] = (1, 2, 8, 23, 36), train: int = 4, test: int = 2) -> Path:
    """ModelNet40's HDF5 layout without its names file: some of the 40 classes, training clouds in two files."""
    rng = np.random.default_rng(0)
    for name, each in (("train0", train // 2), ("train1", train - train // 2), ("test0", test)):
        labels = [label for label in kinds for _ in range(each)]
        label = np.array(labels, np.uint8)[:, None]
        write_hdf5(root / f"ply_data_{name}.h5", data=clouds(rng, labels), label=label)
    return root


def fewshot(root: Path, *, way: int = 5, shot: int = 10, fold: int = 0, **changes: np.ndarray) -> Path:
    """One few-shot fold as npz: 4 test clouds a class."""
    rng = np.random.default_rng(fold)
    arrays = {}
    for split, each in (("train", shot), ("test", 4)):
        labels = [label for _ in range(each) for label in range(way)]
        arrays |= {f"{split}_points": clouds(rng, labels), f"{split}_labels": np.array(labels)}
    path = root / f"{way}way_{shot}shot" / f"{fold}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **(arrays | changes))
    return root


def shapenet_part(root: Path) -> Path:
    """ShapeNetPart's layout: of every category two objects to train on, one to select on and one to test on."""
    (root / "train_test_split").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = [f"{category}\t{synset}" for category, synset in SYNSETS.items()]
    (root / "synsetoffset2category.txt").write_text("\n".join(lines) + "\n")
    for split, names in (("train", ["a1", "a2"]), ("val", ["b1"]), ("test", ["c1"])):
        entries = [f"shape_data/{synset}/{name}" for name in names for synset in SYNSETS.values()]
        (root / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(entries))
        for category, synset in SYNSETS.items():
            (root / synset).mkdir(exist_ok=True)
            parts = PARTS[category]
            for name in names:
                points = cloud(rng, 0)
                # Parts lie one after the other along x.
                order = points[:, 0].argsort().argsort() * len(parts) // POINTS
                table = np.column_stack([points, points, np.array(parts)[order]])
                np.savetxt(root / synset / f"{name}.txt", table, fmt="%.6f")
    return root


def shapenet55(root: Path) -> Path:
    """ShapeNet-55's layout: three categories, 4 models to train on and 2 to test on each."""
    (root / "shapenet_pc").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, numbers in (("train", range(4)), ("test", range(4, 6))):
        names = [f"0269115{k}-1a{number}.npy" for number in numbers for k in range(3)]
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            np.save(root / "shapenet_pc" / name, cloud(rng, int(name[7])))
    return root


def dales(root: Path, **changes: np.ndarray) -> Path:
    """The file of DALES objects: ten a class, on map coordinates."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    labels = [label for label in range(5) for _ in range(10)]
    arrays = {
        "points": clouds(rng, labels) + np.float32(100),
        "labels": np.array(labels),
        "ids": np.arange(50) * 3,
        "n_points_original": np.full(50, 999),
        "classes": np.array(DALES_CLASSES),
    }
    np.savez(root / DALES_FILE, **(arrays | changes))
    return root


class Layout(NamedTuple):
    """A data module beside the function that makes up a copy of its data."""

    write: Callable[..., Path]
    read: Callable[..., CloudDataModule]
    sizes: dict[str, int]


def fold_of(root: str, **settings: Any) -> ModelNet40FewShot:
    return ModelNet40FewShot(**({"root": root, "way": 5, "shot": 10, "fold": 0} | settings))


def scan(variant: Variant) -> Callable[..., ScanObjectNN]:
    return lambda root, **settings: ScanObjectNN(root=root, variant=variant, **settings)


def enough(root: Path) -> Path:
    """A ModelNet40 with objects enough for 5 way 10 shot."""
    return modelnet40(root, train=30, test=20)


LAYOUTS = {
    "bg": Layout(scanobjectnn, scan("bg"), {"train": 45, "val": 15, "test": 30}),
    "only": Layout(scanobjectnn, scan("only"), {"train": 45, "val": 15, "test": 30}),
    "hardest": Layout(scanobjectnn, scan("hardest"), {"train": 195, "val": 255, "test": 30}),
    "modelnet": Layout(modelnet40, ModelNet40, {"train": 15, "val": 5, "test": 10}),
    "modelnet_hdf5": Layout(modelnet40_hdf5, ModelNet40, {"train": 15, "val": 5, "test": 10}),
    "fewshot": Layout(fewshot, fold_of, {"train": 40, "val": 10, "test": 20}),
    "fewshot_drawn": Layout(enough, fold_of, {"train": 50, "val": 100, "test": 100}),
    "part": Layout(shapenet_part, ShapeNetPart, {"train": 32, "val": 16, "test": 16}),
    "shapenet55": Layout(shapenet55, ShapeNet55, {"train": 9, "val": 3, "test": 6}),
    "dales": Layout(dales, DalesObjects, {"train": 30, "val": 10, "test": 10}),
}


def ready(name: str, root: Path, **settings: Any) -> CloudDataModule:
    """A data module of a copy that lies below `root`, set up."""
    data = LAYOUTS[name].read(root=str(root), points=32, **settings)
    data.setup()
    return data


def ids(data: DataModule, split: str) -> list[str]:
    return [data.sets[split].id(index) for index in range(len(data.sets[split]))]


def labels(data: DataModule, split: str) -> list[int]:
    return data.sets[split].labels  # type: ignore[attr-defined]
