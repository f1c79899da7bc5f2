"""What clouds share: the policy for imperfect ones, holding out, drawing few, augmentation."""

import re
from pathlib import Path
from types import SimpleNamespace

import cloud_files
import numpy as np
import point_tiny
import pytest
import torch
from cloud_files import ids, ready

from data_modules.errors import DataError
from data_modules.kinds import clouds
from data_modules.kinds.cloud_augmentation import augment, rotation
from data_modules.modelnet40 import ModelNet40
from data_modules.readers import point_files
from data_modules.readers.cloud_preparation import clean
from data_modules.scanobjectnn import ScanObjectNN
from data_modules.shapenet_part import ShapeNetPart
from zoo.backbones.mamba3d import group
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.recipe import compose
from zoo.tasks.classification import Classification
from zoo.training.loaders import Loaders

GOOD = cloud_files.cloud(np.random.default_rng(1), 0)


def spoiled(value: float) -> np.ndarray:
    bad = GOOD.copy()
    bad[5, 2] = bad[9, 0] = value
    return bad


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (spoiled(np.nan), r"it: 2 of 64 points are NaN, infinite or beyond 1e\+18, the first in row 5; remove them"),
        (spoiled(np.inf), "2 of 64 points are NaN, infinite"),
        (spoiled(1e30), "2 of 64 points are NaN, infinite or beyond"),
        (GOOD[:1], r"it has no extent: 1 point\(s\), all at"),
        (np.full((9, 3), 4.0), r"it has no extent: 9 point\(s\), all at \[4\.0, 4\.0, 4\.0\]"),
        (GOOD[:0], r"it has shape \[0, 3\]"),
        (GOOD[:, :2], r"it has shape \[64, 2\]; expected \[points, 3 to 32 columns\]"),
        (GOOD[:, 0], r"it has shape \[64\]"),
        (GOOD.T, r"it has shape \[3, 64\]"),
    ],
)
def test_what_is_no_cloud_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        clean(values, "it")


def test_mended_clouds_are_counted_in_the_manifest(tmp_path: Path) -> None:
    root = cloud_files.modelnet40(tmp_path)
    np.savetxt(root / "bed" / "bed_0000.txt", GOOD[:10], delimiter=",")
    data = ready("modelnet", root)
    data.fingerprint()
    for _ in range(2):
        assert data.report()["remarks"] == {
            "clouds with further columns, which are not used": 29,
            "clouds of fewer than 32 distinct points, which are repeated": 1,
        }
    split = next(split for split in data.sets if "bed_0000" in ids(data, split))
    points = data.sets[split][ids(data, split).index("bed_0000")].points
    assert len(np.unique(points, axis=0)) == 10
    _, notes = data.read(root / "bed" / "bed_0000.txt", {})
    assert notes == ["10 points are repeated to 32"]
    assert data.read(root / "bed" / "bed_0001.txt", {})[1] == ["columns after the third are not used"]


def test_map_coordinates_keep_their_millimetres(tmp_path: Path) -> None:
    data = ModelNet40(root="/nowhere", points=64)
    far = GOOD + np.array([500_000, 5_400_000, 100], np.float64)
    np.savetxt(tmp_path / "near.txt", GOOD, fmt="%.6f")
    np.savetxt(tmp_path / "far.txt", far, fmt="%.6f")
    near, moved = (data.read(tmp_path / name, {})[0].points for name in ("near.txt", "far.txt"))
    assert np.abs(near - moved).max() < 1e-5


@pytest.mark.parametrize(
    ("name", "content"), [("x.txt", "1 2 3\n4 5\n"), ("x.csv", "x,y,z\none,2,3\n"), ("x.ply", "ply\n")]
)
def test_a_users_file_that_is_no_table_is_named(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        point_files.read_table(tmp_path / name)
    with pytest.raises(DataError, match=r"none\.txt does not exist"):
        point_files.read_table(tmp_path / "none.txt")


def test_keys_change_with_content_points_and_scale(tmp_path: Path) -> None:
    root = cloud_files.scanobjectnn(tmp_path)
    data = ready("bg", root)
    keys = {(s, i): data.sets[s].key(i) for s in data.sets for i in range(len(data.sets[s]))}
    assert len(set(keys.values())) == len(keys)
    more_points = ScanObjectNN(root=str(root), variant="bg", points=33)
    scaled = ScanObjectNN(root=str(root), variant="bg", points=32)
    scaled.unit = True
    for other in (more_points, scaled):
        other.setup()
        assert not {other.sets["test"].key(i) for i in range(30)} & set(keys.values())
    cloud_files.change_hdf5(
        root / "main_split" / "test_objectdataset.h5",
        "data",
        lambda values: values + np.where(np.arange(30)[:, None, None] == 3, np.float32(1e-3), 0),
    )
    again = ready("bg", root)
    assert [i for i in range(30) if again.sets["test"].key(i) != keys["test", i]] == [3]
    assert again.fingerprint() != data.fingerprint()


def test_holding_out_is_by_object_and_by_class() -> None:
    objects = [f"{label}-{k // 5}" for label in range(4) for k in range(100 + 50 * label)]
    kinds = [int(name[0]) for name in objects]
    held = clouds.stratified_holdout(objects, kinds, 0.1)
    assert len({(name, out) for name, out in zip(objects, held, strict=True)}) == len(set(objects))
    for label in range(4):
        number = len({name for name, out in zip(objects, held, strict=True) if out and name[0] == str(label)})
        assert number == round((20 + 10 * label) * 0.1)
    order = np.random.default_rng(0).permutation(len(objects))
    again = clouds.stratified_holdout([objects[k] for k in order], [kinds[k] for k in order], 0.1)
    assert again == [held[k] for k in order]


def test_an_added_object_moves_at_most_one_other() -> None:
    names = [f"object {k}" for k in range(200)]
    for size in range(2, 200):
        before = clouds.stratified_holdout(names[:size], [0] * size, 0.1)
        after = clouds.stratified_holdout(names[: size + 1], [0] * (size + 1), 0.1)
        assert sum(before) >= 1
        assert sum(a != b for a, b in zip(before, after, strict=False)) <= 1


def test_few_are_drawn_by_class_and_seed() -> None:
    kinds = [k % 3 for k in range(90)]
    chosen = clouds.subsample(kinds, 5, 0)
    assert np.bincount([kinds[k] for k in chosen]).tolist() == [5, 5, 5]
    assert chosen == clouds.subsample(kinds, 5, 0) == sorted(set(chosen))
    assert chosen != clouds.subsample(kinds, 5, 1)
    with pytest.raises(DataError, match="shots = 31: class 0 has only 30"):
        clouds.subsample(kinds, 31, 0)


def changed(kind: str, *, count: int = 64, up: int = 1, seed: int = 0) -> torch.Tensor:
    return augment(FLAT, [kind], count=count, up=up, generator=torch.Generator().manual_seed(seed))[0]


FLAT = torch.from_numpy(cloud_files.clouds(np.random.default_rng(2), [0] * 40))


@pytest.mark.parametrize("up", [0, 1, 2])
def test_rotation_keeps_distances_and_the_up_coordinate(up: int) -> None:
    turned = changed("rotate", up=up)
    assert torch.allclose(torch.cdist(turned, turned), torch.cdist(FLAT, FLAT), atol=1e-2)
    assert torch.allclose(turned[..., up], FLAT[..., up], atol=1e-6)
    others = [axis for axis in range(3) if axis != up]
    moved = (turned[..., others] - FLAT[..., others]).abs().amax((1, 2))
    assert (moved > 1e-3).sum() > 35
    quarter = rotation(torch.tensor([torch.pi / 2]), up)[0]
    assert torch.allclose(torch.linalg.det(quarter), torch.tensor(1.0), atol=1e-6)


def test_scale_and_translation_stay_within_bounds() -> None:
    moved = changed("scale_translate")
    scale = (moved[:, 1] - moved[:, 0]) / (FLAT[:, 1] - FLAT[:, 0])
    shift = moved[:, 0] - scale * FLAT[:, 0]
    assert scale.min() >= 2 / 3 - 1e-3
    assert scale.max() <= 3 / 2 + 1e-3
    assert scale.max() - scale.min() > 0.5
    assert shift.abs().max() <= 0.2 + 1e-2
    assert torch.allclose(moved, FLAT * scale[:, None] + shift[:, None], atol=1e-2)


def test_a_subset_is_of_distinct_points_and_jitter_is_small() -> None:
    subset = changed("subset", count=50)
    for before, after in zip(FLAT, subset, strict=True):
        assert len(after.unique(dim=0)) == 50
        assert (after[:, None] == before[None]).all(-1).any(1).all()
    assert not torch.equal(subset, changed("subset", count=50, seed=1))
    shaken = (changed("jitter") - FLAT).abs()
    assert 0 < shaken.max() <= 0.05 + 1e-6


def test_augmentation_follows_the_seed_and_touches_training_batches_alone(tmp_path: Path) -> None:
    root = cloud_files.scanobjectnn(tmp_path)
    data = ready("bg", root, augment=("subset", "rotate", "scale_translate", "jitter"))
    assert not data.deterministic
    assert ready("bg", root).deterministic
    assert data.sets["train"][0].points.shape == (38, 3)
    assert data.sets["val"][0].points.shape == (32, 3)

    def through(split: str, *, training: bool, seed: int = 0, epoch: int = 0) -> torch.Tensor:
        loaders = Loaders(data, point_tiny.pairing(Frozen(), Classification(hidden=())), seed)
        loaders.trainer = SimpleNamespace(training=training, current_epoch=epoch)  # type: ignore[assignment]
        points = torch.stack([torch.from_numpy(data.sets[split][k].points) for k in range(4)])
        return loaders.on_after_batch_transfer(Batch(["x"] * 4, {"points": points[:, None]}, {}), 0).inputs["points"]

    trained = through("train", training=True)
    assert trained.shape == (4, 1, 32, 3)
    assert torch.equal(trained, through("train", training=True))
    assert not torch.equal(trained, through("train", training=True, epoch=1))
    assert not torch.equal(trained, through("train", training=True, seed=1))
    kept = through("val", training=False)
    assert torch.equal(kept[0, 0], torch.from_numpy(data.sets["val"][0].points))


def test_conditions_that_are_points_move_with_the_cloud(tmp_path: Path) -> None:
    data = ready("part", cloud_files.shapenet_part(tmp_path), augment=("rotate", "scale_translate"))
    cloud = data.sets["train"][0]
    points = torch.from_numpy(cloud.points)
    conditions = {"points": cloud.conditions["points"][None].clone()}
    batch = data.augment(Batch(["x"], {"points": points[None, None]}, {}, conditions=conditions), 0)
    assert torch.equal(batch.conditions["points"], batch.inputs["points"][:, 0])
    assert not torch.equal(batch.conditions["points"][0], points)
    assert torch.equal(data.sets["train"][0].conditions["points"], points)


@pytest.mark.parametrize(
    "recipe", [name for name in compose.shipped() if re.match("mantis_(scan|model|shapenet)", name)]
)
def test_recipes_of_benchmarks_draw_new_centres_of_the_same_points_in_every_epoch(recipe: str, tmp_path: Path) -> None:
    kinds = compose.read(compose.find(recipe), [])["data"]["augment"]
    data = ready("bg", cloud_files.scanobjectnn(tmp_path), augment=[k for k in kinds if k in ("subset", "shuffle")])
    points = torch.from_numpy(np.stack([data.sets["train"][k].points for k in range(4)]))

    def centres(epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = data.augment(Batch([*"abcd"], {"points": points[:, None]}, {}), epoch).inputs["points"][:, 0]
        return drawn, group(drawn, 8, 4)[1]

    (first, own), (second, other), (again, _) = centres(0), centres(1), centres(0)
    assert torch.equal(first, again)
    assert first.shape == (4, 32, 3)
    shared = (own[:, :, None] == other[:, None]).all(-1).any(1).float().mean()
    assert shared < 0.8
    if "subset" not in kinds:
        assert all(torch.equal(a.unique(dim=0), b.unique(dim=0)) for a, b in zip(first, second, strict=True))


def test_labels_of_points_are_shuffled_with_them(tmp_path: Path) -> None:
    data = ready("part", cloud_files.shapenet_part(tmp_path), augment=("shuffle", "scale_translate"))
    samples = [data.sets["train"][k] for k in (0, 20)]
    points, parts = (
        torch.stack(t) for t in zip(*[(torch.from_numpy(s.points), s.target["parts"]) for s in samples], strict=True)
    )
    target, conditions = {"parts": parts.clone(), "label": torch.tensor([0, 1])}, {"points": points.clone()}
    batch = data.augment(Batch(["x", "y"], {"points": points[:, None]}, target, conditions=conditions), 0)
    assert torch.equal(batch.conditions["points"], batch.inputs["points"][:, 0])
    assert not torch.equal(batch.target["parts"], parts)
    assert batch.target["label"].tolist() == [0, 1]
    for before, labels, after, moved in zip(
        points, parts, batch.inputs["points"][:, 0], batch.target["parts"], strict=True
    ):
        # Scales are positive: along every axis, points keep their order.
        assert torch.equal(labels[before[:, 0].argsort()], moved[after[:, 0].argsort()])


def test_a_random_subset_would_part_points_from_labels() -> None:
    with pytest.raises(SettingError, match="augment: subset would part points from their labels"):
        ShapeNetPart(root="/nowhere", augment=("subset",))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="augment: turn: expected subset, shuffle, rotate, scale_translate, jitter"):
        ModelNet40(root="/nowhere", augment=("turn",))  # type: ignore[arg-type]
