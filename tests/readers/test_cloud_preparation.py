"""A cloud is the set of its points: neither order nor copies change what is made of it, or what is answered."""

from dataclasses import replace
from pathlib import Path

import cloud_files
import numpy as np
import pytest
from cloud_files import ready
from hypothesis import given, settings
from hypothesis import strategies as st
from predict_files import untrained

from data_modules.dales_objects import FILE, DalesObjects
from data_modules.errors import DataError
from data_modules.readers.cloud_preparation import MOST_SAMPLED, Preparation, distinct_rows, sample
from zoo.adapter import directory
from zoo.batch import Cloud
from zoo.inference.inputs import Input, read
from zoo.inference.predictor import predict

SEEDS = st.integers(0, 2**32 - 1)


def cloud(seed: int, size: int) -> np.ndarray:
    """float64 [size, 3]; on a coarse grid in every other case, where many distances are equal."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(size, 3)) if seed % 2 else rng.integers(-3, 4, (size, 3)) / 3.0
    points[0] = 4
    return points


def repeated(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same set of points: each once or more often, in any order."""
    rows = np.concatenate([np.arange(len(points)), rng.integers(len(points), size=rng.integers(3 * len(points)))])
    return points[rng.permutation(rows)]


@settings(deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(1, 90), st.booleans())
def test_order_and_copies_change_no_bit_of_a_prepared_cloud(seed: int, size: int, count: int, unit: bool) -> None:
    points, rng, preparation = cloud(seed, size), np.random.default_rng(seed), Preparation(count, unit)
    other = repeated(points, rng)
    one, two = preparation(points, "it"), preparation(other, "it")
    assert one.points.tobytes() == two.points.tobytes()
    assert one.distinct == two.distinct == len({tuple(point) for point in points})
    np.testing.assert_array_equal(points[one.rows], other[two.rows])


@settings(deadline=None)
@given(SEEDS, st.integers(2, 60), st.integers(1, 200))
def test_no_point_is_taken_twice_while_others_are_left_and_then_all_are_equally_often(
    seed: int, size: int, count: int
) -> None:
    points = repeated(cloud(seed, size), np.random.default_rng(seed))
    prepared = Preparation(count)(points, "it")
    _, times = np.unique(points[prepared.rows], axis=0, return_counts=True)
    assert len(times) == min(count, prepared.distinct)
    assert times.max() - times.min() <= 1


def test_points_that_only_float32_takes_for_equal_are_each_taken_once() -> None:
    points = np.r_[np.zeros((1, 3)), np.full((4, 3), 1e6) + np.arange(4)[:, None] * 1e-3, [[1e6, 0, 0]]]
    rows = Preparation(6, unit=False)(points, "it").rows
    assert sorted(rows) == list(range(6))


def test_sampling_begins_farthest_from_the_mean_and_goes_on_with_the_farthest() -> None:
    line = np.array([[x, 0, 0] for x in (0, 1, 2, 3, 10)], np.float32)
    # The mean is 3.2; then always the point farthest from all before it, by hand.
    assert line[sample(line, 5), 0].tolist() == [10, 0, 3, 1, 2]
    assert line[sample(line, 7), 0].tolist() == [10, 0, 3, 1, 2, 10, 0]


def test_a_very_large_cloud_is_thinned_whatever_its_order_and_copies() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((MOST_SAMPLED + 20_000, 3))
    other = np.concatenate([points, points[:30_000]])[rng.permutation(len(points) + 30_000)]
    (one, number), (two, again) = distinct_rows(points), distinct_rows(other)
    assert number == again == len(points)
    assert len(one) == MOST_SAMPLED
    np.testing.assert_array_equal(points[one], other[two])
    # What is left is spread as the whole is.
    np.testing.assert_allclose(points[one].mean(0), 0.5, atol=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter for clouds that nobody trained."""
    return untrained("mantis", tmp_path_factory.mktemp("adapter") / "a")


def test_order_and_copies_change_no_prediction_and_raw_points_cannot_get_past_the_preparation(folder: Path) -> None:
    config, pairing = directory.load(folder)
    rng = np.random.default_rng(0)
    points = cloud(1, 50)
    same = [points, repeated(points, rng), np.repeat(points, 7, 0), points[::-1], points * 40 + [5, -3, 1]]
    answers = [{**answer, "id": ""} for answer in predict(pairing, [Cloud(str(k), p, {}) for k, p in enumerate(same)])]
    assert answers[:4] == [answers[0]] * 4
    # Metres and map coordinates are scaled as a file's are.
    assert answers[4]["likely"] == pytest.approx(answers[0]["likely"], abs=1e-4)
    prepared = pairing.prepare(Cloud("a", points, {}))
    assert pairing.prepare(prepared) is prepared
    assert pairing.batch([Cloud("a", points, {})]).inputs["points"].shape == (1, 1, config.data.points, 3)
    again = pairing.prepare(replace(prepared, prepared="cloud of another adapter"))
    assert again.prepared == prepared.prepared
    with pytest.raises(DataError, match=r"mine: 1 of 50 points are NaN"):
        predict(pairing, [Cloud("mine", np.r_[points[:-1], [[np.nan] * 3]], {})])


def test_a_stored_cloud_and_its_file_answer_equally(folder: Path, tmp_path: Path) -> None:
    """Stored as DALES is: 20 distinct points, padded to 64 with copies of some."""
    _, pairing = directory.load(folder)
    rng = np.random.default_rng(3)
    few = cloud_files.clouds(rng, [label for label in range(5) for _ in range(10)], points=20)
    padded = np.concatenate([few, few[:, rng.integers(20, size=44)]], axis=1)
    data = ready("dales", cloud_files.dales(tmp_path, points=padded))
    data.points = pairing.prepare.__self__.points  # type: ignore[attr-defined]
    data.sets = data.splits()
    for index in range(3):
        stored = data.sets["test"][index]
        row = int(stored.id.split()[1]) // 3
        np.savetxt(tmp_path / "mine.xyz", few[row], fmt="%.17g")
        one = read(data, Input("mine", tmp_path / "mine.xyz", tmp_path / "mine.xyz", Path("mine"), {}))
        assert one.notes == [f"20 points are repeated to {data.points}"]
        (by_set,), (by_file,), (by_python,) = (
            predict(pairing, [c]) for c in (stored, one.sample, Cloud("mine", few[row], {}))
        )
        np.testing.assert_array_equal(one.sample.points, stored.points)
        assert by_file["likely"] == by_python["likely"] == by_set["likely"]


def test_the_real_padded_objects_and_their_files_are_the_same_clouds(shared_data: Path, tmp_path: Path) -> None:
    data = DalesObjects(root=str(shared_data / "dales_objects"), points=512)
    data.setup()
    with np.load(data.path) as stored:
        objects = dict(
            zip(stored["ids"].tolist(), zip(stored["points"], stored["n_points_original"], strict=True), strict=True)
        )
    for index in range(0, 60, 12):
        cloud = data.sets["test"][index]
        points, number = objects[int(cloud.id.split()[1])]
        distinct = np.unique(points, axis=0)
        assert len(distinct) <= number, FILE
        np.savetxt(tmp_path / "mine.xyz", np.random.default_rng(0).permutation(distinct), fmt="%.17g")
        mine, _ = data.read(tmp_path / "mine.xyz", {})
        np.testing.assert_array_equal(mine.points, cloud.points)


def test_an_adapter_of_an_earlier_preparation_loads_and_says_in_what_it_differs(folder: Path) -> None:
    _, new = directory.load(folder)
    assert (new.preparation, new.notes) == ("clouds 2", [])
    former = untrained_before(folder)
    _, old = directory.load(former)
    (note,) = old.notes
    assert "copies of a point were kept, and sampling began at the first point stored" in note
    assert "zoo.evaluate" in note


def untrained_before(folder: Path) -> Path:
    """The same adapter as an earlier version wrote it: without a word on preparation."""
    import hashlib
    import shutil

    from safetensors import safe_open
    from safetensors.torch import save_file

    before = Path(shutil.copytree(folder, folder.parent / "before"))
    header, tensors = directory.read(before)
    del header["preparation"]
    save_file(tensors, before / "adapter.safetensors", metadata=header)
    with safe_open(before / "adapter.safetensors", framework="pt") as file:
        assert "preparation" not in file.metadata()
    listing = before / "SHA256SUMS"
    lines = listing.read_text().splitlines()
    digest = hashlib.sha256((before / "adapter.safetensors").read_bytes()).hexdigest()
    listing.write_text("\n".join([f"{digest}  adapter.safetensors", *lines[1:]]) + "\n")
    return before
