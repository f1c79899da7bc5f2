"""`python benchmarks/gpu.py output=FOLDER [tiny=true] [sections=scan,steps]`: what claims a GPU, proved and timed.

    tests    pytest -m gpu: kernels against the oracle, every recipe that needs no download trained and resumed
    scan     the selective scan, forward and backward, beside its peers and the limit of the memory
    steps    whole training steps at the papers' sizes, beside LoRA
    cache    an epoch with and without the cache of frozen features

In this order of value, each in a process of its own with a limit of its own, all in under eight minutes. Each keeps
what it has measured in FOLDER/NAME.json even where it is cut off; FOLDER/sections.json says how each ended. Nothing is
fetched: `benchmarks/gpu.sh` brings what such a machine lacks. `benchmarks/gpu_table.py` makes tables of FOLDER.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from measuring import state

from zoo.files import write_whole

HERE = Path(__file__).parent
LIMITS = {"tests": 190, "scan": 80, "steps": 170, "cache": 40}
"""Seconds."""


def command(name: str, folder: Path, *, tiny: bool) -> list[str]:
    """What a section runs."""
    words = [f"output={folder / f'{name}.json'}", *(["tiny=true"] if tiny else [])]
    return [sys.executable, str(HERE / f"gpu_{name}.py"), *words]


def run(name: str, folder: Path, *, tiny: bool) -> dict[str, object]:
    """A section to its end or its limit; its output goes to NAME.log."""
    start, log = time.perf_counter(), folder / f"{name}.log"
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command(name, folder, tiny=tiny),
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(LIMITS[name])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
    ended = "cut off" if code is None else "done" if code == 0 else f"exit code {code}"
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
    return {"section": name, "ended": ended, "seconds": round(time.perf_counter() - start, 1), "tail": tail}


def main() -> int:
    """Run the sections; exit code 1 where one failed or was cut off."""
    words = dict(word.partition("=")[::2] for word in sys.argv[1:])
    folder, wanted = Path(words["output"]), words.get("sections", ",".join(LIMITS)).split(",")
    if strange := [name for name in wanted if name not in LIMITS]:
        print(f"sections={','.join(strange)}: expected some of {', '.join(LIMITS)}", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    ended: list[dict[str, object]] = []
    for name in wanted:
        ended.append(run(name, folder, tiny=words.get("tiny") == "true"))
        write_whole(folder / "sections.json", json.dumps({**state(), "sections": ended}, indent=1) + "\n")
        print(f"{name}: {ended[-1]['ended']} in {ended[-1]['seconds']} s", flush=True)
    return 0 if all(one["ended"] == "done" for one in ended) else 1


if __name__ == "__main__":
    sys.exit(main())
