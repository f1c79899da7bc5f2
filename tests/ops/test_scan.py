"""Every backend of the selective scan computes the recurrence, forward and backward."""

import subprocess
import sys
import types

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.ops.scan_loops import LANES, WIDTH, split
from zoo.ops.selective_scan import choose, selective_scan

NAMES = ("u", "dt", "A", "B", "C", "D", "z", "dt_bias")


def inputs(size: int = 2, length: int = 37, channels: int = 70, states: int = 5, *, seed: int = 0) -> dict[str, Tensor]:
    """Lengths and widths that are no multiple of the kernel's chunk and block."""
    torch.manual_seed(seed)
    token = (size, length, channels)
    return {
        "u": torch.randn(token),
        "dt": torch.randn(token),
        "A": -torch.rand(channels, states) * 8 - 0.1,
        "B": torch.randn(size, length, states),
        "C": torch.randn(size, length, states),
        "D": torch.randn(channels),
        "z": torch.randn(token),
        "dt_bias": torch.randn(channels) - 2,
    }


def naive(u, dt, A, B, C, D=None, z=None, dt_bias=None, softplus=True):
    """Scalar loops from the module's docstring."""
    out = torch.zeros_like(u)
    for b in range(u.shape[0]):
        for d in range(u.shape[2]):
            h = torch.zeros(A.shape[1], dtype=u.dtype)
            for t in range(u.shape[1]):
                step = dt[b, t, d] + (0 if dt_bias is None else dt_bias[d])
                step = torch.log1p(torch.exp(step)) if softplus else step
                h = torch.exp(step * A[d]) * h + step * B[b, t] * u[b, t, d]
                y = (h * C[b, t]).sum() + (0 if D is None else D[d] * u[b, t, d])
                out[b, t, d] = y if z is None else y * z[b, t, d] / (1 + torch.exp(-z[b, t, d]))
    return out


def run(tensors: dict[str, Tensor], backend: str, dtype: torch.dtype, **settings) -> dict[str, Tensor]:
    """Output and every gradient, for a fixed random weighting of the output."""
    leaves = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in tensors.items()}
    out = selective_scan(**leaves, backend=backend, **settings)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    gradients = torch.autograd.grad((out * weight).sum(), list(leaves.values()))
    return {"out": out.detach(), **dict(zip(leaves, gradients, strict=True))}


def error(found: Tensor, truth: Tensor) -> float:
    return ((found.double() - truth).abs().max() / truth.abs().max().clamp(min=1e-12)).item()


@pytest.mark.parametrize("absent", [(), ("D",), ("z",), ("dt_bias",), ("D", "z", "dt_bias")])
@pytest.mark.parametrize("softplus", [True, False])
def test_the_reference_equals_scalar_loops(absent: tuple[str, ...], softplus: bool) -> None:
    tensors = {n: t.double() for n, t in inputs(1, 6, 3, 2).items() if n not in absent}
    if not softplus:
        tensors["dt"] = tensors["dt"].abs() + 2.5
    found = selective_scan(**tensors, softplus=softplus, backend="reference")
    torch.testing.assert_close(found, naive(**tensors, softplus=softplus))


@pytest.mark.parametrize("length", [2, 3, 64, 65])
def test_doubling_gives_what_the_reference_gives(length: int) -> None:
    found, truth = (run(inputs(length=length), backend, torch.float64) for backend in ("doubling", "reference"))
    for name in truth:
        torch.testing.assert_close(found[name], truth[name], msg=name)


def test_the_reference_passes_gradcheck_in_float64() -> None:
    leaves = [tensor.double().requires_grad_() for tensor in inputs(1, 4, 3, 2).values()]

    def scan(*values: Tensor) -> Tensor:
        return selective_scan(**dict(zip(NAMES, values, strict=True)), backend="reference")

    assert torch.autograd.gradcheck(scan, leaves)


@pytest.mark.parametrize("shape", [(2, 37, 70, 5), (1, 1, 1, 1), (3, 16, 64, 16), (1, 129, 130, 16)])
@pytest.mark.parametrize("absent", [(), ("D",), ("z",), ("dt_bias",)])
def test_the_cpu_kernel_agrees_with_the_reference_in_float64(shape: tuple, absent: tuple[str, ...]) -> None:
    tensors = {n: t for n, t in inputs(*shape).items() if n not in absent}
    truth, found = run(tensors, "reference", torch.float64), run(tensors, "numba", torch.float32)
    assert {name: error(found[name], truth[name]) for name in truth} == pytest.approx(dict.fromkeys(truth, 0), abs=1e-5)


def test_the_cpu_kernel_agrees_without_softplus_and_at_extreme_steps() -> None:
    tensors = inputs()
    tensors["dt"] = tensors["dt"].abs()
    tensors["dt_bias"] = tensors["dt_bias"].abs()
    truth = run(tensors, "reference", torch.float64, softplus=False)
    found = run(tensors, "numba", torch.float32, softplus=False)
    assert max(error(found[name], truth[name]) for name in truth) < 1e-5
    tensors = inputs()
    tensors["dt"] = tensors["dt"] * 60  # softplus far out on both sides: decay of nothing, and of everything
    truth, found = run(tensors, "reference", torch.float64), run(tensors, "numba", torch.float32)
    assert all(bool(torch.isfinite(value).all()) for value in found.values())
    assert max(error(found[name], truth[name]) for name in truth) < 1e-4


def test_half_precision_inputs_are_scanned_in_float32_and_come_back_in_their_type() -> None:
    tensors = {name: tensor.bfloat16() for name, tensor in inputs().items()}
    truth, found = run(tensors, "reference", torch.float64), run(tensors, "numba", torch.bfloat16)
    assert {value.dtype for value in found.values()} == {torch.bfloat16}
    assert max(error(found[name], truth[name]) for name in truth) < 0.01  # the rounding of one bfloat16


def test_autocast_changes_nothing() -> None:
    tensors = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        found = [selective_scan(**tensors, backend=backend) for backend in ("numba", "reference")]
    for value, backend in zip(found, ("numba", "reference"), strict=True):
        assert torch.equal(value, selective_scan(**tensors, backend=backend))


def test_samples_do_not_depend_on_each_other_and_threads_change_nothing() -> None:
    tensors, whole = inputs(4), selective_scan(**inputs(4))
    single = {n: t[2:3] if t.ndim == 3 else t for n, t in tensors.items()}
    assert torch.equal(selective_scan(**single), whole[2:3])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert torch.equal(selective_scan(**tensors), whole)
    finally:
        torch.set_num_threads(threads)


def test_tensors_need_not_be_contiguous() -> None:
    tensors = inputs(2, 16, 16, 16)
    turned = {n: t.transpose(1, 2).contiguous().transpose(1, 2) if t.ndim == 3 else t for n, t in tensors.items()}
    assert torch.equal(selective_scan(**turned), selective_scan(**tensors))


def test_torch_compile_takes_it_whole_with_its_gradients() -> None:
    tensors = inputs()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    compiled = torch.compile(lambda **t: selective_scan(**t).square().sum(), backend="aot_eager", fullgraph=True)
    gradients = torch.autograd.grad(compiled(**leaves), list(leaves.values()))
    expected = torch.autograd.grad(selective_scan(**leaves).square().sum(), list(leaves.values()))
    for found, truth in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, truth)
    torch.library.opcheck(torch.ops.zoo.selective_scan.default, (*leaves.values(), True, "numba"))


@pytest.mark.parametrize("channels", [1, 16, 70, 192, 256, 260, 384, 768])
def test_channels_are_split_evenly_into_blocks_of_whole_registers(channels: int) -> None:
    blocks, lanes = split(channels)
    assert lanes % LANES == 0
    assert lanes <= WIDTH
    assert (blocks - 1) * lanes < channels <= blocks * lanes
    assert blocks * lanes - channels < blocks * LANES


def test_the_kernel_agrees_where_channels_fill_several_blocks_unevenly() -> None:
    tensors = inputs(2, 19, WIDTH + 4, 3)
    truth, found = run(tensors, "reference", torch.float64), run(tensors, "numba", torch.float32)
    assert max(error(found[name], truth[name]) for name in truth) < 1e-5


def test_without_gradients_the_kernel_is_called_as_it_is_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = inputs()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    expected = selective_scan(**leaves)
    monkeypatch.setattr("zoo.ops.selective_scan._scan", None)
    assert torch.equal(selective_scan(**tensors), expected)
    with torch.no_grad():
        assert torch.equal(selective_scan(**leaves), expected)
    with pytest.raises(TypeError):  # a gradient is wanted: through the operator
        selective_scan(**leaves)


def test_whoever_watches_operations_sees_the_scan() -> None:
    tensors = {name: tensor.to("meta") for name, tensor in inputs().items()}
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        selective_scan(**inputs())
    assert "zoo.selective_scan.default" in seen
    assert selective_scan(**tensors, backend="numba").shape == tensors["u"].shape


def strict_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """mamba-ssm's function by its signature, channels before tokens: inputs of one type, parameters float32."""
    assert {x.dtype for x in (u, delta, B, C, z) if x is not None} == {u.dtype}
    assert {x.dtype for x in (A, D, delta_bias) if x is not None} <= {torch.float32}
    assert all(x.is_contiguous() for x in (u, delta, B, C, z) if x is not None)
    turned = {"B": B, "C": C, "z": z}
    turned = {name: None if x is None else x.mT for name, x in turned.items()}
    settings = {"D": D, "dt_bias": delta_bias, "softplus": delta_softplus, "backend": "reference"}
    return selective_scan(u.mT, delta.mT, A, **turned, **settings).mT


@pytest.mark.parametrize("absent", [(), ("D", "z", "dt_bias")])
@pytest.mark.parametrize("other", ["dt", "B", "C", "z", "none"])
def test_mamba_ssm_is_given_inputs_of_one_type(
    other: str, absent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = strict_fn  # type: ignore[attr-defined]
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    tensors = {name: tensor for name, tensor in inputs(1, 7, 6, 4).items() if name not in absent}
    tensors = {name: tensor.bfloat16() if name != other else tensor for name, tensor in tensors.items()}
    found = selective_scan(**tensors, backend="mamba_ssm")
    assert found.dtype == torch.bfloat16
    same = {name: tensor.bfloat16() if tensor.ndim == 3 else tensor.float() for name, tensor in tensors.items()}
    assert torch.equal(found, selective_scan(**same, backend="reference"))


def test_a_scan_without_gradients_does_not_import_the_compiler_of_graphs() -> None:
    code = (
        "import sys, torch; from zoo.ops.selective_scan import selective_scan as s; r = torch.rand; "
        "s(r(1,2,3), r(1,2,3), -r(3,2), r(1,2,2), r(1,2,2)); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_shapes_and_backends_are_named() -> None:
    tensors = inputs()
    with pytest.raises(ValueError, match=r"B \[2, 36, 5\], expected \[2, 37, 5\]; D \[69\], expected \[70\]"):
        selective_scan(**(tensors | {"B": tensors["B"][:, 1:], "D": tensors["D"][1:]}))
    with pytest.raises(ValueError, match=r"u \[37, 70\]"):
        selective_scan(**(tensors | {"u": tensors["u"][0]}))
    with pytest.raises(ValueError, match="'cuda': expected one of auto"):
        selective_scan(**tensors, backend="cuda")


def test_a_backend_is_chosen_by_capability_and_a_device_without_one_says_so() -> None:
    assert choose(torch.device("cpu"), torch.float32) == choose(torch.device("cpu"), torch.bfloat16) == "numba"
    assert choose(torch.device("cpu"), torch.float64) == "reference"
    with pytest.raises(RuntimeError, match="scan: reference"):
        choose(torch.device("mps"), torch.float32)


@pytest.mark.slow
def test_the_reference_loads_no_compiler() -> None:
    code = (
        "import sys, torch; from zoo.ops.selective_scan import selective_scan as s; r = torch.rand; "
        "s(r(1,2,3), r(1,2,3), -r(3,2), r(1,2,2), r(1,2,2), backend='reference'); assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
