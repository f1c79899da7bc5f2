"""What is prepared for minutes on a GPU runs, at tiny sizes, on a processor."""

import json
import sys
from pathlib import Path

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
@pytest.mark.slow
def test_every_method_takes_its_steps_beside_lora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_steps

    cases = [name for name in gpu_steps.CASES if "4bit" not in name]  # four bits need CUDA; its small form has none
    found = rows("gpu_steps", tmp_path / "steps.json", monkeypatch, f"cases={','.join(cases)}")
    assert [row for row in found if "error" in row] == []
    for case in cases:
        for method in ("recipe", "lora"):
            (step,) = [row for row in found if (row["case"], row["method"], row.get("kind")) == (case, method, "fp32")]
            assert step["median_ms"] > 0  # type: ignore[operator]
            assert step["tflop"] > 0  # type: ignore[operator]


@pytest.mark.usefixtures("benchmarks")
def test_an_epoch_is_read_with_and_without_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rows("gpu_cache", tmp_path / "cache.json", monkeypatch)
    assert [row["epoch"] for row in found] == ["empty cache", "from the cache", "from the cache", "without a cache"]


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
