"""Training as a function: a recipe and changes to it, to a run with its adapter."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.adapter import directory, places
from zoo.adapter.places import recipe_name
from zoo.api.model import Model
from zoo.errors import UserError
from zoo.recipe.compose import compose
from zoo.recipe.request import overrides
from zoo.records import provenance, run_places


@dataclass(frozen=True)
class TrainedRun:
    """A run that was trained.

    Attributes:
        folder: the run folder: recipe, checkpoints, logs, metrics, pictures, adapter.
    """

    folder: Path

    @property
    def adapter(self) -> Path:
        """The adapter directory; `zoo.load` takes it."""
        return self.folder / "adapter"

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured on the test split, with the manifest.

        Raises:
            UserError: the run was stopped before its test.
        """
        file = self.folder / "metrics.json"
        if not file.is_file():
            raise UserError(f"{self.folder}: its test split was not measured; train again with resume=True")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def model(self, *, device: str | None = None) -> Model:
        """The trained model."""
        return Model(self.adapter, device=device)


def train(
    recipe: str | Path | None = None,
    *,
    smoke: bool = False,
    resume: bool = False,
    test: bool = True,
    init: str | Path | None = None,
    runs: str | Path = "runs",
    into: str | Path | None = None,
    **changes: Any,
) -> TrainedRun:
    """Train a recipe, select on validation, test once, save the adapter, as `python -m zoo.train` does.

    Args:
        recipe: name or YAML file; None takes that of `init`.
        smoke: seconds on a processor, to see that it works.
        resume: go on with the newest run of this recipe, or the one in `into`.
        test: measure the test split.
        init: an adapter, by name or folder, to start from.
        runs: where run folders go.
        into: a folder to use as the run folder.
        **changes: to the recipe, nested (`trainer={"max_epochs": 3}`) or dotted (`**{"method.rank": 8}`).

    Raises:
        UserError: a mistake in the recipe, the data or the run folder, before anything is trained.
        KeyboardInterrupt: the training was stopped; `resume=True` goes on.
    """
    start = places.find_adapter(str(init)) if init is not None else None
    if recipe is None and start is None:
        raise UserError("which recipe? zoo.list_recipes() names them")
    if start is not None:
        directory.verify(start)
    source = str(start / "recipe.yaml" if recipe is None and start is not None else recipe)
    words = overrides(changes)
    config, name = compose(source, words, smoke=smoke), recipe_name(source)
    folder, made = run_places.run_folder(name, Path(runs), into, resume=resume)
    options = {"resume": resume, "into": into, "init": init}
    line = ["zoo.train", f"recipe={recipe or name}", *words, *(f"{k}={_word(v)}" for k, v in options.items() if v)]
    with run_places.not_left_empty(made), provenance.standing_for([*line, *(["--smoke"] if smoke else [])]):
        from zoo.training.fit import train as fit

        try:
            fit(config, folder, name=name, resume=resume, init=start, test=test)
        except SystemExit as stopped:
            raise KeyboardInterrupt from stopped
    return TrainedRun(folder)


def _word(value: Any) -> str:
    return "true" if value is True else str(value)
