"""Every layout of clouds is read as its benchmark means it, and split by object."""

from pathlib import Path

import cloud_files
import numpy as np
import pytest
import torch
from cloud_files import LAYOUTS, fold_of, ids, labels, ready

from data_modules import scanobjectnn
from data_modules.dales_objects import DalesObjects
from data_modules.errors import DataError
from data_modules.modelnet40_fewshot import draw
from data_modules.readers.cloud_preparation import normalise
from data_modules.shapenet_part import ShapeNetPart


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_disjoint_splits_with_every_class(name: str, tmp_path: Path) -> None:
    data = ready(name, LAYOUTS[name].write(tmp_path))
    assert {split: len(samples) for split, samples in data.sets.items()} == LAYOUTS[name].sizes
    every = [sample for split in data.sets for sample in ids(data, split)]
    assert len(set(every)) == len(every)
    assert len({frozenset(labels(data, split)) for split in data.sets}) == 1
    assert data.license != "not stated"


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_sample_is_a_cloud_of_n_points_with_its_label(name: str, tmp_path: Path) -> None:
    data = ready(name, LAYOUTS[name].write(tmp_path))
    for split, samples in data.sets.items():
        cloud = samples[0]
        assert cloud.points.shape == (32, 3), split
        assert cloud.points.dtype == np.float32
        assert np.isfinite(cloud.points).all()
        target = samples.target(0)
        assert all(torch.equal(value, target[key]) for key, value in cloud.target.items())
        assert all(0 <= int(value.min()) <= int(value.max()) < len(data.classes) for value in target.values())
        if data.unit:
            assert np.linalg.norm(cloud.points, axis=1).max() <= 1 + 1e-5


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_second_reading_is_the_same_and_what_is_held_out_does_not_depend_on_the_seed(
    name: str, tmp_path: Path
) -> None:
    root = LAYOUTS[name].write(tmp_path)
    one, two = ready(name, root), LAYOUTS[name].read(root=str(root), points=32)
    two.seed = 7
    two.setup()
    assert one.fingerprint() == two.fingerprint()
    assert [ids(one, split) for split in one.sets] == [ids(two, split) for split in two.sets]


def test_recorded_objects_of_the_hardest_variant_stay_on_one_side(tmp_path: Path) -> None:
    root = cloud_files.scanobjectnn(tmp_path)
    path = root / "main_split" / "training_objectdataset_augmentedrot_scale75.h5"
    # Copies of one object lie six rows apart.
    objects = np.array([f"{label}{k % 6}" for label in range(15) for k in range(30)], np.int64)
    cloud_files.scanobjectnn_file(path, 30, object_id=objects)
    data = ready("hardest", root)
    assert not data.remarks
    rows = {split: {objects[int(name.partition("/")[2])] for name in ids(data, split)} for split in ("train", "val")}
    assert not rows["train"] & rows["val"]
    assert len(rows["val"]) == 15
    cloud_files.scanobjectnn_file(path, 30, object_id=objects[:-1])
    with pytest.raises(DataError, match="449 object numbers beside 450 clouds"):
        ready("hardest", root)


def test_without_recorded_objects_whole_blocks_are_held_out_and_counted(tmp_path: Path) -> None:
    data = ready("hardest", cloud_files.scanobjectnn(tmp_path))
    assert data.remarks == {"objects are not recorded: validation holds whole blocks of 25 neighbouring rows": 15}
    rows = {split: [int(name.partition("/")[2]) for name in ids(data, split)] for split in ("train", "val")}
    blocks = {split: {(row // 30, row % 30 // 25) for row in part} for split, part in rows.items()}
    assert not blocks["train"] & blocks["val"]
    assert scanobjectnn.blocks([0, 1] * 30) == [f"class {k % 2}, block {k // 50}" for k in range(60)]
    assert not ready("bg", tmp_path).remarks


def test_modelnets_classes_are_read_from_names_with_underscores(tmp_path: Path) -> None:
    data = ready("modelnet", cloud_files.modelnet40(tmp_path / "txt"))
    assert data.classes == cloud_files.MODELNET
    for split in data.sets:
        for index, name in enumerate(ids(data, split)):
            assert name.rpartition("_")[0] == data.classes[labels(data, split)[index]]
    hdf5 = ready("modelnet_hdf5", cloud_files.modelnet40_hdf5(tmp_path / "hdf5"))
    assert [hdf5.classes[label] for label in sorted(set(labels(hdf5, "test")))] == cloud_files.MODELNET
    (tmp_path / "hdf5" / "shape_names.txt").write_text("\n".join(f"c{k}" for k in range(40)))
    assert ready("modelnet_hdf5", tmp_path / "hdf5").classes[8] == "c8"


def test_text_and_array_of_the_same_cloud_are_prepared_alike(tmp_path: Path) -> None:
    data = ready("modelnet", cloud_files.modelnet40(tmp_path))
    path = tmp_path / "bed" / "bed_0000.txt"
    table = np.loadtxt(path, delimiter=",")
    np.save(tmp_path / "bed.npy", table)
    np.savetxt(tmp_path / "bed.xyz", table)
    one, two, three = (data.read(tmp_path / name, {})[0].points for name in ("bed/bed_0000.txt", "bed.npy", "bed.xyz"))
    assert (one == two).all()
    assert (one == three).all()


def test_a_drawn_fold_depends_on_way_shot_and_fold_alone(tmp_path: Path) -> None:
    train, test = ([label for label in range(12) for _ in range(n)] for n in (50, 25))
    names = [f"c{k}" for k in range(12)]
    folds = [
        draw(train, test, names, way=way, shot=shot, fold=fold)
        for way in (5, 10)
        for shot in (10, 20)
        for fold in range(10)
    ]
    assert draw(train, test, names, way=5, shot=10, fold=0) == folds[0]
    assert len({(*fold.train[:10], *fold.test[:10]) for fold in folds}) == 40
    for fold in folds:
        assert len(set(fold.classes)) in (5, 10)
        assert not set(fold.train) & set(fold.val)
        for rows, source, each in ((fold.train, train, None), (fold.val, train, 20), (fold.test, test, 20)):
            counts = np.bincount([source[row] for row in rows])[fold.classes]
            assert set(counts) in ([{each}] if each else [{10}, {20}])
            assert sum(counts) == len(rows) == len(set(rows))
    root = cloud_files.enough(tmp_path)
    data, modelnet = ready("fewshot_drawn", root), ready("modelnet", root)
    assert set(ids(data, "test")) <= set(ids(modelnet, "test"))
    assert set(ids(data, "train") + ids(data, "val")) <= set(ids(modelnet, "train") + ids(modelnet, "val"))
    assert data.remarks == {"clouds of a fold drawn by this program, which is none of the field's": 250}
    assert data.classes == sorted(data.classes)


@pytest.mark.parametrize("name", ["modelnet", "fewshot_drawn"])
def test_a_folder_of_neither_layout_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither .*ModelNet40"):
        ready(name, tmp_path)


def test_a_fold_is_not_drawn_from_too_few_objects(tmp_path: Path) -> None:
    root = cloud_files.modelnet40(tmp_path, train=29, test=20)
    with pytest.raises(DataError, match="10 shot: class bathtub has 29 train objects; expected 30"):
        fold_of(str(root)).setup()
    with pytest.raises(DataError, match="10 way: there are only 5 classes"):
        fold_of(str(root), way=10).setup()


def test_the_labels_of_a_drawn_fold_count_from_zero(tmp_path: Path) -> None:
    root = cloud_files.modelnet40_hdf5(tmp_path, kinds=range(40), train=30, test=20)
    data, names = ready("fewshot_drawn", root), ready("modelnet_hdf5", root).classes
    assert len(data.classes) == 5
    for split, samples in data.sets.items():
        assert np.bincount(labels(data, split)).tolist() == [{"train": 10, "val": 20, "test": 20}[split]] * 5
        for index in range(len(samples)):
            row = int(samples.id(index).partition("/")[2])
            each = 20 if split == "test" else 15
            assert data.classes[int(samples.target(index)["label"])] == names[row // each]


def test_a_filed_fold_holds_out_a_fifth_of_each_class_and_takes_its_names(tmp_path: Path) -> None:
    names = np.array([f"thing {k}" for k in range(5)])
    data = ready("fewshot", cloud_files.fewshot(tmp_path, classes=names))
    assert data.classes == names.tolist()
    assert np.bincount(labels(data, "train")).tolist() == [8] * 5
    assert np.bincount(labels(data, "val")).tolist() == [2] * 5
    assert data.remarks == {"training clouds held out for validation, as the fold has none": 10}
    assert ready("fewshot", cloud_files.fewshot(tmp_path / "b")).classes == [f"class {k}" for k in range(5)]


def test_part_labels_are_those_of_the_sampled_points(tmp_path: Path) -> None:
    data = ready("part", cloud_files.shapenet_part(tmp_path))
    assert isinstance(data, ShapeNetPart)
    assert data.classes[:5] == ["Airplane/0", "Airplane/1", "Airplane/2", "Airplane/3", "Bag/0"]
    assert data.parts["Table"] == [47, 48, 49]
    assert sorted(label for parts in data.parts.values() for label in parts) == list(range(50))
    samples = data.sets["train"]
    for index in range(len(samples)):
        cloud = samples[index]
        table = np.loadtxt(tmp_path / f"{cloud.id}.txt")
        category = data.categories[int(cloud.conditions["category"])]
        assert cloud_files.SYNSETS[category] == cloud.id.partition("/")[0]
        assert labels(data, "train")[index] == int(cloud.conditions["category"])
        assert torch.equal(cloud.conditions["points"], torch.from_numpy(cloud.points))
        assert cloud.target["parts"].dtype == torch.int64
        # Each prepared point is the stored one of its label.
        unit = normalise(table[:, :3])
        nearest = np.linalg.norm(unit[None] - cloud.points[:, None], axis=-1).argmin(1)
        assert cloud.target["parts"].tolist() == table[nearest, -1].astype(int).tolist()
        assert set(cloud.target["parts"].tolist()) <= set(data.parts[category])


def test_the_official_part_splits_are_used_as_such(tmp_path: Path) -> None:
    data = ready("part", cloud_files.shapenet_part(tmp_path))
    assert {split: {name[-2:] for name in ids(data, split)} for split in data.sets} == {
        "train": {"a1", "a2"},
        "val": {"b1"},
        "test": {"c1"},
    }


def test_a_changed_part_label_changes_the_fingerprint(tmp_path: Path) -> None:
    root = cloud_files.shapenet_part(tmp_path)
    before = ready("part", root).fingerprint()
    path = root / cloud_files.SYNSETS["Mug"] / "a1.txt"
    table = np.loadtxt(path)
    table[:, -1] = 73 - table[:, -1]
    np.savetxt(path, table, fmt="%.6f")
    assert ready("part", root).fingerprint() != before


def test_a_users_own_object_needs_its_category(tmp_path: Path) -> None:
    data = ShapeNetPart(root="/nowhere", points=32)
    np.save(tmp_path / "mine.npy", cloud_files.cloud(np.random.default_rng(0), 0))
    with pytest.raises(DataError, match="expected the object's category, one of Airplane, Bag"):
        data.read(tmp_path / "mine.npy", {})
    settings = {"category": "Mug", "other": "x"}
    cloud, notes = data.read(tmp_path / "mine.npy", settings)
    assert (notes, settings) == ([], {"other": "x"})
    assert int(cloud.conditions["category"]) == 11
    assert cloud.conditions["points"].shape == (32, 3)


def test_models_of_both_shapenet55_lists_are_left_out_of_train(tmp_path: Path) -> None:
    root = cloud_files.shapenet55(tmp_path)
    shared = (root / "test.txt").read_text().splitlines()[0]
    (root / "train.txt").open("a").write(shared + "\n")
    data = ready("shapenet55", root)
    assert data.remarks == {"train clouds that are also in test: left out": 1}
    assert shared in ids(data, "test")
    assert shared not in ids(data, "train") + ids(data, "val")
    assert data.classes == ["02691150", "02691151", "02691152"]


def test_shots_thin_out_training_alone(tmp_path: Path) -> None:
    root = cloud_files.dales(tmp_path)
    full, thin = ready("dales", root), ready("dales", root, shots=3)
    other = LAYOUTS["dales"].read(root=str(root), points=32, shots=3)
    other.seed = 1
    other.setup()
    assert np.bincount(labels(thin, "train")).tolist() == [3] * 5
    assert set(ids(thin, "train")) < set(ids(full, "train"))
    assert ids(thin, "train") != ids(other, "train")
    for split in ("val", "test"):
        assert ids(thin, split) == ids(full, split) == ids(other, split)
    assert thin.remarks == {"train: objects beyond the shots: left out": 15}
    with pytest.raises(DataError, match="shots = 7: class 0 has only 6"):
        ready("dales", root, shots=7)


def test_the_real_dales_objects(shared_data: Path) -> None:
    data = DalesObjects(root=str(shared_data / "dales_objects"))
    data.setup()
    assert {split: len(samples) for split, samples in data.sets.items()} == {"train": 180, "val": 60, "test": 60}
    assert data.classes == ["building", "car", "fence", "pole", "tree"]
    for split, each in (("train", 36), ("val", 12), ("test", 12)):
        assert np.bincount(labels(data, split)).tolist() == [each] * 5
    cloud = data.sets["test"][0]
    assert cloud.points.shape == (1024, 3)
    assert np.linalg.norm(cloud.points, axis=1).max() == pytest.approx(1, abs=1e-3)
    assert data.up == "z"
