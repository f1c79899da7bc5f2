"""`python -m zoo.compare recipe=NAME [seeds=[0,1,2]] [variants=[a,b]] [key=value ...]`: a recipe and its controls.

Trains the recipe as it stands (called `recipe`) and every block of its `variants:`, once per seed, into one table:
mean and deviation over seeds, the gap to the recipe with a paired bootstrap interval over test videos, and trainable
parameters, step time, peak memory and checkpoint bytes. Each training is a process of its own, so that peak memory is
its own and a killed comparison goes on where it stopped: finished trainings are kept below
`runs/compare/<recipe>/<commit>-<configuration>/`.
"""

import hashlib
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from zoo import recipe, run
from zoo.command import Request, fail, parse_recipe_command

ITSELF = "recipe"
EXTRA = {
    "seeds": "e.g. [0,1,2] (default: [0])",
    "variants": "e.g. [recipe,gate_off] (default: the recipe and all its variants)",
    "runs": "where run folders go (default: runs)",
}


def main(argv: list[str] | None = None) -> int:
    """Train what is missing, then print and write the table."""
    request = parse_recipe_command(argv, "zoo.compare", extra=EXTRA)
    name = Path(request.recipe).stem
    try:
        seeds = [int(word) for word in _words(request.extra.get("seeds", "[0]"))]
        configs = _configurations(request, seeds)
    except recipe.RecipeError as error:
        fail(error.problems)
    except ValueError:
        fail([f"seeds: expected whole numbers like [0,1,2], got {request.extra['seeds']!r}"])
    state = run.git_state()
    identity = hashlib.sha256(json.dumps(configs, sort_keys=True).encode()).hexdigest()[:8]
    folder = (
        Path(request.extra.get("runs", "runs")) / "compare" / name / f"{(state['commit'] or 'wheel')[:8]}-{identity}"
    )
    for seed in seeds:
        for variant in configs:
            print(f"--- {variant}, seed {seed}", flush=True)
            if code := _train(folder / variant / f"seed{seed}", configs[variant], seed, name):
                print(f"error: {variant}, seed {seed} ended with exit code {code}", file=sys.stderr)
                return code
    rows = table(folder, list(configs), seeds)
    run.write_json(folder / "comparison.json", rows)
    from zoo import report

    report.show(report.comparison(rows))
    print(f"written: {folder / 'comparison.json'}")
    return 0


def _configurations(request: Request, seeds: list[int]) -> dict[str, str]:
    """Resolved recipes by variant, the recipe itself first; all checked before anything is trained."""
    base = recipe.compose(request.recipe, request.overrides, smoke=request.smoke)
    known = [ITSELF, *recipe.variants(request.recipe)]
    wanted = _words(request.extra.get("variants", "")) or known
    problems = [f"unknown variant '{v}'; {request.recipe} has {', '.join(known)}" for v in wanted if v not in known]
    if not seeds:
        problems.append("seeds: expected at least one")
    if problems:
        raise recipe.RecipeError(problems)
    configs = {ITSELF: recipe.to_yaml(base)}
    for variant in wanted:
        if variant != ITSELF:
            chosen = recipe.compose(request.recipe, request.overrides, smoke=request.smoke, variant=variant)
            configs[variant] = recipe.to_yaml(chosen)
    return configs


def _train(target: Path, config: str, seed: int, name: str) -> int:
    """Train into `target` unless that is done; an interrupted one starts anew."""
    if (target / "adapter").exists():
        return 0
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.yaml").write_text(config, encoding="utf-8")
    words = [f"recipe={target / 'config.yaml'}", f"into={target}", f"card={name}", f"seed={seed}"]
    return subprocess.run([sys.executable, "-m", "zoo.train", *words], check=False).returncode


def table(folder: Path, variants: list[str], seeds: list[int]) -> list[dict[str, Any]]:
    """One row a variant, from the metrics.json and per_video.json of its seeds; metrics in per cent."""
    own = _per_video(folder / ITSELF, seeds)
    rows = []
    for variant in variants:
        records = [json.loads((folder / variant / f"seed{seed}" / "metrics.json").read_text()) for seed in seeds]
        first, manifest = records[0], records[0]["manifest"]
        scale = 100 if first["unit"] == "fraction" else 1
        values = [scale * record["metrics"][record["monitor"]] for record in records]
        costs = [record["manifest"]["cost"] for record in records]
        rows.append(
            {
                "name": variant,
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "gap": None if variant == ITSELF else _gap(own, _per_video(folder / variant, seeds), scale),
                "values": values,
                "trainable": manifest["parameters"]["trainable"],
                "step_ms": round(1000 * statistics.median(c["median_step_s"] for c in costs)),
                "peak_mib": round(max(c["peak_memory_bytes"] for c in costs) / 2**20),
                "checkpoint_kib": round(costs[0]["checkpoint_bytes"] / 2**10),
                "metric": first["monitor"],
                "split": first["split"],
                "n": first["n"],
                "seeds": seeds,
                "dataset": manifest["data"]["name"],
                "synthetic": manifest["data"]["synthetic"],
                "commit": manifest["commit"],
                "dirty": any(record["manifest"]["dirty"] for record in records),
                "hardware": manifest["hardware"],
                "date": manifest["date"][:10],
            }
        )
    return rows


def _per_video(folder: Path, seeds: list[int]) -> dict[str, float]:
    """The monitored metric by test video, averaged over seeds."""
    runs = [json.loads((folder / f"seed{seed}" / "per_video.json").read_text()) for seed in seeds]
    return {video: statistics.fmean(r[video] for r in runs) for video in runs[0]}


def _gap(own: dict[str, float], other: dict[str, float], scale: float) -> list[float]:
    """95 % paired bootstrap interval over videos of recipe minus variant."""
    import torch

    from zoo.metrics.bootstrap import bootstrap_interval

    difference = torch.tensor([own[video] - other[video] for video in own], dtype=torch.double)
    return [scale * end for end in bootstrap_interval(difference)]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.strip("[]").split(",") if word.strip()]


if __name__ == "__main__":
    sys.exit(main())
