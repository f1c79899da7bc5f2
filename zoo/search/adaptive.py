"""Optuna's samplers and pruners, told anew from the records each time they are asked: there is no second truth.

propose    the next point, by a tree-structured Parzen estimator (Bergstra et al. 2011) of what others reached
hopeless   whether to stop a trial, by the median rule (Golovin et al. 2017) or Hyperband (Li et al. 2018)
"""

import json
import statistics
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import require_packages
from zoo.search import trial
from zoo.search.plan import Plan
from zoo.search.record import Record
from zoo.search.space import Axis
from zoo.search.trial import FITTED, SELECTED

if TYPE_CHECKING:
    import optuna

STARTUP = 10
"""Points that are drawn before any is learnt from, in a sweep of forty or more."""

TRIES = 50
"""Proposals of points that were tried already, before the space counts as tried out."""


def check_optuna(plan: Plan) -> None:
    """Before anything is written.

    Raises:
        UserError: it is needed and not installed.
    """
    if word := plan.adaptive:
        require_packages(word, "optuna")


def propose(folder: Path, record: Record, plan: Plan, running: Collection[int]) -> dict[str, Any] | None:
    """Values of the next point; None where every point of the space was tried.

    Args:
        folder: of the sweep.
        record: its points so far.
        plan: its space.
        running: numbers of points that are being trained.
    """
    study = _told(folder, record, plan, running)[0]
    tried = [point["values"] for point in record["points"]]
    distributions = {axis.key: _distribution(axis) for axis in plan.space}
    for _ in range(TRIES):
        values = _values(study.ask(distributions).params, plan)
        if values not in tried:
            return values
    return None


def hopeless(folder: Path, record: Record, plan: Plan, running: Collection[int], number: int) -> bool:
    """Whether the pruner would stop the first trial of a point, by its validations so far."""
    return _told(folder, record, plan, running)[1].get(number, False)


def _told(folder: Path, record: Record, plan: Plan, running: Collection[int]) -> "tuple[optuna.Study, dict[int, bool]]":
    """A study that was told every point of the record, validation by validation; which running ones it would prune."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    startup = max(1, min(STARTUP, plan.count // 4))
    pruners = {
        "none": optuna.pruners.NopPruner,
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=2),
        "hyperband": optuna.pruners.HyperbandPruner,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            study_name="sweep",  # of which, and a trial's number, Hyperband makes its bracket
            direction="maximize",
            # Another seed for every proposal: each begins with the first of its random numbers.
            sampler=optuna.samplers.TPESampler(
                seed=len(record["points"]), n_startup_trials=startup, constant_liar=plan.parallel > 1
            ),
            pruner=pruners[plan.pruner](),
        )
    distributions = {axis.key: _distribution(axis) for axis in plan.space}
    verdicts: dict[int, bool] = {}
    for number, point in enumerate(record["points"]):
        folders = [folder / "trials" / one["trial"] for one in point["trials"]]
        finished = [_best(one) for one in folders if (one / FITTED).exists()]
        stopped = trial.pruned(folders[0])
        study.enqueue_trial(_parameters(point["values"], plan))
        told, poor = study.ask(distributions), False
        for step, value in enumerate(stopped or trial.curve(folders[0]), 1):
            told.report(value, step)
            poor = told.should_prune()  # Hyperband keeps who has come how far
        if len(finished) == len(folders):
            study.tell(told, statistics.fmean(finished))
        elif stopped is not None:
            study.tell(told, state=TrialState.PRUNED)
        elif number in running:
            verdicts[number] = poor
        else:
            study.tell(told, state=TrialState.FAIL)
    return study, verdicts


def _best(folder: Path) -> float:
    rows = json.loads((folder / FITTED).read_text(encoding="utf-8"))["history"]
    return max(float(row[SELECTED]) for row in rows if SELECTED in row)


def _distribution(axis: Axis) -> "optuna.distributions.BaseDistribution":
    from optuna import distributions

    if axis.kind == "list":  # of any values, so by their places
        return distributions.CategoricalDistribution(range(len(axis.values)))
    low, high = axis.values
    if axis.kind == "randint":
        return distributions.IntDistribution(low, high)
    return distributions.FloatDistribution(low, high, log=axis.kind == "loguniform")


def _values(parameters: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The recipe's values of what Optuna proposes."""
    return {
        axis.key: axis.values[parameters[axis.key]] if axis.kind == "list" else axis.rounded(parameters[axis.key])
        for axis in plan.space
    }


def _parameters(values: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """What Optuna is told of the recipe's values."""
    return {
        axis.key: axis.values.index(values[axis.key]) if axis.kind == "list" else values[axis.key]
        for axis in plan.space
    }
