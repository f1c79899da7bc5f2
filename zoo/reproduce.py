"""`python -m zoo.reproduce NAME|DIR [data.root=DIR] [trainer.accelerator=...] [runs=runs]`: train an adapter again.

Trains by the adapter's own recipe and seed, measures the test split once, and compares with the
adapter's card. It reproduces if the new value lies within the card's interval, on the same data. That interval is over
test samples; a training on other hardware or versions adds its own deviation, and these differences are printed.
Exit code 1 if it does not reproduce.
"""

import json
import sys
from pathlib import Path
from typing import Any

from zoo import files
from zoo.adapter import directory, places
from zoo.command_line import fail, parse_arguments, user_errors
from zoo.errors import UserError
from zoo.recipe.compose import compose
from zoo.records import provenance, run_places

FREE = ("data.", "data=", "trainer.", "cache.", "cache=")


def main(argv: list[str] | None = None) -> int:
    """Reproduce an adapter."""
    named, overrides = parse_arguments(
        argv, __doc__ or "", required=("adapter",), optional=("runs",), bare="adapter", free=True
    )
    if other := [word for word in overrides if not word.startswith(FREE)]:
        fail(
            [
                f"'{word}': a reproduction keeps the recipe; only data.*, trainer.* and cache.* may change"
                for word in other
            ]
        )
    with user_errors():
        folder = places.find_adapter(named["adapter"])
        directory.verify(folder)
        stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        if provenance.CONVERTED in stored["manifest"]:
            raise UserError(f"{folder} was converted from others' tensors: there is no training of ours to reproduce")
        config = compose(str(folder / "recipe.yaml"), overrides)
        from zoo.records.verdict import verdict
        from zoo.report import tables
        from zoo.training.fit import train

        run_dir = run_places.new_run(Path(named.get("runs", "runs")) / "reproduce", folder.name)
        with run_places.not_left_empty([run_dir, *list(run_dir.parents)[:3]]):
            record = train(config, run_dir, name=stored["manifest"]["recipe"])
        if record is None:
            return 0
        found = verdict(record, stored)
        files.write_json(run_dir / "verdict.json", {**found, "adapter": str(folder), "stored": stored["metrics"]})
        tables.show(tables.evaluation(record, stored))
        for line in differences(record["manifest"], stored["manifest"]):
            print(line)
        print(found["line"])
    return 0 if found["reproduces"] else 1


def differences(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """Differences between two trainings beside their numbers, one line each: hardware, commit, versions."""
    pairs = {key: (now[key], then[key]) for key in ("hardware", "commit")}
    pairs |= {name: (now["versions"].get(name), version) for name, version in then["versions"].items()}
    return [f"{what}: {b} then, {a} now" for what, (a, b) in pairs.items() if a != b]


if __name__ == "__main__":
    sys.exit(main())
