"""`python benchmarks/startup.py [runs=5] [output=FILE.json]`: seconds until a command that only reads has answered.

Every command is a process of its own, from the first instruction to the last line; medians of wall and processor time.
The hub is not asked (`HF_HUB_OFFLINE=1`): how long it takes to answer is not ours.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from zoo.command_line import parse_words
from zoo.files import write_json
from zoo.records.provenance import git_state

COMMANDS = {
    "python, empty": ["-c", "pass"],
    "import zoo": ["-c", "import zoo"],
    "zoo.list": ["-m", "zoo.list"],
    "zoo.list --json": ["-m", "zoo.list", "--json"],
    "zoo.show tb_ava": ["-m", "zoo.show", "tb_ava"],
    "zoo.show tb_ava-grid": ["-m", "zoo.show", "tb_ava-grid"],
    "zoo.doctor": ["-m", "zoo.doctor"],
    "import torch": ["-c", "import torch"],
}


def timed(words: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one process.

    Raises:
        CalledProcessError: the command failed.
    """
    before, started = os.times(), time.perf_counter()
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, env=environment, check=True)
    wall, after = time.perf_counter() - started, os.times()
    own = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, own


def main() -> None:
    """Time every command in turn, round by round."""
    words, _ = parse_words(None, __doc__ or "", optional=("runs", "output"))
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(int(words.get("runs", 5))):
        for name, command in COMMANDS.items():
            seen[name].append(timed(command))
    result = {
        name: {"wall_s": statistics.median(w for w, _ in pairs), "processor_s": statistics.median(c for _, c in pairs)}
        for name, pairs in seen.items()
    }
    print(f"{'':24}{'wall s':>8}{'processor s':>13}")
    for name, values in result.items():
        print(f"{name:24}{values['wall_s']:8.2f}{values['processor_s']:13.2f}")
    if output := words.get("output"):
        write_json(Path(output), {"commands": result, "load": os.getloadavg()[0], **git_state()})


if __name__ == "__main__":
    main()
