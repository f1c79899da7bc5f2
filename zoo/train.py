"""`python -m zoo.train recipe=NAME [key=value ...] [resume=true] [--smoke]`: train, select on val, test once, save.

`data=folder data.root=DIR` trains on your own files; `init=ADAPTER` starts from an adapter's tensors, and without
`recipe=` trains by its recipe.

A run writes to `runs/<recipe>/<time>/`: the resolved recipe, checkpoints, logs, metrics, pictures, the model card and
the adapter. A run folder holds one run. `resume=true` resumes it on the same data, even after the folder was moved.
With a larger `trainer.max_epochs` or `trainer.max_steps` a stopped or finished run is extended. The learning rate then
follows the schedule of the longer training from the reached place on, and may rise again, so the result differs from a
training begun with this length. Results of the shorter training move to `earlier/`.
"""

import sys
import types
from pathlib import Path
from typing import Any

from zoo.adapter.places import recipe_name
from zoo.command_line import parse_recipe_command, user_errors
from zoo.recipe.compose import RecipeError, compose
from zoo.recipe.request import Request
from zoo.records import run_places
from zoo.training.initialise import starting_point

EXTRA = {
    "resume": "true: go on with the newest run of this recipe, or the one in into=; trainer.max_epochs may be larger",
    "test": "false: stop before the test split is measured; resume=true measures it later",
    "runs": "where run folders go (default: runs)",
    "into": "a folder to use as the run folder; it takes one run",
    "init": "an adapter, by name or folder, to start from; without recipe= its own recipe is trained",
    "card": "recipe whose model card the adapter takes (default: the recipe's own)",
}


def main(argv: list[str] | None = None) -> int:
    """Train a recipe; exit code 2 on a mistake of the user's, 1 when training stops on an error."""
    with user_errors():
        arguments, init = starting_point(list(sys.argv[1:] if argv is None else argv))
    request = parse_recipe_command(arguments, "zoo.train", str(__doc__), extra=EXTRA)
    name = recipe_name(request.recipe)
    with user_errors():
        config = compose(request.recipe, request.overrides, smoke=request.smoke)
        resume, test = (_flag(request, "resume", "false"), _flag(request, "test", "true"))
        runs, into = Path(request.extra.get("runs", "runs")), request.extra.get("into")
        run_dir, made = run_places.run_folder(name, runs, into, resume=resume)
        with run_places.not_left_empty(made):
            from zoo.training.fit import train

            record = train(config, run_dir, name=request.extra.get("card", name), resume=resume, init=init, test=test)
        if record:
            from zoo.records.cautions import cautions
            from zoo.report import tables

            tables.show(tables.summary(record, run_dir))
            for line in cautions(record):
                print(f"warning: {line}")
    return 0


def _flag(request: Request, key: str, default: str) -> bool:
    supplied = request.extra.get(key, default)
    if supplied not in ("true", "false"):
        raise RecipeError([f"{key}: expected true or false, got {supplied!r}"])
    return supplied == "true"


class _Called(types.ModuleType):
    """So that `zoo.train(...)` trains, too, once something has imported this module, which then stands in its place."""

    def __call__(self, *words: Any, **changes: Any) -> Any:
        """See `zoo.api.training.train`."""
        from zoo.api.training import train

        return train(*words, **changes)


sys.modules[__name__].__class__ = _Called

if __name__ == "__main__":
    sys.exit(main())
