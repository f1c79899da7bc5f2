"""What is prepared for minutes on a GPU runs, at tiny sizes, on a processor."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def rows(module: str, path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[dict[str, object]]:
    monkeypatch.setattr(sys, "argv", [module, f"output={path}", "tiny=true", *words])
    __import__(module).main()
    found: list[dict[str, object]] = json.loads(path.read_text())["rows"]
    return found


@pytest.mark.usefixtures("benchmarks")
def test_the_scan_is_timed_both_ways_and_beside_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows("gpu_scan", tmp_path / "scan.json", monkeypatch)
    assert {(row["B"], row["L"], row["dtype"]) for row in found} == {
        (size, length, dtype) for size in (1, 2) for length in (5, 9) for dtype in ("float32", "bfloat16")
    }
    assert all(row["forward_ms"] > 0 and row["backward_ms"] > 0 for row in found)  # type: ignore[operator]
    # u, dt, z and the output [1, 5, 8], B and C [1, 5, 16]: 4 * 40 + 2 * 80 numbers of two bytes.
    import gpu_scan

    assert gpu_scan.moved(1, 5, 8, 2) == {"forward": 640, "backward": 2 * (7 * 40 + 4 * 80)}


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.parametrize("of", ["mantis", pytest.param("others", marks=pytest.mark.slow)])
def test_every_method_takes_its_steps_beside_lora(of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_steps

    at_hand = importlib.util.find_spec("bitsandbytes") is not None
    others = [name for name, case in gpu_steps.CASES.items() if name != "mantis" and (at_hand or not case.in_four_bits)]
    cases = ["mantis"] if of == "mantis" else others
    found = rows("gpu_steps", tmp_path / "steps.json", monkeypatch, f"cases={','.join(cases)}")
    assert [row for row in found if "error" in row] == []
    for case in cases:
        for method in ("recipe", "lora"):
            (step,) = [row for row in found if (row["case"], row["method"], row.get("kind")) == (case, method, "fp32")]
            assert step["median_ms"] > 0  # type: ignore[operator]
            assert step["tflop"] > 0  # type: ignore[operator]
        (step,) = [row for row in found if (row["case"], row.get("kind")) == (case, "bf16, compiled")]
        assert step["median_ms"] > 0  # type: ignore[operator]


@pytest.mark.usefixtures("benchmarks")
def test_an_epoch_is_read_with_and_without_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows("gpu_cache", tmp_path / "cache.json", monkeypatch)
    assert [row["epoch"] for row in found] == ["empty cache", "from the cache", "from the cache", "without a cache"]


@pytest.mark.slow
@pytest.mark.usefixtures("benchmarks")
def test_every_gpu_test_leaves_a_row_and_one_that_fails_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu_tests

    (tmp_path / "test_made.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.gpu\n"
        "def test_right(): pass\n"
        "def test_wrong(): assert 1 == 2\n"
        "@pytest.mark.skip\ndef test_skipped(): pass\n"
        "@pytest.fixture\ndef broken(): raise OSError('no device')\n"
        "def test_broken(broken): pass\n"
    )
    assert all((gpu_tests.TESTS / file).is_file() for file in gpu_tests.FILES)
    script = (
        "import sys; from pathlib import Path; import gpu_tests; gpu_tests.TESTS = Path(sys.argv.pop()); "
        "gpu_tests.FILES = ['test_made.py']; gpu_tests.WORKERS = 1; gpu_tests.main()"
    )
    command = [sys.executable, "-c", script, f"output={tmp_path / 'tests.json'}", str(tmp_path)]
    paths = os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent), str(BENCHMARKS.parent / "tests" / "helpers")])
    subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, check=True, cwd=BENCHMARKS.parent)
    found = json.loads((tmp_path / "tests.json").read_text())["rows"]
    outcomes = {row["test"].rpartition("::")[2]: row["outcome"] for row in found}
    assert outcomes == {
        "test_right": "passed",
        "test_wrong": "failed",
        "test_skipped": "skipped",
        "test_broken": "failed",
    }
    errors = {row["test"].rpartition("::")[2]: row["error"] for row in found if "error" in row}
    assert "1 == 2" in errors["test_wrong"]
    assert "no device" in errors["test_broken"]


@pytest.mark.usefixtures("benchmarks")
def test_the_share_of_the_scan_is_of_the_device_that_computes() -> None:
    pytest.importorskip("triton")
    import mantis_step

    def event(key: str, device: str, cpu: float, gpu: float) -> SimpleNamespace:
        kind = SimpleNamespace(name=device)
        return SimpleNamespace(key=key, device_type=kind, self_cpu_time_total=cpu, self_device_time_total=gpu)

    events = [
        event("zoo::selective_scan", "CPU", 3.0, 50.0),
        event("aten::mm", "CPU", 7.0, 30.0),
        event("forward_kernel", "CUDA", 0.0, 40.0),
        event("backward_carry", "CUDA", 0.0, 10.0),
        event("sm90_gemm", "CUDA", 0.0, 150.0),
    ]
    assert mantis_step.share_in_scan(events, gpu=True) == 0.25
    assert mantis_step.share_in_scan(events[:2], gpu=False) == 0.3
    modules = (importlib.import_module(f"zoo.ops.scan_triton_{part}") for part in ("walk", "carry"))
    assert set(mantis_step.KERNELS) < {name for module in modules for name in vars(module)}


@pytest.mark.usefixtures("benchmarks")
@pytest.mark.slow
def test_a_mantis_step_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows("mantis_step", tmp_path / "step.json", monkeypatch, "batch=2", "points=130")
    assert [row["method"] for row in found] == ["mantis", "mantis without dscd", "lora", "linear probe"]
    assert all(0 < row["share_in_scan"] < 1 and row["step_s"] > 0 for row in found)  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.usefixtures("benchmarks")
def test_one_command_walks_every_section_and_keeps_the_files_of_each(tmp_path: Path) -> None:
    words = [str(BENCHMARKS / "gpu.py"), f"output={tmp_path}", "tiny=true", "sections=tests,scan,cache"]
    subprocess.run([sys.executable, *words], env=os.environ | {"BENCHMARK_COMMIT": "abc"}, check=True)
    ended = json.loads((tmp_path / "sections.json").read_text())["sections"]
    assert [(one["section"], one["ended"]) for one in ended] == [(n, "done") for n in ("tests", "scan", "cache")]
    assert all(json.loads((tmp_path / f"{name}.json").read_text())["rows"] for name in ("tests", "scan", "cache"))


@pytest.mark.slow
@pytest.mark.usefixtures("benchmarks")
def test_a_section_that_hangs_is_cut_off_and_what_it_wrote_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu

    path = tmp_path / "scan.json"
    script = f"import pathlib, time; pathlib.Path({str(path)!r}).write_text('kept'); time.sleep(600)"
    monkeypatch.setattr(gpu, "command", lambda *_, **__: [sys.executable, "-c", script])
    monkeypatch.setitem(gpu.LIMITS, "scan", 5)
    assert gpu.run("scan", tmp_path, tiny=True)["ended"] == "cut off"
    assert path.read_text() == "kept"


@pytest.mark.usefixtures("benchmarks")
def test_a_row_stands_in_the_file_at_once_and_one_that_fails_says_why(tmp_path: Path) -> None:
    from measuring import Record

    def fail() -> dict[str, object]:
        raise RuntimeError("CUDA out of memory")

    record = Record(tmp_path / "out" / "rows.json")
    record.add(a=1)
    assert json.loads((tmp_path / "out" / "rows.json").read_text())["rows"] == [{"a": 1}]
    record.attempt({"b": 2}, fail)
    assert record.content["rows"][1] == {"b": 2, "error": "RuntimeError: CUDA out of memory"}


@pytest.mark.usefixtures("benchmarks")
def test_all_sections_stay_below_eight_minutes_and_their_scripts_exist() -> None:
    import gpu

    assert sum(gpu.LIMITS.values()) <= 480
    for name in gpu.LIMITS:
        command = gpu.command(name, Path("out"), tiny=False)
        assert all(Path(word).is_file() for word in command if word.endswith(".py"))
