"""`python benchmarks/startup.py [runs=3] [only=PART] [output=FILE.json]`: seconds until a command has answered.

Four kinds: commands that only read, `--help` of every command, `import zoo; zoo.load(NAME)`, and `zoo.predict` of one
drawn input. Each is a process of its own, from the first instruction to the last line, all in turn, round by round;
medians of wall and processor time, and the processor time of every round, in as many threads as `OMP_NUM_THREADS`
says. The hub is not asked (`HF_HUB_OFFLINE=1`): how long it takes to answer is not ours.

    runs      rounds
    only      kinds or commands whose name holds this: only=help, only=load, only=tb_ava
    output    writes all as JSON
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from zoo.command_line import fail, parse_arguments
from zoo.files import write_json
from zoo.records.provenance import git_state

READING = {
    "python, empty": ["-c", "pass"],
    "import zoo": ["-c", "import zoo"],
    "import torch": ["-c", "import torch"],
    "zoo.list": ["-m", "zoo.list"],
    "zoo.list --json": ["-m", "zoo.list", "--json"],
    "zoo.show tb_ava": ["-m", "zoo.show", "tb_ava"],
    "zoo.show tb_ava-grid": ["-m", "zoo.show", "tb_ava-grid"],
    "zoo.doctor": ["-m", "zoo.doctor"],
    "zoo": ["-m", "zoo"],
    "zoo list": ["-m", "zoo", "list"],
    "completion of a key": ["-m", "zoo", "__complete", "train", "recipe=tb_ava", "trainer."],
}
HELPED = (
    "cards", "compare", "completion", "convert", "demo", "doctor", "evaluate", "export", "foreign", "import_peft",
    "list", "predict", "pull", "push", "reproduce", "show", "sweep", "train",
)  # fmt: skip
INPUTS = {"mantis-dales": "cloud.xyz", "scale_earth-rsscn7": "picture.png", "tb_ava-grid": "sound.wav"}
"""Bundled adapters, and the file that each is asked about: a cloud, a picture, a clip without pictures."""
MORE = {"tb_ava-grid": ["missing_pictures=blank"]}


def commands(folder: Path) -> dict[str, list[str]]:
    """What is timed, by name: words after `python`.

    Args:
        folder: with the inputs.
    """
    helps = {f"zoo.{name} --help": ["-m", f"zoo.{name}", "--help"] for name in HELPED}
    loads = {f"zoo.load {name}": ["-c", f"import zoo; zoo.load('{name}')"] for name in INPUTS}
    asked = {
        f"zoo.predict {name}": ["-m", "zoo.predict", f"adapter={name}", f"input={folder / file}", *MORE.get(name, [])]
        for name, file in INPUTS.items()
    }
    return READING | helps | loads | asked


def draw(folder: Path) -> None:
    """Write one input of every kind: 2048 points, 256 x 256 pixels, 3 seconds at 16 kHz."""
    import soundfile
    from PIL import Image

    noise = np.random.default_rng(0)
    np.savetxt(folder / "cloud.xyz", noise.standard_normal((2048, 3)), fmt="%.4f")
    Image.fromarray(noise.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(folder / "picture.png")
    soundfile.write(folder / "sound.wav", 0.1 * noise.standard_normal(48_000), 16_000)


def timed(words: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one process.

    Raises:
        CalledProcessError: the command failed; what it said is on the error stream.
    """
    before, started = os.times(), time.perf_counter()
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)
    wall, after = time.perf_counter() - started, os.times()
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, words)
    own = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, own


def main() -> None:
    """Time every command in turn, round by round."""
    words, _ = parse_arguments(None, __doc__ or "", optional=("runs", "only", "output"))
    with tempfile.TemporaryDirectory() as scratch:
        draw(Path(scratch))
        chosen = {name: command for name, command in commands(Path(scratch)).items() if words.get("only", "") in name}
        if not chosen:
            fail([f"only={words['only']}: no command has this in its name"])
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
        for _ in range(int(words.get("runs", 3))):
            for name, command in chosen.items():
                seen[name].append(timed(command))
    result = {
        name: {
            "wall_s": statistics.median(w for w, _ in pairs),
            "processor_s": statistics.median(c for _, c in pairs),
            "processor_s_of_runs": [round(c, 3) for _, c in pairs],
        }
        for name, pairs in seen.items()
    }
    print(f"{'':32}{'wall s':>8}{'processor s':>13}   of runs")
    for name, pairs in seen.items():
        wall, own = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{name:32}{wall:8.2f}{own:13.2f}   {' '.join(f'{c:.2f}' for _, c in pairs)}")
    if output := words.get("output"):
        write_json(Path(output), {"commands": result, "load": os.getloadavg()[0], **git_state()})


if __name__ == "__main__":
    main()
