"""`python -m zoo.compare recipe=NAME [seeds=[0,1,2]] [variants=[a,b]] [key=value ...]`: a recipe beside its controls.

Trains the recipe itself (called `recipe`) and every block of its `variants:`, once per seed (or per fold, for data with
folds). One table compares mean and deviation, the gap to the recipe with a paired bootstrap interval over test samples,
trainable parameters, step time, peak memory and checkpoint bytes. Each training runs in its own process, so that peak
memory is separate and a killed comparison resumes: finished trainings are kept below
`runs/compare/<recipe>/<commit>-<configuration>/`.
"""

import hashlib
import json
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo import files
from zoo.catalog import card, evidence
from zoo.command_line import fail, parse_recipe_command, user_errors
from zoo.recipe import compose as recipe_compose
from zoo.recipe.request import Request
from zoo.records import provenance, run_places
from zoo.records.comparison import ITSELF, gather
from zoo.records.run_folder import RECORD
from zoo.report.tables import duration

EXTRA = {
    "seeds": "e.g. [0,1,2] (default: [0])",
    "folds": "of the data, in place of seeds: e.g. [0,1,2] sets data.fold",
    "variants": "e.g. [recipe,gate_off] (default: the recipe and all its variants)",
    "runs": "where run folders go (default: runs)",
    "table": "name of this table in the card, for a second setting of one recipe (default: main)",
    "publish": "a model card: write the table and the recipe's metrics into it (from a clean commit only)",
}

EVERY = {"seeds": "[0]", "folds": "[]"}


def main(argv: list[str] | None = None) -> int:
    """Train what is missing, then print and write the table."""
    request = parse_recipe_command(argv, "zoo.compare", str(__doc__), extra=EXTRA)
    name = Path(request.recipe).stem
    try:
        seeds, folds = (
            [int(word) for word in _words(request.extra.get(key, default))] for key, default in EVERY.items()
        )
        rounds = {f"fold{k}": [f"seed={seeds[0]}", f"data.fold={k}"] for k in folds} if folds and seeds else {}
        rounds = rounds or {f"seed{k}": [f"seed={k}"] for k in seeds}
        configs = _configurations(request, list(rounds))
    except recipe_compose.RecipeError as error:
        fail(error.problems)
    except ValueError:
        supplied = ", ".join(f"{key}={request.extra[key]}" for key in EVERY if key in request.extra)
        fail([f"seeds and folds: expected whole numbers like [0,1,2], got {supplied}"])
    state = provenance.git_state()
    identity = hashlib.sha256(json.dumps(configs, sort_keys=True).encode()).hexdigest()[:8]
    folder = (
        Path(request.extra.get("runs", "runs")) / "compare" / name / f"{(state['commit'] or 'wheel')[:8]}-{identity}"
    )
    print(f"{name}: {plan(folder, list(configs), list(rounds), _known(request, name))}", flush=True)
    with user_errors():
        for label, arguments in rounds.items():
            for variant in configs:
                print(f"--- {variant}, {label}", flush=True)
                if code := _train(folder / variant / label, configs[variant], arguments, name):
                    print(f"error: {variant}, {label} ended with exit code {code}", file=sys.stderr)
                    return code
    record = gather(folder, list(configs), list(rounds), command=_told(request))
    files.write_json(folder / "comparison.json", record)
    from zoo.report import tables

    tables.show(tables.compared(record))
    print(f"written: {folder / 'comparison.json'}")
    if card_path := request.extra.get("publish"):
        runs = [json.loads((folder / ITSELF / label / "metrics.json").read_text()) for label in rounds]
        with user_errors():
            card.publish(Path(card_path), record, runs, table=request.extra.get("table", "main"))
        print(f"published: {card_path}")
    return 0


def plan(folder: Path, variants: Sequence[str], rounds: Sequence[str], known: tuple[float, str] | None) -> str:
    """The number of remaining trainings, and their duration if it is known.

    Args:
        folder: of the comparison; those finished in it tell how long the others take.
        variants: by name.
        rounds: seeds or folds.
        known: seconds that the recipe's own training took before, and on what.
    """
    targets = [folder / variant / label for variant in variants for label in rounds]
    done = [json.loads((t / "metrics.json").read_text("utf-8"))["manifest"] for t in targets if _finished(t)]
    left = len(targets) - len(done)
    summary = f"{len(targets)} trainings ({', '.join(variants)}; {', '.join(rounds)})"
    summary += f", {len(done)} of them done" if done else ""
    if done:
        known = statistics.fmean(manifest["seconds"] for manifest in done), "here, on average"
    if known and left:
        summary += f"; about {duration(left * known[0])} to go, at {duration(known[0])} a training {known[1]}"
    return summary if known or not left else f"{summary}; how long one takes is not known yet"


def _known(request: Request, name: str) -> tuple[float, str] | None:
    """Seconds and hardware of the card's run, where this command changes nothing of it."""
    path = card.folder() / f"{name}.md"
    runs = evidence.read(path)["runs"] if path.is_file() and not request.overrides and not request.smoke else []
    found = [run["manifest"] for run in runs if run["manifest"].get("seconds")]
    return (statistics.fmean(m["seconds"] for m in found), f"as on {found[0]['hardware']}") if found else None


def _finished(target: Path) -> bool:
    return (target / "adapter").exists()


def _told(request: Request) -> str:
    """The command for a reader: folders of this machine are left out."""
    arguments = [f"{key}={value}" for key, value in request.extra.items() if key in ("seeds", "folds", "variants")]
    arguments += [re.sub(r"^(data\.\w*root)=.*", r"\1=DIR", word) for word in request.overrides]
    return " ".join(["python -m zoo.compare", f"recipe={request.recipe}", *arguments, *["--smoke"] * request.smoke])


def _configurations(request: Request, rounds: list[str]) -> dict[str, str]:
    """Resolved recipes by variant, the recipe itself first; all checked before anything is trained."""
    base = recipe_compose.compose(request.recipe, request.overrides, smoke=request.smoke)
    known = [ITSELF, *recipe_compose.variants(request.recipe)]
    wanted = _words(request.extra.get("variants", "")) or known
    problems = [f"unknown variant '{v}'; {request.recipe} has {', '.join(known)}" for v in wanted if v not in known]
    if not rounds:
        problems.append("seeds: expected at least one")
    if problems:
        raise recipe_compose.RecipeError(problems)
    configs = {ITSELF: recipe_compose.to_yaml(base)}
    for variant in wanted:
        if variant != ITSELF:
            chosen = recipe_compose.compose(request.recipe, request.overrides, smoke=request.smoke, variant=variant)
            configs[variant] = recipe_compose.to_yaml(chosen)
    return configs


def _train(target: Path, config: str, settings: list[str], name: str) -> int:
    """Train into `target` unless that is done; an interrupted one goes on."""
    if _finished(target):
        return 0
    made = [place for place in (target, *target.parents) if not place.exists()]
    target.mkdir(parents=True, exist_ok=True)
    (target / "config.yaml").write_text(config, encoding="utf-8")
    arguments = [f"recipe={target / 'config.yaml'}", f"into={target}", f"card={name}", *settings]
    arguments += ["resume=true"] if (target / RECORD).exists() else []
    code = _ends_with_us([sys.executable, "-m", "zoo.train", *arguments])
    if code and not (target / RECORD).exists():  # refused, before it began
        (target / "config.yaml").unlink()
        run_places.remove_empty(made)
    return code


def _ends_with_us(command: list[str]) -> int:
    """Exit code of a training, which is waited for, and told to stop, where this process is."""
    with subprocess.Popen(command) as training:
        before = signal.signal(signal.SIGTERM, lambda *_: training.terminate())
        try:
            return training.wait()
        except KeyboardInterrupt:  # which the training has heard as well: it says how to go on
            training.wait()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.strip("[]").split(",") if word.strip()]


if __name__ == "__main__":
    sys.exit(main())
