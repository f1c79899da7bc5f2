"""Token orders against scalar and recursive definitions of the curves."""

from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.ops.serialization import BITS, ORDERS, Order, hilbert, morton, order

CURVES: tuple[Order, ...] = ("z_order", "hilbert")
FORWARDS = [name for name in ORDERS if f"{name}_reversed" in ORDERS]
SEEDS = st.integers(0, 10_000)


def cloud(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(seed))


def grid(bits: int) -> Tensor:
    side = torch.arange(1 << bits)
    return torch.cartesian_prod(side, side, side)


def bit_string(cell: list[int], bits: int) -> int:
    """Morton's code read off a string of bits: z, y, x from the highest level down."""
    return int("".join(format(axis, f"0{bits}b")[level] for level in range(bits) for axis in reversed(cell)), 2)


def recursive(cell: list[int], bits: int) -> int:
    """Hilbert's curve: octants in the order of the Gray code, in each a turned smaller curve, in every other backwards.

    The axis of the smaller curve that was first changes places with, or is mirrored along, each axis in turn.
    """
    if bits == 0:
        return 0
    low = [axis % (1 << bits - 1) for axis in cell]
    octant = [axis >> bits - 1 for axis in cell]
    for i in range(3):
        if octant[i]:
            low[0] = (1 << bits - 1) - 1 - low[0]
        else:
            low[0], low[i] = low[i], low[0]
    rank = [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1), (1, 0, 0)].index(tuple(octant))
    inside, size = recursive(low, bits - 1), 8 ** (bits - 1)
    return rank * size + (size - 1 - inside if rank % 2 else inside)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_codes_equal_the_definitions_on_full_grids(bits: int) -> None:
    cells = grid(bits)
    assert morton(cells, bits).tolist() == [bit_string(cell, bits) for cell in cells.tolist()]
    assert hilbert(cells, bits).tolist() == [recursive(cell, bits) for cell in cells.tolist()]


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2**BITS - 1)] * 3), min_size=1, max_size=20))
def test_codes_equal_the_definitions_at_full_depth(cells: list[tuple[int, int, int]]) -> None:
    assert morton(torch.tensor(cells), BITS).tolist() == [bit_string(list(cell), BITS) for cell in cells]
    assert hilbert(torch.tensor(cells), BITS).tolist() == [recursive(list(cell), BITS) for cell in cells]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_hilbert_curve_visits_every_cell_once_in_steps_of_one_and_fills_octants_in_turn(bits: int) -> None:
    cells = grid(bits)
    codes = hilbert(cells, bits)
    assert sorted(codes.tolist()) == list(range(8**bits))
    path = cells[codes.argsort()]
    assert path[0].tolist() == [0, 0, 0]
    assert (path.diff(dim=0).abs().sum(1) == 1).all()
    octants = (path >> bits - 1).view(8, -1, 3)
    assert (octants == octants[:, :1]).all()


@settings(deadline=None)
@given(SEEDS, st.integers(1, 30), st.sampled_from(ORDERS), st.booleans())
def test_every_order_is_a_permutation_and_does_not_mix_samples(seed, size, name, ties) -> None:
    centres = cloud(3, size, seed=seed)
    centres = centres.round() if ties else centres
    permutation = order(centres, name)
    assert permutation.dtype == torch.int64
    assert all(sorted(row) == list(range(size)) for row in permutation.tolist())
    torch.testing.assert_close(permutation[1:2], order(centres[1:2], name), rtol=0, atol=0)


def test_native_order_is_the_identity() -> None:
    assert order(cloud(2, 5), "native").tolist() == [[0, 1, 2, 3, 4]] * 2


@settings(deadline=None)
@given(SEEDS, st.sampled_from("xyz"))
def test_axis_orders_sort_stably_both_ways(seed: int, axis: str) -> None:
    centres = cloud(1, 30, seed=seed).round()
    values = centres[0, :, "xyz".index(axis)].tolist()
    assert order(centres, cast(Order, axis))[0].tolist() == sorted(range(30), key=lambda i: (values[i], i))
    backwards = order(centres, cast(Order, f"{axis}_reversed"))[0].tolist()
    assert backwards == sorted(range(30), key=lambda i: (-values[i], i))


@pytest.mark.parametrize("name", FORWARDS)
def test_reversed_orders_are_reversed_without_ties_and_keep_the_order_of_equals(name: str) -> None:
    assert len(FORWARDS) == 5
    forwards, backwards = cast(Order, name), cast(Order, f"{name}_reversed")
    centres = cloud(2, 40)
    torch.testing.assert_close(order(centres, backwards), order(centres, forwards).flip(1), rtol=0, atol=0)
    assert order(torch.ones(1, 6, 3), forwards).tolist() == [[0, 1, 2, 3, 4, 5]]
    assert order(torch.ones(1, 6, 3), backwards).tolist() == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize(("name", "code"), [("z_order", bit_string), ("hilbert", recursive)])
def test_curves_run_through_a_cube_as_wide_as_the_largest_extent(name: Order, code) -> None:
    cells = torch.randint(0, 2**BITS, (60, 3), generator=torch.Generator().manual_seed(0))
    cells[:, 1:] //= torch.tensor([2, 100])  # a flat cloud: y and z are not stretched
    cells[0], cells[1], cells[2] = 0, torch.tensor([2**BITS, 0, 0]), torch.tensor([2**BITS - 1, 1, 0])
    centres = (cells + 0.5) * (cells > 0) * (cells < 2**BITS) + 2.0**BITS * (cells == 2**BITS)
    inside = cells.clamp(max=2**BITS - 1).tolist()  # the far face belongs to the last cell
    expected = sorted(range(60), key=lambda i: (code(inside[i], BITS), i))
    assert order(centres[None], name)[0].tolist() == expected


@settings(deadline=None)
@given(SEEDS, st.sampled_from(CURVES), st.integers(-5, 5), st.tuples(*[st.integers(-50, 50)] * 3))
def test_shift_and_scale_do_not_change_the_curves(seed, name, power, shift) -> None:
    centres = (cloud(2, 50, seed=seed) * 256).round() / 256  # exact in float32 after the shift
    moved = (centres + torch.tensor(shift)) * 2.0**power
    torch.testing.assert_close(order(moved, name), order(centres, name), rtol=0, atol=0)


@pytest.mark.parametrize("scale", [0.3, 1.7, 1e3])
@pytest.mark.parametrize("name", CURVES)
def test_scales_that_round_change_nothing_where_points_lie_inside_their_cells(name: Order, scale: float) -> None:
    centres = (cloud(2, 50) * 100).round().clamp(-255, 255) + 0.5
    centres[:, 0], centres[:, 1] = -256, 256  # 512 units: two cells each, and every other point off the faces
    centres[:, 2:] += 0.01
    moved = centres * scale + 0.1 * scale
    torch.testing.assert_close(order(moved, name), order(centres, name), rtol=0, atol=0)


@pytest.mark.parametrize("name", ORDERS)
def test_clouds_of_one_point_and_without_extent_along_some_axes(name: Order) -> None:
    assert order(torch.full((2, 1, 3), 7.0), name).tolist() == [[0], [0]]
    line = torch.tensor([[[0.0, 5, 5], [2, 5, 5], [1, 5, 5]]])
    assert sorted(order(line, name)[0].tolist()) == [0, 1, 2]
    assert order(line, "z_order").tolist() == order(line, "hilbert").tolist() == [[0, 2, 1]]


def test_unknown_orders_and_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown order 'peano': expected one of native, x, y, z, x_reversed"):
        order(cloud(1, 4), cast(Order, "peano"))
    with pytest.raises(ValueError, match="unknown order 'native_reversed'"):
        order(cloud(1, 4), cast(Order, "native_reversed"))
    for shape in [(4, 3), (1, 4, 2)]:
        with pytest.raises(ValueError, match=r"centres must be \[B, G, 3\], got \["):
            order(torch.zeros(shape), "x")
