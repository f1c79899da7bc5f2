"""Every recipe trains, evaluates, predicts, resumes and reloads by its smoke block, as a user would run it."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
import zipfile
from functools import partial
from pathlib import Path

import av_files
import forked
import numpy as np
import picture_files
import pytest
import torch
from kept import kept_encoders
from recipe_runs import NAMES, TRAINED_ELSEWHERE, crash_in_the_second_epoch, data_words
from safetensors.torch import load_file

from zoo import evaluate, predict
from zoo.adapter import directory
from zoo.prefix import UNTOLD
from zoo.recipe.compose import compose
from zoo.train import main

__all__ = ["kept_encoders"]  # a fixture of every test here
KINDS = {  # what a recipe's predictions and pictures are; of one that is not listed less is asked
    **dict.fromkeys((name for name in NAMES if name.partition("_")[0] == "mantis"), "label"),
    **dict.fromkeys(("tb_ava", "tb_ava_names", "tb_ava_grid", "tb_ava_ave"), "events"),
    **dict.fromkeys((name for name in NAMES if name.startswith("tb_ava_avs_")), "sounding"),
    "tb_ava_llp": "parsing",
    **dict.fromkeys(("tb_ava_open", "tb_ava_ovave"), "events by name"),
    "mantis_shapenetpart": "parts",
    **dict.fromkeys(("mamba3d_pretrain", "mamba3d_pretrain_shapenet55"), "reconstruction"),
    **dict.fromkeys(("scale_earth_rsscn7", "scale_earth_rsscn7_unseen", "scale_aware_eurosat"), "scene"),
    "scale_aware_resisc45": "scene of no known scale",
    "rsscn7_open": "picture by name",
    "scale_earth_pretrain": "projector",
    "small_llava_rsscn7": "open question",
    **dict.fromkeys(("dinov2_cells", "lite_medsam_isbi", "sam2_kvasir", "sam2_acdc", "sam2_synapse"), "mask"),
    "mstar": "picture of no scale",
    "scale_earth": "choice",
    "scale_earth_geoscale_vqa": "choice",
    "scale_earth_rsvqa": "choice of one scale",
    **dict.fromkeys(TRAINED_ELSEWHERE, "choice of no known scale"),
}
SCALE = {"openness.png", "calibration.png", "accuracy_by_gsd.png"}
PICTURES = {
    "events": {"curves.png", "timelines.png", "gates.png", "confusion.png", "reliability.png"},
    "parsing": {"curves.png", "timelines.png", "gates.png"},
    "events by name": {"curves.png", "timelines.png", "gates.png", "confusion.png", "reliability.png"},
    "sounding": {"curves.png", "sounding.png"},
    "label": {"curves.png", "confusion.png", "reliability.png", "clouds.png", "control.png"},
    "parts": {"curves.png", "parts.png", "control.png"},
    "reconstruction": {"curves.png"},
    "scene": {"curves.png", "confusion.png", "reliability.png", "examples.png", *SCALE},
    "scene of no known scale": {"curves.png", "confusion.png", "reliability.png", "examples.png", "openness.png"},
    "picture by name": {"curves.png", "confusion.png", "reliability.png", "examples.png", "accuracy_by_gsd.png"},
    "picture of no scale": {"curves.png", "confusion.png", "reliability.png", "examples.png"},
    "projector": {"curves.png", "examples.png", "accuracy_by_gsd.png"},
    "open question": {"curves.png", "examples.png"},
    "mask": {"curves.png", "masks.png"},
    "choice": {"curves.png", "examples.png", *SCALE},
    "choice of one scale": {"curves.png", "examples.png", *SCALE} - {"accuracy_by_gsd.png"},
    "choice of no known scale": {"curves.png", "examples.png", "openness.png"},
}
MOVED = {
    **dict.fromkeys(("events", "parsing", "events by name", "sounding"), ".up.weight"),
    "reconstruction": ".mixer.in_proj.weight",
    **dict.fromkeys(("mask", "picture of no scale"), ".lora_B.default.weight"),
    **dict.fromkeys(("projector", "open question", "picture by name"), ".weight"),
    **dict.fromkeys((kind for kind in PICTURES if kind.startswith(("scene", "choice"))), ".up"),
}
ALONE = {"tb_ava", "mantis"}
"""Recipes that are evaluated and asked in a new process; the others are in this one."""
LIKE_ANOTHER = {
    *("scene of no known scale", "choice of one scale", "choice of no known scale"),
    *("events by name", "picture by name", "picture of no scale"),
}
"""Kinds whose code another kind has; they differ in what a sample tells."""
FIRST = {next(name for name in NAMES if KINDS.get(name) == kind) for kind in PICTURES if kind not in LIKE_ANOTHER}
"""The recipe of every kind that is trained to its end, evaluated and asked here; the others share its code, take one
step in `test_one_step`, and do the rest in the slow tests."""
OF_EVERY_KIND = [name if name in FIRST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
RESUMED = {"mantis", "mamba3d_pretrain", "scale_earth", "small_llava_rsscn7", "dinov2_cells", "tb_ava_avs_synthetic"}
"""Recipes that differ in what a checkpoint has to hold: one of every method and task of its own kind; the others share
theirs with one of these, and are resumed by the slow tests."""
SMALL = [
    "data.train_clips=8",
    "data.val_clips=4",
    "data.test_clips=4",
    "loader.batch_size=2",
    "method.rank=4",
    "cache=null",
]


class Finished(dict[str, Path]):
    """A finished smoke run of every recipe, made when it is asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        super().__init__()
        self.factory = factory

    def __missing__(self, name: str) -> Path:
        self[name] = smoke(name, self.factory.mktemp(name))
        return self[name]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory)


def smoke(name: str, folder: Path) -> Path:
    assert main([f"recipe={name}", "--smoke", f"runs={folder / 'runs'}", *data_words(name, folder)]) == 0
    return next((folder / "runs" / name).iterdir())


@pytest.mark.parametrize("name", OF_EVERY_KIND)
def test_a_run_leaves_what_it_promises(finished: Finished, name: str) -> None:
    run = finished[name]
    directory.verify(run / "adapter")
    record = json.loads((run / "metrics.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert record["manifest"]["selected_on"] == "val"
    # Of frozen features: computed here or read from the suite's cache, each once.
    features = record["manifest"].get("features", [])
    assert len(set(features)) == len(features)
    assert features or name != "tb_ava"
    assert all(each.startswith("torch ") or each == UNTOLD for each in features)
    assert record["baselines"]
    assert set(record["metrics"]) >= {record["monitor"]}
    assert (run / "report" / "curves.png").stat().st_size > 1000
    values = json.loads((run / "per_sample.json").read_text())
    assert sum(values.values()) / len(values) == pytest.approx(record["metrics"][record["monitor"]], abs=1e-6)
    if name in KINDS:
        assert {p.name for p in (run / "report").iterdir()} == PICTURES[KINDS[name]]
    assert (run / "adapter" / "adapter.safetensors").stat().st_mode & 0o044 == 0o044


@pytest.mark.parametrize("name", OF_EVERY_KIND)
def test_training_moved_every_method_tensor_and_checkpoints_hold_nothing_frozen(finished: Finished, name: str) -> None:
    state = load_file(finished[name] / "adapter" / "adapter.safetensors")
    zero_at_first = MOVED.get(KINDS.get(name, ""))
    moved = [t for key, t in state.items() if (key.endswith(zero_at_first) if zero_at_first else ".bases." in key)]
    assert moved or name not in KINDS
    assert all(tensor.abs().sum() > 0 for tensor in moved)
    last = torch.load(finished[name] / "checkpoints" / "last.ckpt", weights_only=True)
    held = [key for key in last["state_dict"] if key.startswith("backbones.")]
    assert all(".lora_" in key for key in held), "LoRA trains inside the blocks that it wraps"


@pytest.mark.parametrize("name", OF_EVERY_KIND)
def test_evaluate_in_a_new_process_finds_the_same_numbers(finished: Finished, name: str, tmp_path: Path) -> None:
    run = finished[name]
    words = [f"adapter={run / 'adapter'}", f"output={tmp_path / 'again.json'}"]
    if name in ALONE:
        done = forked.run([sys.executable, "-m", "zoo.evaluate", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    else:
        assert evaluate.main(words) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    stored = json.loads((run / "metrics.json").read_text())
    # An evaluation probes clips as well.
    assert {key: again["metrics"][key] for key in stored["metrics"]} == pytest.approx(stored["metrics"], nan_ok=True)


@pytest.mark.parametrize("name", [each for each in OF_EVERY_KIND if getattr(each, "values", (each,))[0] in KINDS])
def test_predict_labels_a_file_bit_equally_in_a_new_process(
    finished: Finished, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = KINDS[name]
    words = [f"adapter={finished[name] / 'adapter'}"]
    capsys.readouterr()  # of the training, where this test is the first that asks for it
    if kind.startswith(("events", "parsing", "sounding")):
        av_files.write_clip(tmp_path / "clip.mp4")
        words.append(f"input={tmp_path / 'clip.mp4'}")
    elif kind.startswith(("scene", "picture", "choice", "projector", "open", "mask")):
        picture_files.save(tmp_path / "tile.png", picture_files.picture(0, 0))
        words += [f"input={tmp_path / 'tile.png'}"]
        words += [] if kind.startswith(("open", "picture", "mask")) else ["gsd=12"]
        words += [] if kind.startswith(("scene", "picture", "mask")) else ["question=What is it?"]
        words += ["choices=field|water"] if kind.startswith(("choice", "projector")) else []
    else:
        np.savetxt(tmp_path / "cloud.txt", np.random.default_rng(0).normal(size=(50, 3)))
        words.append(f"input={tmp_path / 'cloud.txt'}")
    words += ["category=Chair"] if kind == "parts" else []
    assert predict.main(words) == 0
    first = capsys.readouterr().out
    if name in ALONE:
        command = [sys.executable, "-m", "zoo.predict", *words]
        run = subprocess.run if name == "mantis" else forked.run  # one of the two truly
        assert run(command, capture_output=True, text=True, check=True).stdout == first
    else:
        assert predict.main(words) == 0
        assert capsys.readouterr().out == first
    answer, *further = map(json.loads, first.splitlines())
    # Windows of three seconds, or of five, of ten in the file.
    assert len(further) == (3 if name == "tb_ava_grid" else 1 if kind == "sounding" else 0)
    if kind.startswith(("events", "parsing")):
        for key in ("audio", "visual") if kind == "parsing" else ("segments", "probability"):
            assert len(answer[key]) == (12 if name == "tb_ava_grid" else 10)
    elif kind == "sounding":
        assert len(answer["sounding"]) == 5
        assert (answer["start"], answer["end"], further[0]["end"]) == (0, 5, 10)
    elif kind == "parts":
        assert len(answer["parts"]) == 64
        assert all(part.startswith("Chair/") for part in answer["parts"])
    else:
        expected = {"explained"} if kind == "reconstruction" else {"label", "probability", "likely"}
        if kind.startswith(("choice", "projector")):
            expected = {"written"} if "rsvqa" in name else {"written", "letter"}
        if kind.startswith("open"):
            expected = {"written"}
        if kind == "mask":
            expected = {"classes", "size"}
        if kind.startswith(("scene", "choice")):
            assert answer["gsd_from"] == "told"
            expected |= {"gsd", "gsd_unit", "gsd_from"} | (
                {"gsd_estimate"} if kind != "scene of no known scale" else set()
            )
            expected |= {"gsd_clamped"} & set(answer)  # 12 m are beyond what some of them have seen
        # Of 50 points some are repeated; what is unlike training is told where validation samples set a limit.
        assert set(answer) - {"notes", "unlike_training"} == {"id"} | expected
        assert "notes" in answer or kind not in ("label", "reconstruction")


@pytest.mark.parametrize("name", [n if n in RESUMED else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_every_recipe_resumes_to_the_result_of_an_uninterrupted_run(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is a cache, the cut run reads what it kept: that must change nothing either.

    Each run has a cache of its own: another processor rounds otherwise, and may have filled the one of this machine.
    """
    words = [f"recipe={name}", "--smoke", "trainer.max_epochs=2"]
    words += data_words(name, tmp_path)
    cached = bool(compose(name, words[3:]).get("cache"))
    assert main([*words, *[f"cache.folder={tmp_path / 'kept'}"] * cached, f"runs={tmp_path / 'whole'}"]) == 0
    words += [f"cache.folder={tmp_path / 'prefix'}"] * cached
    crash_in_the_second_epoch(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        main([*words, f"runs={tmp_path / 'cut'}"])
    monkeypatch.undo()
    assert main([*words, f"runs={tmp_path / 'cut'}", "resume=true"]) == 0
    whole, cut = (next((tmp_path / part / name).iterdir()) for part in ("whole", "cut"))
    a, b = (load_file(run / "adapter" / "adapter.safetensors") for run in (whole, cut))
    assert [key for key in a if not torch.equal(a[key], b[key])] == []
    assert (whole / "per_sample.json").read_text() == (cut / "per_sample.json").read_text()


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_result_of_an_uninterrupted_one(tmp_path: Path) -> None:
    words = ["recipe=mantis", "--smoke", "trainer.max_epochs=8"]
    command = [sys.executable, "-m", "zoo.train", *words]
    forked.run([*command, f"runs={tmp_path / 'whole'}"], check=True)
    killed = subprocess.Popen(
        [*command, f"runs={tmp_path / 'cut'}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not list((tmp_path / "cut").glob("*/*/checkpoints/last.ckpt")):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    folder = next((tmp_path / "cut" / "mantis").iterdir())
    assert not (folder / "adapter").exists()
    forked.run([*command, f"runs={tmp_path / 'cut'}", "resume=true"], check=True)
    whole = next((tmp_path / "whole" / "mantis").iterdir())
    a, b = (load_file(f / "adapter" / "adapter.safetensors") for f in (whole, folder))
    assert all(torch.equal(a[key], b[key]) for key in a)
    records = [json.loads((f / "metrics.json").read_text()) for f in (whole, folder)]
    assert records[0]["metrics"] == records[1]["metrics"]


def test_ctrl_c_ends_in_one_line_that_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["recipe=mantis", "--smoke", "trainer.max_epochs=2000", f"runs={tmp_path}"]
    command = [sys.executable, "-m", "zoo.train", *words]
    # A shell starts what runs in its background deaf to Ctrl-C, and the deafness is inherited.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=hearing
    )
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("*/*/checkpoints/last.ckpt")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130
    assert errors.splitlines()[-1].endswith("the same command with resume=true goes on")
    assert "Traceback" not in errors


def test_resuming_with_another_command_is_refused(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    runs = finished["tb_ava"].parents[1]
    with pytest.raises(SystemExit) as end:
        main(["recipe=tb_ava", "--smoke", f"runs={runs}", "resume=true"])
    assert end.value.code == 2
    assert "has finished" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tb_ava", "scale_earth"])
def test_two_processes_share_one_run_and_one_of_them_measures(tmp_path: Path, name: str) -> None:
    words = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=2"]
    words += SMALL if name == "tb_ava" else ["--smoke", "method.drop_gsd=0.5"]
    command = [sys.executable, "-m", "zoo.train", f"recipe={name}", *words, f"runs={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = (tmp_path / name).iterdir()
    directory.verify(run / "adapter")
    assert json.loads((run / "metrics.json").read_text())["n"] == 4


@pytest.mark.slow
def test_a_wheel_in_a_fresh_environment_trains_and_has_recipes_and_cards(tmp_path: Path) -> None:
    """The environment sees this one's packages, so that only the wheel itself is new; the checkout is out of sight."""
    source = Path(__file__).parents[2]
    wheels, env = tmp_path / "wheels", tmp_path / "env"
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, source], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (wheel,) = wheels.glob("*.whl")
    site = next((env / "lib").glob("python*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def python(*words: str) -> str:
        command = [str(env / "bin" / "python"), *words]
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    assert str(site) in python("-c", "import zoo; print(zoo.__file__)")
    for name in NAMES:
        assert name in python("-m", "zoo.train", "--list")
    stems = "from zoo.catalog import card; print(sorted(p.stem for p in card.folder().iterdir()))"
    assert "tb_ava" in python("-c", stems)
    python("-m", "zoo.train", "recipe=tb_ava", "--smoke")
    (run,) = (tmp_path / "runs" / "tb_ava").iterdir()
    assert "no source checkout" in (run / "adapter" / "README.md").read_text()
