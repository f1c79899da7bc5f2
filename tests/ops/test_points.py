"""Operations on point clouds against brute force; clouds on a coarse lattice are full of duplicates and ties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.ops.points import _farthest_loop, farthest_points, gather, interpolate, nearest

SEEDS = st.integers(0, 10_000)


def cloud(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def lattice(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(-2, 3, (*shape, 3), generator=torch.Generator().manual_seed(seed)).float()


def squared(a: Tensor, b: Tensor) -> np.float32:
    x, y, z = (a - b).numpy() ** 2
    return x + y + z


def farthest(points: Tensor, count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        distances = {
            k: min(squared(point, points[i]) for i in chosen) for k, point in enumerate(points) if k not in chosen
        }
        chosen.append(max(distances, key=lambda k: distances[k]))  # the first of equals
    return chosen


@settings(deadline=None)
@given(SEEDS, st.integers(1, 20), st.sampled_from([cloud, lattice]), st.data())
def test_farthest_points_equal_brute_force_also_where_points_tie(seed, size, make, data) -> None:
    points = make(2, size, seed=seed)
    count = data.draw(st.integers(1, size))
    expected = [farthest(points[0], count), farthest(points[1], count)]
    assert farthest_points(points, count).tolist() == expected
    assert _farthest_loop(points, count).tolist() == expected  # of other devices


def test_both_kernels_of_farthest_points_agree_on_large_clouds() -> None:
    points = cloud(3, 700)
    chosen = farthest_points(points, 200)
    assert chosen.dtype == torch.int64
    torch.testing.assert_close(chosen, _farthest_loop(points, 200), rtol=0, atol=0)
    torch.testing.assert_close(chosen[1:2], farthest_points(points[1:2], 200), rtol=0, atol=0)
    assert all(len(set(row)) == 200 for row in chosen.tolist())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_chooses_the_indices_of_the_cpu() -> None:
    for points in (cloud(3, 700), lattice(3, 700), cloud(2, 8192), lattice(2, 16384), cloud(1, 16385)):
        expected = farthest_points(points, 200)
        torch.testing.assert_close(farthest_points(points.cuda(), 200).cpu(), expected, rtol=0, atol=0)


def test_farthest_points_takes_any_memory_layout_and_dtype_and_changes_nothing() -> None:
    points = cloud(2, 50).requires_grad_()
    before = points.detach().clone()
    expected = farthest_points(points, 20)
    torch.testing.assert_close(farthest_points(points.mT.contiguous().mT, 20), expected)
    torch.testing.assert_close(farthest_points(points.double(), 20), expected)
    torch.testing.assert_close(points.detach(), before, rtol=0, atol=0)


def test_farthest_points_takes_no_index_twice_when_the_distinct_points_are_used_up() -> None:
    points = torch.tensor([[[0.0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0]]])
    assert farthest_points(points, 4).tolist() == _farthest_loop(points, 4).tolist() == [[0, 2, 1, 3]]


def test_farthest_points_does_not_skip_the_origin_as_the_official_kernel_does() -> None:
    points = torch.tensor([[[1.0, 0, 0], [0.9, 0, 0], [0, 0, 0]]])
    assert farthest_points(points, 2).tolist() == [[0, 2]]


@settings(deadline=None)
@given(SEEDS, st.integers(1, 20), st.integers(1, 5), st.sampled_from([cloud, lattice]), st.data())
def test_nearest_equals_brute_force(seed, size, queries, make, data) -> None:
    points, asked = make(2, size, seed=seed), make(2, queries, seed=seed + 1)
    k = data.draw(st.integers(1, size))
    distances, indices = nearest(points, asked, k)
    assert distances.shape == indices.shape == (2, queries, k)
    assert indices.dtype == torch.int64
    for b in range(2):
        for m in range(queries):
            every = [squared(asked[b, m], point) for point in points[b]]
            assert distances[b, m].tolist() == sorted(every)[:k]
            assert [every[i] for i in indices[b, m]] == distances[b, m].tolist()
            assert len(set(indices[b, m].tolist())) == k


def test_nearest_keeps_small_distances_far_from_the_origin() -> None:
    points = 1000 + cloud(1, 200).double() * 0.01
    distances, _ = nearest(points.float(), points.float(), 4)
    assert (distances[..., 0] == 0).all()
    exact = (points.float().double()[:, :, None] - points.float().double()[:, None]).square().sum(-1)
    torch.testing.assert_close(distances.double(), exact.sort(-1).values[..., :4], rtol=1e-6, atol=0)


def test_nearest_does_not_mix_samples() -> None:
    points, queries = cloud(3, 40), cloud(3, 7, seed=1)
    together, alone = nearest(points, queries, 5), nearest(points[2:], queries[2:], 5)
    torch.testing.assert_close(together[0][2:], alone[0], rtol=0, atol=0)
    torch.testing.assert_close(together[1][2:], alone[1], rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(), (4,), (4, 5), (2, 3, 2)])
def test_gather_picks_rows_of_its_own_sample_and_passes_the_gradient(shape: tuple[int, ...]) -> None:
    values = normal(2, 6, 3).requires_grad_()
    indices = torch.randint(0, 6, (2, *shape), generator=torch.Generator().manual_seed(0))
    picked = gather(values, indices)
    assert picked.shape == (2, *shape, 3)
    for place in np.ndindex(2, *shape):
        assert torch.equal(picked[place], values[place[0], indices[place]])
    picked.sum().backward()
    counts = torch.stack([row.flatten().bincount(minlength=6) for row in indices])
    assert values.grad is not None
    torch.testing.assert_close(values.grad, counts[..., None].expand(-1, -1, 3).float())


@settings(deadline=None)
@given(SEEDS, st.integers(1, 6), st.sampled_from([cloud, lattice]))
def test_interpolation_equals_the_formula_at_every_point(seed: int, groups: int, make) -> None:
    points, values = cloud(2, 9, seed=seed), normal(2, groups, 4)
    centres = make(2, groups, seed=seed + 1)
    spread = interpolate(points, centres, values)
    for b in range(2):
        for n in range(9):
            every = [float(squared(points[b, n], centre)) for centre in centres[b]]
            three = sorted(range(groups), key=every.__getitem__)[:3]
            if groups > 3 and sorted(every)[2] == sorted(every)[3]:
                continue  # which of the tied centres is third is open
            weights = [1 / (every[i] + 1e-8) for i in three]
            expected = sum(w * values[b, i] for w, i in zip(weights, three, strict=True)) / sum(weights)
            torch.testing.assert_close(spread[b, n], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2, 3, 8])
def test_interpolation_is_exact_at_centres_and_reproduces_constants(groups: int) -> None:
    centres, values = cloud(2, groups), normal(2, groups, 5)
    torch.testing.assert_close(interpolate(centres, centres, values), values, atol=1e-5, rtol=1e-5)
    constant = torch.full((2, groups, 5), 3.0)
    torch.testing.assert_close(interpolate(cloud(2, 30, seed=1), centres, constant), torch.full((2, 30, 5), 3.0))


def test_interpolation_passes_the_gradient_to_values_alone_and_does_not_mix_samples() -> None:
    points, centres = cloud(3, 11).requires_grad_(), cloud(3, 5, seed=1).requires_grad_()
    values = normal(3, 5, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: interpolate(points, centres, v), values)
    spread = interpolate(points, centres, values)
    (gradient,) = torch.autograd.grad(spread[1].sum(), values, retain_graph=True)
    assert (gradient[[0, 2]] == 0).all()
    torch.testing.assert_close(gradient[1].sum(), torch.tensor(44.0, dtype=torch.float64))  # weights add up to 1
    spread.sum().backward()
    assert points.grad is None
    assert centres.grad is None
    torch.testing.assert_close(spread[1:2], interpolate(points[1:2], centres[1:2], values[1:2]), rtol=0, atol=0)


def test_interpolation_keeps_the_dtype_of_the_values() -> None:
    values = normal(1, 5, 4)
    half = interpolate(cloud(1, 9), cloud(1, 5, seed=1), values.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), interpolate(cloud(1, 9), cloud(1, 5, seed=1), values), atol=0.05, rtol=0)


def test_coinciding_points_and_clouds_of_one_point() -> None:
    same, one = torch.ones(2, 4, 3), torch.ones(2, 1, 3)
    assert farthest_points(one, 1).tolist() == [[0], [0]]
    assert nearest(one, same, 1)[1].flatten(1).tolist() == [[0] * 4] * 2
    assert (nearest(same, one, 4)[0] == 0).all()
    values = torch.arange(8.0).view(2, 4, 1)
    torch.testing.assert_close(interpolate(one, same[:, :3], values[:, :3]), torch.tensor([[[1.0]], [[5.0]]]))
    torch.testing.assert_close(interpolate(same, one, values[:, :1]), values[:, :1].expand(-1, 4, -1))


def test_wrong_shapes_and_counts_are_named() -> None:
    points = cloud(2, 8)
    with pytest.raises(ValueError, match=r"points must be \[B, N, 3\], got \[8, 3\]"):
        farthest_points(points[0], 4)
    with pytest.raises(ValueError, match=r"points must be \[B, N, 3\], got \[2, 8, 2\]"):
        farthest_points(points[..., :2], 4)
    for count in (0, 9):
        with pytest.raises(ValueError, match=rf"count must be from 1 to the 8 points of \[2, 8, 3\], got {count}"):
            farthest_points(points, count)
        with pytest.raises(ValueError, match=rf"k must be from 1 to the 8 points of \[2, 8, 3\], got {count}"):
            nearest(points, points, count)
    with pytest.raises(ValueError, match=r"queries must be \[B, N, 3\], got \[2, 3\]"):
        nearest(points, points[:, 0], 1)
    with pytest.raises(ValueError, match=r"queries \[1, 8, 3\] and points \[2, 8, 3\] must have the same batch size"):
        nearest(points, points[:1], 1)
    with pytest.raises(ValueError, match=r"values must be \[B, N, C\], got \[8, 3\]"):
        gather(points[0], torch.zeros(8, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"indices \[1, 3\] and values \[2, 8, 3\] must have the same batch size"):
        gather(points, torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"values must be \[B, G, C\] for centres \[2, 8, 3\], got \[2, 7, 4\]"):
        interpolate(points, points, torch.zeros(2, 7, 4))
    with pytest.raises(ValueError, match=r"centres must be \[B, N, 3\], got \[2, 8\]"):
        interpolate(points, points[..., 0], torch.zeros(2, 8, 4))
