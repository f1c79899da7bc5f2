"""Tables and cards of what a GPU measured follow from its files, and say nothing without them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from zoo.catalog import card

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ABOUT = {
    "commit": {"commit": COMMIT, "dirty": False},
    "date": "2026-12-01",
    "hardware": "1x NVIDIA H100",
    "versions": {"torch": "2.11.0"},
}
STEP = {"case": "mantis", "batch": 32, "rounds": 8, "least_ms": 50.0, "tflop": 1.0}
FILES: dict[str, dict[str, Any]] = {
    "sections": {
        "sections": [
            {"section": "tests", "ended": "done", "seconds": 90.1, "tail": []},
            {"section": "scan", "ended": "cut off", "seconds": 91.0, "tail": []},
        ]
    },
    "tests": {
        "rows": [
            {"test": "ops/test_scan_triton.py::a", "outcome": "passed", "seconds": 1.0},
            {"test": "ops/test_scan_triton.py::b", "outcome": "failed", "seconds": 1.0, "error": "off by 3e-3"},
        ]
    },
    "scan": {
        "channels": 768,
        "states": 16,
        "copied_gb_per_s": 2500.4,
        "rows": [
            {
                **{"B": 8, "L": 1025, "dtype": "bfloat16", "scan": "triton"},
                **{"forward_ms": 0.5, "backward_ms": 1.5, "forward_limit_ms": 0.25, "backward_limit_ms": 0.5},
                "peak_mib": 2048.0,
            },
            {"B": 96, "L": 4096, "dtype": "float32", "scan": "mamba_ssm", "error": "RuntimeError: out of memory"},
        ],
    },
    "steps": {
        "tiny": False,
        "peak_tflop_per_s": {"fp32": 51.2, "bf16": 700.4},
        "rows": [
            {**STEP, "method": "recipe", "kind": "bf16", "median_ms": 61.24, "peak_mib": 5120.0, "of_peak": 0.2345},
            {"case": "mantis", "method": "recipe", "trainable": 1, "parameters": 2},
            {**STEP, "method": "lora", "kind": "tf32", "median_ms": 30.0, "peak_mib": 1024.0, "of_peak": 0.1},
            {"case": "qwen3_vl_4bit", "method": "recipe", "error": "ImportError: no bitsandbytes"},
        ],
    },
    "cache": {
        "recipe": "scale_aware_eurosat",
        "tiny": False,
        "rows": [{"epoch": "from the cache", "samples": 400, "seconds": 1.234}],
    },
}


@pytest.fixture
def gpu_table(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_table

    return gpu_table


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The documents as they are, without results."""
    (tmp_path / "benchmarks").mkdir()
    for name in ("README.md", "benchmarks/README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "model_cards", tmp_path / "model_cards")
    return tmp_path


def leave(folder: Path, **files: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(ABOUT | content))


def texts(tree: Path) -> dict[str, str]:
    return {path.relative_to(tree).as_posix(): path.read_text() for path in sorted(tree.rglob("*.md"))}


def test_the_committed_documents_follow_from_the_committed_results(gpu_table: Any) -> None:
    assert gpu_table.main([]) == 0


def test_without_results_nothing_is_claimed_and_writing_changes_nothing(gpu_table: Any, tree: Path) -> None:
    gpu_table.main(["--write"], tree)
    bare = texts(tree)
    assert bare["README.md"].count("not yet run by us on a GPU") == 1
    assert bare["benchmarks/README.md"].lower().count("not yet run by us on a gpu") == 2
    assert gpu_table.main(["--write"], tree) == 0
    assert texts(tree) == bare


def test_results_become_tables_and_fields_of_cards_and_go_with_their_files(gpu_table: Any, tree: Path) -> None:
    gpu_table.main(["--write", f"results={tree / 'none'}"], tree)
    bare = texts(tree)
    leave(tree / "benchmarks" / "gpu_results", **FILES)
    assert gpu_table.main([], tree) == 1
    assert texts(tree) == bare
    assert gpu_table.main(["--write"], tree) == 0
    assert gpu_table.main([], tree) == 0
    full = texts(tree)
    changed = {name for name in full if full[name] != bare[name]}
    assert changed == {"README.md", "benchmarks/README.md", "model_cards/mantis_scanobjectnn_hardest.md"}

    assert "not yet run by us on a GPU" not in full["README.md"]
    assert "run by us on 1x NVIDIA H100<!-- /gpu -->" in full["README.md"]
    table = full["benchmarks/README.md"]
    for line in (
        "Commit 01234567, 2026-12-01, 1x NVIDIA H100, torch 2.11.0.",
        "`pytest -m gpu`: 1 passed, 1 failed, 0 skipped.\n- `ops/test_scan_triton.py::b`: off by 3e-3",
        "`tests` done (90.1 s), `scan` cut off (91.0 s); what was cut off keeps the rows it had.",
        "at the 2500 GB/s of a measured copy",
        "| 1025 | 8 | bfloat16 | triton | 0.500 | 2.0 | 1.500 | 3.0 | 2.00 |",
        "| 4096 | 96 | float32 | mamba_ssm | RuntimeError: out of memory |",
        "(fp32 51, bf16 700)",
        "| Mamba3D, clouds in three orders | recipe | bf16 | 32 | 61.2 | 5.00 | 23.4 % |",
        "| Qwen3-VL of eight layers, four bits | recipe |  |  | ImportError: no bitsandbytes |",
        "| from the cache | 400 | 1.23 |",
    ):
        assert line in table, line

    path = tree / "model_cards" / "mantis_scanobjectnn_hardest.md"
    hardware = card.read(path).front["zoo"]["hardware"]
    assert (hardware["gpu"], hardware["commit"], hardware["date"]) == ("1x NVIDIA H100", COMMIT, "2026-12-01")
    assert [(one["method"], one["ms"], one["gib"]) for one in hardware["steps"]] == [
        ("Mantis", 61.2, 5.0),
        ("LoRA (peft)", 30.0, 1.0),
    ]
    assert "| Mamba3D, clouds in three orders | LoRA (peft) | tf32 | 32 | 30.0 | 1.00 | 10.0 % |" in path.read_text()
    assert card.validate(card.read(path)) == []

    shutil.rmtree(tree / "benchmarks" / "gpu_results")
    assert gpu_table.main(["--write"], tree) == 0
    assert texts(tree) == bare


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("scan", {"hardware": "CPU x86_64, 2 cores"}, "measured on CPU x86_64"),
        ("steps", {"tiny": True}, "measured at tiny sizes"),
        ("cache", {"commit": {"commit": COMMIT, "dirty": True}}, "of uncommitted changes"),
        ("tests", {"commit": {"commit": None, "dirty": None}}, "of no known commit"),
        ("scan", {"hardware": "1x NVIDIA H200"}, "results of several GPUs"),
        ("scan", {"commit": {"commit": "f" * 40, "dirty": False}}, "results of several commits"),
    ],
)
def test_what_no_gpu_measured_as_a_whole_is_refused(
    name: str, wrong: dict[str, Any], said: str, gpu_table: Any, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts(tree)
    leave(tree / "results", **(FILES | {name: FILES[name] | wrong}))
    assert gpu_table.main(["--write", f"results={tree / 'results'}"], tree) == 2
    assert said in capsys.readouterr().err
    assert texts(tree) == before


def test_a_strange_word_is_named(gpu_table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_table.main(["result=here"]) == 2
    assert "result: expected results=FOLDER or --write" in capsys.readouterr().err
