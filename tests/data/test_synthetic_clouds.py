"""Generated clouds: surfaces are sampled evenly, scans look like scans, and a cloud is a function of seed and index."""

import inspect
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from data_modules.readers.cloud_preparation import normalise
from data_modules.synthetic import solids
from data_modules.synthetic.furniture import FURNITURE
from data_modules.synthetic.solids import Part, Points, scan, turned, visible
from data_modules.synthetic_scans import CLASSES, ScanSet, SyntheticScans, simulate_scan
from data_modules.synthetic_shapes import ARRANGEMENTS, ShapeSet, SyntheticShapes

SCANOBJECTNN = [
    "bag",
    "bin",
    "box",
    "cabinet",
    "chair",
    "desk",
    "display",
    "door",
    "shelf",
    "table",
    "bed",
    "pillow",
    "sink",
    "sofa",
    "toilet",
]


def scans(split: str, size: int, seed: int = 0, count: int = 128) -> ScanSet:
    return ScanSet(split, size, classes=15, seed=seed, count=count, unit=True)


def shapes(split: str, size: int, seed: int = 0, count: int = 128) -> ShapeSet:
    return ShapeSet(split, size, classes=1, seed=seed, count=count, unit=True)


def _box(p: Points) -> NDArray[np.float64]:
    return (np.abs(p) / [0.5, 1, 0.25]).max(1) - 1


def _cone(p: Points) -> NDArray[np.float64]:
    radius = np.hypot(p[:, 0], p[:, 2])
    return np.where(np.isclose(p[:, 1], -0.5), np.maximum(radius - 0.4, 0), radius - 0.4 * (0.5 - p[:, 1]))


def _cylinder(p: Points) -> NDArray[np.float64]:
    return np.maximum(np.hypot(p[:, 0], p[:, 2]) - 0.5, np.abs(p[:, 1]) - 1)


def _ellipsoid(p: Points) -> NDArray[np.float64]:
    return ((p / [1, 0.3, 0.6]) ** 2).sum(1) - 1


def _cushion(p: Points) -> NDArray[np.float64]:
    return (np.abs(p / [1, 0.3, 0.6]) ** 4).sum(1) - 1


def _torus(p: Points) -> NDArray[np.float64]:
    return np.hypot(np.hypot(p[:, 0], p[:, 2]) - 1, p[:, 1]) - 0.3


ELLIPSE = 0.5 * np.pi * np.hypot(0.4, 1)
SURFACES = {
    "box": (solids.box(1, 2, 0.5), _box, 7.0),
    "open box": (solids.box(1, 2, 0.5, open_top=True), _box, 6.5),
    "plate": (solids.plate(2, 0.5), lambda p: p[:, 1], 1.0),
    "cylinder": (solids.cylinder(0.5, 2), _cylinder, 2.5 * np.pi),
    "cone": (solids.cone(0.4, 1), _cone, np.pi * 0.4 * (0.4 + np.hypot(0.4, 1))),
    "sphere": (solids.ellipsoid(1, 1, 1), lambda p: (p**2).sum(1) - 1, 4 * np.pi),
    "ellipsoid": (solids.ellipsoid(1, 0.3, 0.6), _ellipsoid, None),
    "cushion": (solids.ellipsoid(1, 0.3, 0.6, power=4), _cushion, None),
    "bowl": (solids.bowl(1, 0.3, 0.6), _ellipsoid, None),
    "torus": (solids.torus(1, 0.3), _torus, 4 * np.pi**2 * 0.3),
    "arc": (solids.torus(1, 0.3, np.pi), _torus, 2 * np.pi**2 * 0.3),
}


@pytest.mark.parametrize("name", SURFACES)
def test_points_lie_on_the_surface_whose_area_is_known(name: str) -> None:
    solid, implicit, area = SURFACES[name]
    points = solid.draw(np.random.default_rng(0), 500)
    assert points.shape == (500, 3)
    assert np.abs(implicit(points)).max() < 1e-9
    assert solid.draw(np.random.default_rng(0), 0).shape == (0, 3)
    if area is not None:
        assert solid.area == pytest.approx(area, rel=1e-3)
    if name in ("bowl", "open box"):
        assert not (points[:, 1] > (0 if name == "bowl" else 0.999)).any()
    if name == "arc":
        assert (points[:, 2] >= 0).all()


BALLS = {
    "box": (solids.box(2, 2, 2), [(1, y, z) for y in (-0.5, 0, 0.5) for z in (-0.5, 0.5)] + [(0, 1, 0), (0.2, 0, -1)]),
    "cylinder": (solids.cylinder(1, 2), [(np.cos(a), a / 4, np.sin(a)) for a in (0, 1, 2)] + [(0, 1, 0), (0.5, -1, 0)]),
    "cone": (solids.cone(1, 2), [(0.25, 0.5, 0), (0, 0, 0.5), (-0.75, -0.5, 0), (0.3, -1, 0.3), (0, -1, -0.5)]),
    "flat": (solids.ellipsoid(1.5, 0.4, 1), [(0, 0.4, 0), (0, -0.4, 0), (0.75, 0.4 * np.sqrt(0.75), 0)]),
    "cushion": (solids.ellipsoid(1.5, 0.4, 1, power=4), [(0, 0.4, 0), (0.4, 0.399, 0.2), (0.2, -0.4, -0.3)]),
    "torus": (solids.torus(1, 0.6), [(1, 0.6, 0), (-1, 0.6, 0), (0, -0.6, 1)]),
}


@pytest.mark.parametrize("name", BALLS)
def test_points_are_even_by_area(name: str) -> None:
    solid, centres = BALLS[name]
    count, radius = 60_000, 0.2
    points = solid.draw(np.random.default_rng(1), count)
    # A small ball cuts about a disc out of a surface; what bends is cut a little larger.
    expected = count * np.pi * radius**2 / solid.area
    for centre in centres:
        assert (((points - centre) ** 2).sum(1) < radius**2).sum() == pytest.approx(expected, rel=0.16)


@pytest.mark.parametrize("name", ["sphere", "torus"])
def test_strips_get_points_in_proportion_to_their_area(name: str) -> None:
    points = SURFACES[name][0].draw(np.random.default_rng(2), 20_000)
    if name == "sphere":
        # Archimedes: slices of a sphere of equal height have equal areas.
        found, shares = np.histogram(points[:, 1], 10, (-1, 1))[0], np.full(10, 0.1)
    else:
        outside = np.hypot(points[:, 0], points[:, 2]) > 1
        found, shares = np.bincount(outside), np.array([np.pi - 0.6, np.pi + 0.6]) / (2 * np.pi)
    chi_square = ((found - 20_000 * shares) ** 2 / (20_000 * shares)).sum()
    assert chi_square < 30


def test_parts_are_placed_and_get_points_by_their_area() -> None:
    turn = turned(x=0.3, y=1.0, z=-0.4)
    parts = [Part(solids.box(1, 1, 1)), Part(solids.plate(1, 1), (3, 0, 0), turn, scale=2), Part(solids.plate(1, 0))]
    points, index = scan(np.random.default_rng(0), parts, 20_000)
    assert points.shape == (20_000, 3)
    assert np.bincount(index, minlength=3) == pytest.approx([12_000, 8_000, 0], abs=300)
    assert (_box(points[index == 0] * [1, 2, 0.5]) < 1e-9).all()
    flat = (points[index == 1] - [3, 0, 0]) @ turn
    assert np.abs(flat[:, 1]).max() < 1e-9
    assert np.abs(flat).max() == pytest.approx(1, abs=0.01)
    assert turn @ turn.T == pytest.approx(np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)


def test_occlusion_removes_the_far_side_of_a_sphere() -> None:
    rng = np.random.default_rng(0)
    points = solids.ellipsoid(1, 1, 1).draw(rng, 20_000)
    for _ in range(5):
        eye = rng.standard_normal(3)
        eye *= 3 / np.linalg.norm(eye)
        seen, facing = visible(points, eye), points @ eye / 3
        # From a distance of 3 the horizon is at 1 / 3; pixels on the rim see a little beyond it.
        assert seen[facing > 0.5].mean() > 0.95
        assert not seen[facing < 0].any()


@pytest.mark.parametrize("make", [scans, shapes])
def test_a_cloud_is_a_function_of_seed_split_and_index(make: type) -> None:
    first = make("train", 4).raw(3)
    assert first.tobytes() == make("train", 9).raw(3).tobytes()
    assert first.dtype == np.float32
    others = [make("train", 4, seed=1).raw(3), make("val", 4).raw(3), make("test", 4).raw(3), make("train", 4).raw(2)]
    assert len({first.tobytes(), *(other.tobytes() for other in others)}) == 5


@pytest.mark.parametrize("module", [SyntheticScans, SyntheticShapes])
def test_the_key_knows_every_argument_that_changes_a_cloud(module: type) -> None:
    small = {"train_clouds": 2, "val_clouds": 2, "test_clouds": 2}

    def key(split: str = "train", index: int = 0, **changed: object) -> str:
        return module(**{**small, **changed}).splits()[split].key(index)

    different = [key(), key("val"), key(index=1), key(generator_seed=1), key(points=100), key(augment=("subset",))]
    assert len(set(different)) == len(different)
    same = [key(), key(train_clouds=3), key(augment=("rotate",))]
    assert len(set(same)) == 1
    known = {"train_clouds", "val_clouds", "test_clouds", "generator_seed", "points", "augment"}
    assert set(inspect.signature(module).parameters) == known


def test_a_shape_and_a_scan_never_share_a_key() -> None:
    assert scans("train", 1).key(0) != shapes("train", 1).key(0)


@pytest.mark.parametrize(("module", "classes"), [(SyntheticScans, 15), (SyntheticShapes, 1)])
def test_splits_are_balanced_finite_and_as_large_as_asked(module: type, classes: int) -> None:
    data = module(train_clouds=30, val_clouds=15, test_clouds=15, points=64, augment=("subset",))
    data.setup()
    assert data.synthetic
    assert len(data.classes) == classes
    for split, size, points in (("train", 30, 75), ("val", 15, 64), ("test", 15, 64)):
        samples = data.sets[split]
        assert len(samples) == size
        assert Counter(int(samples.target(i)["label"]) for i in range(size)) == dict.fromkeys(
            range(classes), size // classes
        )
        clouds = [samples[i] for i in range(size)]
        assert len({cloud.id for cloud in clouds}) == size
        for cloud in clouds:
            assert cloud.points.shape == (points, 3)
            assert np.isfinite(cloud.points).all()
            assert np.linalg.norm(cloud.points, axis=1).max() < 1.001
    assert data.report()["remarks"] == {}


def test_classes_are_those_of_scanobjectnn() -> None:
    assert CLASSES == list(FURNITURE) == SyntheticScans.classes == SCANOBJECTNN
    assert SyntheticShapes.classes == ["shape"]


@pytest.mark.parametrize("name", FURNITURE)
def test_furniture_has_parts_within_a_room(name: str) -> None:
    sizes = set()
    for seed in range(40):
        parts = FURNITURE[name](np.random.default_rng(seed))
        assert parts
        points, _ = scan(np.random.default_rng(0), parts, 400)
        assert np.isfinite(points).all()
        extent = np.ptp(points, axis=0)
        assert 0.15 < extent.max() < 3
        assert points[:, 1].min() > -0.1
        sizes.add(tuple(extent))
    assert len(sizes) == 40


@pytest.mark.parametrize("arrange", ARRANGEMENTS)
def test_every_arrangement_of_primitives_has_finite_extent(arrange: object) -> None:
    for seed in range(30):
        parts = arrange(np.random.default_rng(seed))  # type: ignore[operator]
        points, _ = scan(np.random.default_rng(0), parts, 300)
        assert np.isfinite(points).all()
        assert 0.05 < np.ptp(points, axis=0).max() < 20


def test_some_shapes_are_whole_and_some_are_seen_from_one_side_only(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = [Part(solids.ellipsoid(1, 1, 1))]
    monkeypatch.setattr("data_modules.synthetic_shapes.ARRANGEMENTS", [lambda rng: ball])
    offsets = [np.linalg.norm(shapes("train", 60).raw(i).mean(0)) for i in range(60)]
    halves = sum(offset > 0.3 for offset in offsets)
    assert 10 <= halves <= 40
    assert sum(offset < 0.1 for offset in offsets) == 60 - halves


def test_more_points_than_a_raw_cloud_usually_has_are_drawn_and_not_repeated() -> None:
    for make in (scans, shapes):
        cloud = make("train", 1, count=5000)
        assert cloud.raw(0).shape == (5000, 3)
        assert len(np.unique(cloud.prepared(0)[0], axis=0)) == 5000


def test_scans_stand_upright_and_are_turned_about_the_up_axis() -> None:
    board = [Part(solids.box(1, 2, 0.02), (0, 1, 0))]
    angles = []
    for seed in range(60):
        points = simulate_scan(np.random.default_rng(seed), board, 1024)
        # Most points are the board's; the rest is clutter, so robust measures are taken.
        flat = points[:, [0, 2]] - np.median(points[:, [0, 2]], axis=0)
        near = flat[np.linalg.norm(flat, axis=1) < 0.4]
        angles.append(float(np.arctan2(*np.linalg.eigh(np.cov(near.T))[1][:, 1])) % np.pi)
        spread = np.quantile(points, 0.9, axis=0) - np.quantile(points, 0.1, axis=0)
        assert spread[1] > 0.8 * max(spread[0], spread[2])
    assert np.histogram(angles, 4, (0, np.pi))[0].min() >= 6


def test_a_scan_lacks_what_is_hidden_and_has_something_around_it() -> None:
    ball = [Part(solids.ellipsoid(1, 1, 1), (0, 1, 0))]
    hidden, around = [], []
    for seed in range(30):
        points = simulate_scan(np.random.default_rng(seed), ball, 2048)
        # A ball's bounding box has a diagonal of 2 * sqrt(3) radii, and half a diagonal is scaled to 1.
        offset = points - [0, 1 / np.sqrt(3), 0]
        on = np.abs(np.linalg.norm(offset, axis=1) * np.sqrt(3) - 1) < 0.12
        around.append(1 - on.mean())
        directions = solids.ellipsoid(1, 1, 1).draw(np.random.default_rng(0), 300)
        rays = offset[on] / np.linalg.norm(offset[on], axis=1, keepdims=True)
        hidden.append(((directions @ rays.T).max(1) < 0.97).mean())
    assert np.mean(hidden) > 0.25
    assert 0.05 < np.mean(around) < 0.3


def _described(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Histograms of distances between pairs of points and of heights: [40]."""
    first, second = normalise(points)[np.random.default_rng(0).integers(0, len(points), (2, 4000))]
    distances = np.histogram(np.linalg.norm(first - second, axis=1), 24, (0, 2), density=True)[0]
    return np.concatenate([distances, np.histogram(first[:, 1], 16, (-1, 1), density=True)[0]])


@pytest.mark.slow
def test_simple_descriptors_solve_the_scans_in_part() -> None:
    train, test = scans("train", 450), scans("test", 225)
    forest = RandomForestClassifier(100, random_state=0).fit(
        [_described(train.raw(i)) for i in range(450)], train.labels
    )
    accuracy = forest.score([_described(test.raw(i)) for i in range(225)], test.labels)
    assert 0.4 < accuracy < 0.85
