"""`python -m zoo.sweep recipe=NAME search.KEY=[a,b] [search.KEY=loguniform(a,b)] [key=value ...]`: find good settings.

Trains the recipe at every point of a space (see `zoo.search.space`), or, with `sampler=tpe`, at points that Optuna
proposes from what finished ones reached; `pruner=median` stops poor trials early. Points are compared on the validation
split; the test split is measured once, for the winner. The folder `runs/sweep/<recipe>/<time>/` holds `sweep.json`, a
picture, and one run folder per trial below `trials/`. A killed trial is attempted again from its last checkpoint; so is
every unfinished trial of a killed sweep, with resume=true.

Trials run on this machine, `parallel=` at a time. With `engine=ray` or `address=` Ray Tune runs them, on a cluster too:
the folder must then be on storage that all machines share, and the zoo installed on each.
"""

import sys
from pathlib import Path
from typing import Any

from zoo.command_line import parse_recipe_command, user_errors
from zoo.errors import UserError
from zoo.search import adaptive, plan
from zoo.search.plan import EXTRA
from zoo.search.ray_engine import check_ray, connected, run_trials, test_best
from zoo.search.record import gather, start, table, tested
from zoo.search.trial import ended_by_sigterm


def main(argv: list[str] | None = None) -> int:
    """Sweep; exit code 2 on a mistake in the command, 1 where no point could be trained."""
    request = parse_recipe_command(argv, "zoo.sweep", str(__doc__), extra=EXTRA)
    name = Path(request.recipe).stem
    with user_errors(), ended_by_sigterm():
        asked = plan.read(request)
        points = plan.points(request, asked)
        configs = plan.configurations(request, asked, points)
        if asked.engine == "ray":
            check_ray(asked.address)
        adaptive.check_optuna(asked)
        folder = plan.sweep_folder(request, asked, configs)
        record = start(folder, name, asked.asked, points)
        count = asked.count if asked.sampler == "tpe" else len(points)
        print(f"{name}: {count} points, {count * len(asked.seeds)} trials; writing {folder}", flush=True)
        trainer = plan.trainer(request, asked)
        if asked.engine == "ray":
            with connected(asked.address, asked.parallel, asked.cpus, trainer) as resources:
                run_trials(folder, name, list(configs), asked.parallel, resources)
                record = gather(folder, record)
                if record["winner"] is not None:
                    test_best([folder / "trials" / one for one in record["winner"]["trials"]], name, resources)
        else:
            from zoo.search.local import Local

            def configure(number: int, values: dict[str, Any]) -> None:
                plan.write_configurations(folder, plan.configurations(request, asked, [values], number))

            local = Local(folder, name, asked, record, trainer, configure)
            local.run()
            record = gather(folder, record)
            if record["winner"] is not None:
                local.test(record["winner"]["trials"])
        winner = record["winner"]
        if winner is not None:
            record = tested(folder, record)
        from zoo.report import plots_sweep, tables

        plots_sweep.draw(folder / "sweep.png", record)
        tables.show(table(record, folder))
        if winner is None:
            raise UserError(f"no point was trained with every seed: see the train.log files below {folder / 'trials'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
