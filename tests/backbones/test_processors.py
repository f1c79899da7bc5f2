"""A base and a generated set are the same on every processor: vector units and threads change no byte of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import processors
import pytest
import torch
from torch import nn

from zoo.backbones.draws import Draws, initialising, trunc_normal_
from zoo.backbones.fingerprint import fingerprints_of_format
from zoo.backbones.mamba3d import Mamba3D
from zoo.ops.resample_table import bicubic

ROOT = Path(__file__).parents[2]
SENSITIVE = ("test_adapter_base", "test_backbones", "test_beats", "test_fbank", "test_synthetic_clouds", "test_weights")
"""Tests that compare with stored numbers, or across processes."""


@pytest.mark.slow
def test_bases_and_generated_sets_are_the_same_bytes_without_vector_units() -> None:
    assert processors.elsewhere("default", 1, processors.QUICK) == processors.own(processors.QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("units", processors.UNITS)
def test_bases_sets_and_sensitive_tests_hold_on_every_processor(units: str, threads: int) -> None:
    assert processors.elsewhere(units, threads) == processors.own()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *(str(next(ROOT.glob(f"tests/*/{name}.py"))) for name in SENSITIVE)],
        cwd=ROOT,
        env=os.environ | processors.UNITS[units] | {"OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_drawn_weights_have_the_distribution_that_was_asked_for() -> None:
    with Draws(0):
        normal = torch.empty(400, 500).normal_(0.5, 0.02)
        uniform = torch.empty(400, 500).uniform_(-0.3, 0.7)
        cut = trunc_normal_(torch.empty(400, 500), 1.0)
        standard, unit = torch.randn(400, 500), torch.rand(400, 500)
    n = normal.numel()
    for values, mean, deviation in (
        (normal, 0.5, 0.02),
        (standard, 0, 1),
        (uniform, 0.2, 1 / 12**0.5),
        (unit, 0.5, 1 / 12**0.5),
        (cut, 0, 0.8796),  # of a normal cut at two deviations
    ):
        assert float(values.mean()) == pytest.approx(mean, abs=4 * deviation / n**0.5)
        assert float(values.std()) == pytest.approx(deviation, rel=0.01)
    # Within one, two and three deviations, as a normal has them; eight summed integers stay within a hundredth.
    shares = [float((standard.abs() < k).double().mean()) for k in (1, 2, 3)]
    assert shares == pytest.approx([0.6827, 0.9545, 0.9973], abs=0.01)
    assert float(uniform.min()) >= -0.3
    assert float(uniform.max()) < 0.7
    assert float(cut.abs().max()) <= 2
    corners = torch.stack([normal.flatten()[:-1] - 0.5, normal.flatten()[1:] - 0.5])
    assert abs(float(torch.corrcoef(corners)[0, 1])) < 4 / n**0.5


def test_draws_follow_from_their_seed_and_leave_the_callers_stream_alone() -> None:
    def layer(seed: int) -> torch.Tensor:
        with initialising(f"random:{seed}", "a layer"):
            return nn.Linear(8, 8).weight.detach()

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = layer(0)
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(first, layer(0))
    assert not torch.equal(first, layer(1))


def test_the_first_draws_of_a_seed_are_the_words_of_philox() -> None:
    """Worked out from the raw 64-bit words: what a later NumPy or torch must give as well."""
    words = [int(word) for word in np.random.Philox(7).random_raw(6)]
    with Draws(7):
        uniform = torch.empty(2, dtype=torch.float64).uniform_(-1, 1)
        normal = torch.empty(2, dtype=torch.float64).normal_()
    assert uniform.tolist() == [2 * ((word >> 40) / 2**24) - 1 for word in words[:2]]
    for value, pair in zip(normal.tolist(), (words[2:4], words[4:6]), strict=True):
        total = sum((word >> shift) & 0xFFFF for word in pair for shift in (0, 16, 32, 48))
        assert value == pytest.approx((total - 8 * 65535 / 2) / (8 * (2**32 - 1) / 12) ** 0.5, rel=1e-15)


def test_a_draw_without_a_portable_form_is_refused() -> None:
    with Draws(0), pytest.raises(NotImplementedError, match=r"exponential.* would differ between processors"):
        torch.empty(3).exponential_()


def test_former_formats_get_the_weights_that_torch_draws() -> None:
    def weight() -> torch.Tensor:
        return Mamba3D(source="random:0", width=16, depth=1, states=8, groups=16, neighbours=8).net.pos_embed[0].weight

    with fingerprints_of_format(2):
        former = weight()
    assert not torch.equal(former, weight())


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (37, 37), (50, 41), (5, 9)])
def test_resampled_positions_are_those_of_torch(size: tuple[int, int], antialias: bool) -> None:
    table = torch.from_numpy(np.random.default_rng(0).normal(size=(37, 37, 6)))
    grid = table.permute(2, 0, 1)[None]
    expected = nn.functional.interpolate(grid, size, mode="bicubic", antialias=antialias)[0].permute(1, 2, 0)
    found = bicubic(table.float(), size, antialias=antialias)
    # Float32 of the table and of the result; the sums are in double precision.
    torch.testing.assert_close(found.double(), expected, atol=2 * 2**-24 * float(table.abs().max()) * 2, rtol=0)
