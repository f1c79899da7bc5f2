"""`python -m zoo.compare recipe=NAME [seeds=[0,1,2]] [variants=[a,b]] [key=value ...]`: a recipe and its controls.

Trains the recipe as it stands (called `recipe`) and every block of its `variants:`, once per seed, into one table:
mean and deviation over seeds, with trainable parameters, step time, peak memory and checkpoint bytes. Each training is
a process of its own, so that peak memory is its own and a killed comparison goes on where it stopped: finished
trainings are kept below `runs/compare/<recipe>/<commit>-<configuration>/`.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from zoo import recipe, run

ITSELF = "recipe"


def main(argv: list[str] | None = None) -> int:
    """Train what is missing, then print and write the table."""
    request = recipe.parse_command(
        sys.argv[1:] if argv is None else argv, "zoo.compare", extra=("seeds", "variants", "runs")
    )
    seeds = _numbers(request.extra.get("seeds", "[0]"))
    config = recipe.compose(request.recipe, request.overrides, smoke=request.smoke)
    known = [ITSELF, *(config.get("variants") or {})]
    wanted = _names(request.extra.get("variants", "")) or known
    unknown = [name for name in wanted if name not in known]
    if unknown:
        return recipe.fail(
            recipe.RecipeError([f"unknown variant {name!r}; it has {', '.join(known)}" for name in unknown])
        )
    state = run.git_state()
    identity = hashlib.sha256(recipe.to_yaml(config).encode()).hexdigest()[:8]
    name = Path(request.recipe).stem
    folder = (
        Path(request.extra.get("runs", "runs")) / "compare" / name / f"{(state['commit'] or 'wheel')[:8]}-{identity}"
    )
    for seed in seeds:
        for variant in wanted:
            target = folder / variant / f"seed{seed}"
            if (target / "adapter").exists():
                continue
            target.mkdir(parents=True, exist_ok=True)
            chosen = recipe.compose(
                request.recipe,
                [*request.overrides, f"seed={seed}"],
                smoke=request.smoke,
                variant=None if variant == ITSELF else variant,
            )
            (target / "config.yaml").write_text(recipe.to_yaml(chosen), encoding="utf-8")
            print(f"--- {variant}, seed {seed}", flush=True)
            command = [sys.executable, "-m", "zoo.train", f"recipe={target / 'config.yaml'}", f"into={target}"]
            done = subprocess.run([*command, f"card={name}"], env=os.environ, check=False)
            if done.returncode:
                print(f"error: {variant}, seed {seed} ended with exit code {done.returncode}", file=sys.stderr)
                return done.returncode
    rows = table(folder, wanted, seeds)
    run.write_json(folder / "comparison.json", rows)
    from zoo import report

    report.show(report.comparison(rows))
    print(f"written: {folder / 'comparison.json'}")
    return 0


def table(folder: Path, variants: list[str], seeds: list[int]) -> list[dict[str, Any]]:
    """One row a variant from the metrics.json of its seeds."""
    rows = []
    for variant in variants:
        records = [json.loads((folder / variant / f"seed{seed}" / "metrics.json").read_text()) for seed in seeds]
        values = [record["metrics"][record["monitor"]] for record in records]
        first = records[0]
        rows.append(
            {
                "name": variant,
                "metric": first["monitor"],
                "unit": first["unit"],
                "split": first["split"],
                "n": first["n"],
                "seeds": seeds,
                "values": values,
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "intervals": [record["intervals"].get(record["monitor"]) for record in records],
                "trainable": first["manifest"]["parameters"]["trainable"],
                "median_step_s": statistics.median(r["manifest"]["cost"]["median_step_s"] for r in records),
                "peak_memory_bytes": max(r["manifest"]["cost"]["peak_memory_bytes"] for r in records),
                "checkpoint_bytes": first["manifest"]["cost"]["checkpoint_bytes"],
                "commit": first["manifest"]["commit"],
                "dirty": any(r["manifest"]["dirty"] for r in records),
                "hardware": first["manifest"]["hardware"],
                "date": first["manifest"]["date"],
                "synthetic": first["manifest"]["data"]["synthetic"],
            }
        )
    return rows


def _numbers(text: str) -> list[int]:
    return [int(word) for word in _names(text)]


def _names(text: str) -> list[str]:
    return [word.strip() for word in text.strip("[]").split(",") if word.strip()]


if __name__ == "__main__":
    sys.exit(main())
