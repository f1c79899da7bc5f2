"""Every Triton kernel of the zoo is compiled for a GPU of the kind it is for, which no GPU is needed for."""

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ON_GPU = ("u", "dt", "B", "C", "z", "grad", "out", "du", "ddt", "dz")
COUNTS = ("length", "channels", "width", "span", "base", "low", "window", "segments", "count", "blocks", "size")
WALK = {"SOFTPLUS": True, "CHUNK": 16, "BLOCK_D": 16, "WIDTH": 16}
KERNELS: dict[str, dict[str, Any]] = {
    "scan_triton_walk.forward_kernel": WALK,
    "scan_triton_walk.backward_kernel": WALK,
    "scan_triton_carry.forward_carry": WALK,
    "scan_triton_carry.backward_carry": WALK,
    "scan_triton_carry.combine": {"REVERSE": True, "BLOCK_D": 16, "WIDTH": 16},
    "scan_triton_carry.add_up": {"CHUNK": 16, "BLOCK": 256},
    "points_triton._farthest_kernel": {"WIDTH": 2048},
}


def assembly(name: str, dtype: str, **options: Any) -> str:
    """PTX of a kernel for compute capability 9.0, with tensors aligned as torch aligns them."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton exists for Linux only")
    if tuple(map(int, importlib.metadata.version("triton").split(".")[:2])) < (3, 6):
        pytest.skip("this Triton compiles sources in another form")
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module, _, kernel = name.partition(".")
    function = getattr(importlib.import_module(f"zoo.ops.{module}"), kernel)
    constants = KERNELS[name]
    signature, attributes = {}, {}
    for place, argument in enumerate(function.arg_names):
        kind = "*i64" if argument == "chosen" else f"*{dtype if argument in ON_GPU else 'fp32'}"
        kind = "constexpr" if argument in constants else "i32" if argument in COUNTS else kind
        signature[argument] = kind
        if kind.startswith("*") or argument in ("channels", "width"):
            attributes[(place,)] = [["tt.divisibility", 16]]
    given = {(function.arg_names.index(argument),): value for argument, value in constants.items()}
    source = ASTSource(fn=function, signature=signature, constexprs=given, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert compiled.asm["cubin"]  # NVIDIA's assembler took it
    return str(compiled.asm["ptx"])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", [name for name in KERNELS if name.startswith("scan")])
def test_the_scan_compiles_for_every_type(name: str, dtype: str) -> None:
    text = assembly(name, dtype, num_warps=1)
    assert "atom." not in text  # sums in a fixed order


def test_farthest_points_round_every_product_as_a_processor_does() -> None:
    fused = re.compile(r"\bfma\.rn")
    name = "points_triton._farthest_kernel"
    assert fused.search(assembly(name, "fp32", num_warps=4))
    assert not fused.search(assembly(name, "fp32", num_warps=4, enable_fp_fusion=False))
