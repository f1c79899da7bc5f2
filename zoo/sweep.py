"""`python -m zoo.sweep recipe=NAME search.KEY=[a,b] [search.KEY=loguniform(a,b)] [key=value ...]`: find good settings.

Trains the recipe at every point of a space (see `zoo.search.space`) through Ray Tune, on this machine or, with
`address=`, on a Ray cluster. Points are compared on the validation split; the test split is measured once, for the
winner. The folder `runs/sweep/<recipe>/<time>/` holds `sweep.json`, a picture, and one run folder per trial below
`trials/`. A killed trial is attempted again from its last checkpoint; so is every unfinished trial of a killed sweep,
with resume=true. On a cluster the folder must be on storage that all machines share, and the zoo installed on each.
"""

import sys
from pathlib import Path

import yaml

from zoo.command_line import parse_recipe_command, user_errors
from zoo.errors import UserError
from zoo.recipe.compose import RecipeError
from zoo.recipe.request import Request
from zoo.search import space as search_space
from zoo.search.record import gather, start, table, tested
from zoo.search.run import EXTRA, check_ray, configurations, connected, run_trials, sweep_folder, test_best


def main(argv: list[str] | None = None) -> int:
    """Sweep; exit code 2 on a mistake in the command, 1 where no point could be trained."""
    request = parse_recipe_command(argv, "zoo.sweep", extra=EXTRA)
    name = Path(request.recipe).stem
    with user_errors():
        space, samples, seeds = _space(request)
        points = search_space.points(space, samples)
        configs = configurations(request, space, points, seeds)
        parallel, cpus = (_number(request, key) for key in ("parallel", "cpus"))
        address = request.extra.get("address")
        check_ray(address)
        folder = sweep_folder(request, name, configs)
        record = start(folder, name, space, points, seeds)
        print(f"{name}: {len(points)} points, {len(configs)} trials; writing {folder}", flush=True)
        trainer = yaml.safe_load(next(iter(configs.values())))["trainer"]
        with connected(address, parallel or 1, cpus, trainer) as resources:
            run_trials(folder, name, list(configs), parallel or 1, resources)
            record = gather(folder, record)
            winner = record["winner"]
            if winner is not None:
                test_best([folder / "trials" / one for one in winner["trials"]], name, resources)
                record = tested(folder, record)
        from zoo.report import plots_sweep, tables

        plots_sweep.draw(folder / "sweep.png", record)
        tables.show(table(record, folder))
        if winner is None:
            raise UserError(f"no point was trained with every seed: see the train.log files below {folder / 'trials'}")
    return 0


# --- the plan ---------------------------------------------------------------------------------------------------------


def _space(request: Request) -> tuple[list[search_space.Axis], int | None, list[int]]:
    """Axes, samples and seeds; `search.` words leave the overrides."""
    arguments = [word for word in request.overrides if word.startswith(search_space.PREFIX)]
    request.overrides = [word for word in request.overrides if word not in arguments]
    seeds = yaml.safe_load(request.extra.get("seeds", "[0]"))
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise RecipeError([f"seeds: expected whole numbers like [0,1], got {request.extra['seeds']}"])
    return search_space.axes(arguments), _number(request, "samples"), list(dict.fromkeys(seeds))


def _number(request: Request, key: str) -> int | None:
    supplied = request.extra.get(key)
    if supplied is not None and not (supplied.isdecimal() and int(supplied) > 0):
        raise RecipeError([f"{key}: expected a whole number above 0, got {supplied!r}"])
    return int(supplied) if supplied else None


if __name__ == "__main__":
    sys.exit(main())
