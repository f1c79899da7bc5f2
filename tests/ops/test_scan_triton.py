"""The Triton selective scan against a float64 loop: in Triton's interpreter, and on a GPU where there is one.

Triton picks interpreter or compiler when it is first imported, so the interpreter has a process of its own: this file
run as a script, which prints every case's errors.
"""

import functools
import importlib.metadata
import importlib.util
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

NAMES = ("u", "dt", "A", "B", "C", "D", "z", "dt_bias")


@dataclass(frozen=True)
class Case:
    """Sizes, and what differs from float32 with every input present."""

    batch: int = 1
    length: int = 5
    channels: int = 3
    states: int = 5
    absent: str = ""
    softplus: bool = True
    dtype: torch.dtype = torch.float32
    dt_scale: float = 1.0
    transposed: bool = False
    processors: int | None = 0
    """Of the GPU, by which a sequence is cut into segments: 0 for none, None for what the GPU has."""


CASES = {
    "s16_three_chunks": Case(batch=2, length=9, channels=6, states=16),
    "one_token": Case(length=1),
    "whole_chunks": Case(length=8, channels=4),
    "no_skip": Case(absent="D"),
    "no_gate": Case(absent="z"),
    "no_bias": Case(absent="dt_bias"),
    "no_softplus": Case(softplus=False),
    "none_at_all": Case(absent="D z dt_bias", softplus=False),
    "tiny_steps": Case(dt_scale=0.0),
    "huge_steps": Case(dt_scale=120.0),
    "not_contiguous": Case(transposed=True),
    "bfloat16": Case(dtype=torch.bfloat16),
    "float16": Case(dtype=torch.float16),
    "segments": Case(batch=2, length=23, channels=6, processors=1),
    "segments_none_at_all": Case(length=17, absent="D z dt_bias", softplus=False, processors=1),
    "segments_tiny_steps": Case(length=16, dt_scale=0.0, processors=1),
    "segments_huge_steps": Case(length=13, dt_scale=120.0, processors=1),
    "segments_bfloat16": Case(length=13, dtype=torch.bfloat16, processors=1),
}
QUICK = ("s16_three_chunks", "one_token", "none_at_all", "bfloat16", "segments_bfloat16")
"""One of every path through the kernels; every case is interpreted by the slow tests."""
REAL = {"batch": 8, "length": 129, "channels": 768, "states": 16, "processors": None}
FEW = {"batch": 2, "channels": 40, "processors": None}
REAL_CASES = {
    "real": Case(**REAL),
    "real_none_at_all": Case(**REAL, absent="D z dt_bias", softplus=False),
    "real_bfloat16": Case(**REAL, dtype=torch.bfloat16),
    "real_float16": Case(**REAL, dtype=torch.float16),
    **{
        f"length_{length}": Case(**FEW, length=length, states=16) for length in (1, 2, 15, 16, 17, 128, 129, 1025, 4097)
    },
    **{f"states_{states}": Case(**FEW, length=321, states=states) for states in (4, 5, 8, 16, 32, 64)},
    "length_4097_float16": Case(**FEW, length=4097, states=16, dtype=torch.float16),
    "length_4097_bfloat16": Case(**FEW, length=4097, states=16, dtype=torch.bfloat16),
    "length_4097_in_one": Case(batch=2, channels=40, length=4097, states=16),
    "length_4097_huge_steps": Case(**FEW, length=4097, states=16, dt_scale=120.0),
}


def draw(case: Case, device: str) -> dict[str, Tensor | None]:
    """Inputs like a trained Mamba's; those of steps and weights in the case's dtype, parameters float32."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    tokens = (case.batch, case.length, case.channels)
    weights = (case.batch, case.length, case.states)
    drawn = {
        "u": normal(*tokens),
        "dt": case.dt_scale * normal(*tokens),
        "A": -torch.exp(normal(case.channels, case.states)),
        "B": normal(*weights),
        "C": normal(*weights),
        "D": normal(case.channels),
        "z": normal(*tokens),
        "dt_bias": normal(case.channels) - (9.0 if case.dt_scale == 0 else 1.0),
    }
    if not case.softplus:  # a step is then delta itself: small and positive
        drawn["dt"] = 0.1 * drawn["dt"].abs()
        drawn["dt_bias"] = 0.1 * drawn["dt_bias"].abs()
    for name in ("u", "dt", "B", "C", "z"):
        drawn[name] = drawn[name].to(case.dtype)
        if case.transposed:
            drawn[name] = drawn[name].transpose(1, 2).contiguous().transpose(1, 2)
    return {name: None if name in case.absent.split() else x.to(device) for name, x in drawn.items()}


def reference(inputs: dict[str, Tensor | None], softplus: bool, grad: Tensor, chunk: int) -> dict[str, Tensor]:
    """Output, states in front of each chunk and all gradients, by autograd through a float64 loop."""
    x = {name: None if v is None else v.double().requires_grad_() for name, v in inputs.items()}
    delta = x["dt"] if x["dt_bias"] is None else x["dt"] + x["dt_bias"]
    if softplus:
        delta = F.softplus(delta, threshold=40)
    h = x["u"].new_zeros(x["u"].shape[0], *x["A"].shape)
    states, outputs = [], []
    for t in range(x["u"].shape[1]):
        if t % chunk == 0:
            states.append(h.detach())
        step = (delta[:, t] * x["u"][:, t])[..., None] * x["B"][:, t, None]
        h = torch.exp(delta[:, t, :, None] * x["A"]) * h + step
        outputs.append((h * x["C"][:, t, None]).sum(-1))
    out = torch.stack(outputs, 1)
    if x["D"] is not None:
        out = out + x["D"] * x["u"]
    if x["z"] is not None:
        out = out * F.silu(x["z"])
    out.backward(grad.double())
    gradients = {f"d{name}": v.grad for name, v in x.items() if v is not None}
    return {"out": out.detach(), "states": torch.stack(states, 1), **gradients}


def errors(case: Case, device: str) -> dict[str, float]:
    """Largest difference of each result, as a part of the reference's largest value."""
    from zoo.ops import scan_triton

    if case.processors is not None:
        scan_triton.processors_of = lambda _: case.processors
    inputs = draw(case, device)
    grad = torch.randn(inputs["u"].shape, generator=torch.Generator().manual_seed(1)).to(device, case.dtype)
    out, states = scan_triton.forward(*inputs.values(), case.softplus)
    gradients = scan_triton.backward(grad, *inputs.values(), case.softplus, states)
    expected = reference(inputs, case.softplus, grad, scan_triton.CHUNK)
    got = {"out": out, "states": states, **{f"d{n}": g for n, g in zip(NAMES, gradients, strict=True) if g is not None}}
    assert got.keys() == expected.keys()
    for name, value in got.items():
        kept = name in ("out", "du", "ddt", "dB", "dC", "dz")
        assert value.dtype == (case.dtype if kept else torch.float32), name
        assert value.shape == expected[name].shape, name
    # With one token the first states are zeros: nothing to divide by.
    return {n: float((got[n] - e).abs().max() / e.abs().max().clamp_min(1e-30)) for n, e in expected.items()}


def same_bits(inputs: dict[str, Tensor | None]) -> dict[str, list[bool]]:
    """Whether results are equal bit for bit: a second time, and with partial sums of dB and dC in less memory."""
    from zoo.ops import scan_triton

    def run(limit: int) -> list[Tensor]:
        scan_triton.PARTIAL_BYTES = limit
        out, states = scan_triton.forward(*inputs.values(), True)
        return [out, states, *scan_triton.backward(out, *inputs.values(), True, states)]

    most = scan_triton.PARTIAL_BYTES
    first, again, little, less = (run(limit) for limit in (most, most, most // 2**10, 1))
    scan_triton.PARTIAL_BYTES = most
    runs = {"again": again, "in windows": little, "one chunk of one sequence": less}
    return {name: [torch.equal(a, b) for a, b in zip(first, run, strict=True)] for name, run in runs.items()}


BOUNDS = {torch.float32: 1e-4, torch.float16: 2**-10, torch.bfloat16: 2**-7}
"""float32 arithmetic; float16 has 11 bits, bfloat16 8, of which the interpreter cuts off the rest without rounding."""


def check(found: dict[str, float], case: Case) -> None:
    """Relative errors within the type's bound."""
    bound = BOUNDS[case.dtype]
    wrong = {name: error for name, error in found.items() if not error < bound}
    assert not wrong, f"relative errors above {bound}: {wrong}"


@pytest.fixture(autouse=True)
def own_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A case's number of processors is forgotten after it."""
    if importlib.util.find_spec("triton") is not None:
        from zoo.ops import scan_triton

        monkeypatch.setattr(scan_triton, "processors_of", scan_triton.processors_of)


@functools.cache
def interpreted(names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """{case: {result: error}} of some of `CASES`, and for "bits" `same_bits`, from one interpreter process."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton exists for Linux only")
    if tuple(map(int, importlib.metadata.version("triton").split(".")[:2])) < (3, 6):
        pytest.skip("the interpreter of this Triton is another one than `repair_interpreter` mends")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    line = [sys.executable, __file__, *names]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", QUICK)
def test_interpreter_agrees_with_the_loop(name: str) -> None:
    check(interpreted(QUICK)[name], CASES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in QUICK])
def test_interpreter_agrees_with_the_loop_in_every_case(name: str) -> None:
    check(interpreted(("bits", *CASES))[name], CASES[name])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CASES | REAL_CASES)
def test_gpu_agrees_with_the_loop(name: str) -> None:
    case = (CASES | REAL_CASES)[name]
    check(errors(case, "cuda"), case)


@pytest.mark.slow
def test_the_interpreter_gives_the_same_bits_again_and_in_less_memory() -> None:
    assert interpreted(("bits", *CASES))["bits"] == dict.fromkeys(
        ["again", "in windows", "one chunk of one sequence"], [True] * 10
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["real", "length_4097", "length_4097_bfloat16"])
def test_gpu_gives_the_same_bits_again_and_in_less_memory(name: str) -> None:
    for equal in same_bits(draw(REAL_CASES[name], "cuda")).values():
        assert equal == [True] * 10


def test_sequences_are_cut_where_they_are_few_and_long() -> None:
    scan_triton = pytest.importorskip("zoo.ops.scan_triton", exc_type=ImportError)
    chunks = {(b, n): scan_triton.span_of(b, n, 768, 132) for b in (1, 8, 96) for n in (1, 129, 1025, 4096)}
    whole = {key: -(-key[1] // scan_triton.CHUNK) for key in chunks}
    assert {key for key in chunks if chunks[key] < whole[key]} == {(1, 1025), (1, 4096), (8, 1025), (8, 4096)}
    for (batch, length), span in chunks.items():
        segments = -(-whole[batch, length] // span)
        assert segments * batch * 48 <= max(scan_triton.RESIDENT * 132, batch * 48)
        assert segments == 1 or (segments > 2 and span >= scan_triton.SHORTEST)


@pytest.mark.parametrize("size", [(1, 1), (96, 129), (32, 4096), (1, 2**20), (4096, 129)])
def test_partial_sums_stay_within_their_limit(size: tuple[int, int]) -> None:
    scan_triton = pytest.importorskip("zoo.ops.scan_triton", exc_type=ImportError)
    (batch, length), blocks, states = size, 768 // scan_triton.BLOCK_D, 16
    span = scan_triton.span_of(batch, length, 768, 132)
    segments = math.ceil(math.ceil(length / scan_triton.CHUNK) / span)
    chunk = 2 * blocks * segments * scan_triton.CHUNK * states * 4
    rows, window = scan_triton._window(batch, span, chunk)
    assert 1 <= rows <= batch
    assert 1 <= window <= span
    assert rows * window * chunk <= scan_triton.PARTIAL_BYTES
    assert rows == batch or window == 1


def repair_interpreter() -> None:
    """Let a loop end at a tensor: Triton 3.6 calls int() on an array [1], which NumPy 2.4 refuses (triton #9171)."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patch_and_repair(tensor: type, scope: interpreter._LangPatchScope) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch_and_repair


if __name__ == "__main__":
    from zoo.ops import scan_triton

    repair_interpreter()
    # A token costs the interpreter 10 ms: few of them fill chunks, and segments of one.
    scan_triton.CHUNK, scan_triton.BLOCK_D, scan_triton.SHORTEST = 4, 4, 1
    found = {name: errors(CASES[name], "cpu") for name in sys.argv[1:] if name in CASES}
    scan_triton.processors_of = lambda _: 1
    scan_triton.PARTIAL_BYTES = 2**21  # of which a thousandth holds a chunk or two
    print(
        json.dumps(found | {name: same_bits(draw(CASES["segments"], "cpu")) for name in sys.argv[1:] if name == "bits"})
    )
