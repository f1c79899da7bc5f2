"""What a sweep is to do, from the words of its command: points and seeds, who draws, who runs them; and its folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from zoo import wording
from zoo.recipe import compose, data_roots
from zoo.recipe.compose import RecipeError
from zoo.recipe.request import Request
from zoo.records import run_places
from zoo.search import record
from zoo.search import space as search_space
from zoo.search import trial as search_trial
from zoo.search.record import RECORD

EXTRA = {
    "sampler": "grid: the lists, crossed; random: draws beside them; tpe: Optuna's, which learns from finished points",
    "samples": f"draws for every combination of the lists, or all points of tpe (default: {search_space.SAMPLES})",
    "pruner": "median or hyperband: Optuna's, which stops poor trials early by their validations (default: none)",
    "seeds": "each point is trained with every one, and judged by the mean, e.g. [0,1] (default: [0])",
    "parallel": "trials at a time (default: 1)",
    "cpus": "of a trial (default: a machine's cores, divided by the trials at a time)",
    "engine": "local: this machine; ray: Ray Tune, for clusters (default: local)",
    "address": "of a Ray cluster, or auto; implies engine=ray",
    "into": "the sweep's folder (default: a new one below runs/sweep/<recipe>/)",
    "runs": "where run folders go (default: runs)",
    "resume": "true: go on with the newest sweep of this recipe, or the one in into=",
}

SAMPLERS, PRUNERS, ENGINES = ("grid", "random", "tpe"), ("none", "median", "hyperband"), ("local", "ray")


@dataclass(frozen=True)
class Plan:
    """What a sweep is to do.

    Attributes:
        space: its axes.
        samples: draws, None where the command does not say.
        seeds: of every point.
        sampler: one of SAMPLERS.
        pruner: one of PRUNERS.
        engine: one of ENGINES.
        address: of a Ray cluster.
        parallel: trials at a time.
        cpus: of a trial, None for a share of the machine's.
    """

    space: list[search_space.Axis]
    samples: int | None
    seeds: list[int]
    sampler: str
    pruner: str
    engine: str
    address: str | None
    parallel: int
    cpus: int | None

    @property
    def asked(self) -> dict[str, Any]:
        """What the record says of it."""
        space = {axis.key: axis.record for axis in self.space}
        return {"space": space, "seeds": self.seeds, "sampler": self.sampler, "pruner": self.pruner}

    @property
    def adaptive(self) -> str:
        """The word by which results decide what is trained; empty where none does."""
        return "sampler=tpe" if self.sampler == "tpe" else f"pruner={self.pruner}" * (self.pruner != "none")

    @property
    def count(self) -> int:
        """Points that tpe may try."""
        return self.samples or search_space.SAMPLES


def read(request: Request) -> Plan:
    """The plan of a command; `search.` words leave the overrides.

    Raises:
        RecipeError: a word is wrong, or two do not go together.
    """
    arguments = [word for word in request.overrides if word.startswith(search_space.PREFIX)]
    request.overrides = [word for word in request.overrides if word not in arguments]
    seeds = yaml.safe_load(request.extra.get("seeds", "[0]"))
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise RecipeError([f"seeds: expected whole numbers like [0,1], got {request.extra['seeds']}"])
    space, samples = search_space.axes(arguments), _number(request, "samples")
    drawn = [axis.key for axis in space if axis.kind != "list"]
    sampler = _choice(request, "sampler", SAMPLERS, "random" if drawn else "grid")
    pruner = _choice(request, "pruner", PRUNERS, "none")
    address = request.extra.get("address")
    engine = _choice(request, "engine", ENGINES, "ray" if address else "local")
    if sampler == "grid" and drawn:
        raise RecipeError([f"sampler=grid: {drawn[0]} is drawn; give it a list, or say sampler=random"])
    if sampler == "random" and not drawn:
        raise RecipeError(["sampler=random: every value is in a list, so nothing is drawn; say sampler=grid"])
    if engine == "local" and address:
        raise RecipeError([f"address={address} is of a Ray cluster: leave engine=local out"])
    parallel, cpus = _number(request, "parallel") or 1, _number(request, "cpus")
    seeds = list(dict.fromkeys(seeds))
    plan = Plan(space, samples, seeds, sampler, pruner, engine, address, parallel, cpus)
    if engine == "ray" and plan.adaptive:
        raise RecipeError([f"{plan.adaptive}: Ray is handed all trials at once, and ends them all; say engine=local"])
    return plan


def points(request: Request, plan: Plan) -> list[dict[str, Any]]:
    """The points to try: of tpe those that an earlier part of this sweep tried, for the others follow from results."""
    if plan.sampler != "tpe":
        return search_space.points(plan.space, plan.samples)
    if request.extra.get("resume", "false") != "true":
        return []
    file = _started(request) / RECORD
    return [point["values"] for point in json.loads(file.read_text(encoding="utf-8"))["points"]]


def _choice(request: Request, key: str, known: Sequence[str], default: str) -> str:
    supplied = request.extra.get(key, default)
    if supplied not in known:
        raise RecipeError([f"{key}: expected {', '.join(known)}, got {supplied!r}.{wording.nearest(supplied, known)}"])
    return supplied


def _number(request: Request, key: str) -> int | None:
    supplied = request.extra.get(key)
    if supplied is not None and not (supplied.isdecimal() and int(supplied) > 0):
        raise RecipeError([f"{key}: expected a whole number above 0, got {supplied!r}"])
    return int(supplied) if supplied else None


def configurations(request: Request, plan: Plan, tried: Sequence[dict[str, Any]], first: int = 0) -> dict[str, str]:
    """The resolved recipe of every trial of these points, the first of which has this number, by the trial's name."""
    if supplied := [word for word in request.overrides if word.startswith("seed=")]:
        raise RecipeError([f"{supplied[0]}: a sweep takes seeds=[{supplied[0].removeprefix('seed=')}]"])
    found = {}
    composed = search_space.compose(request.recipe, request.overrides, plan.space, tried, smoke=request.smoke)
    for i, config in enumerate(composed, first):
        data_roots.require(config.data)
        if config.trainer.get("num_nodes", 1) != 1:
            raise RecipeError(["trainer.num_nodes: a trial runs on one machine; the sweep itself takes many"])
        for seed in plan.seeds:
            found[record.name(i, seed)] = compose.to_yaml(OmegaConf.create({**config, "seed": seed}))
    return found


def trainer(request: Request, plan: Plan) -> dict[str, Any]:
    """The recipe's trainer block, as far as no axis changes it."""
    # A recipe may leave to the axes what it must have.
    others = [axis for axis in plan.space if not axis.key.startswith("trainer.")]
    words = [*request.overrides, *(search_space.word(axis.key, axis.values[0]) for axis in others)]
    fixed: Any = compose.compose(request.recipe, words, smoke=request.smoke).trainer
    return {str(key): value for key, value in fixed.items()}


def _started(request: Request) -> Path:
    """The sweep to go on with.

    Raises:
        RecipeError: there is none.
    """
    root, into = Path(request.extra.get("runs", "runs")) / "sweep", request.extra.get("into")
    name = Path(request.recipe).stem
    started = sorted(path.parent for path in (root / name).glob(f"*/{RECORD}"))
    folder = Path(into) if into else next(reversed(started), root / name)
    if not (folder / RECORD).exists():
        raise RecipeError([f"resume=true: no sweep with a {RECORD} in {folder}"])
    return folder


def sweep_folder(request: Request, plan: Plan, configs: dict[str, str]) -> Path:
    """A fresh sweep folder with every trial's recipe, or the one to go on with."""
    root, into = Path(request.extra.get("runs", "runs")) / "sweep", request.extra.get("into")
    if request.extra.get("resume", "false") == "true":
        folder = _started(request)
        stored = {path.parent.name: path.read_text("utf-8") for path in folder.glob(f"trials/*/{search_trial.CONFIG}")}
        then = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        asked = plan.asked
        if stored != configs or {key: then.get(key, asked[key]) for key in asked} != asked:
            raise RecipeError([f"resume=true: this command differs from the one of {folder}: see its {RECORD}"])
        return folder.resolve()
    folder = Path(into) if into else run_places.new_run(root, Path(request.recipe).stem)
    if (folder / "trials").exists():
        raise RecipeError([f"into: {folder} holds a sweep already; resume=true goes on with it"])
    folder.mkdir(parents=True, exist_ok=True)
    write_configurations(folder, configs)
    return folder.resolve()


def write_configurations(folder: Path, configs: dict[str, str]) -> None:
    """Make the folder of every trial, with its recipe."""
    for one, config in configs.items():
        (folder / "trials" / one).mkdir(parents=True)
        (folder / "trials" / one / search_trial.CONFIG).write_text(config, encoding="utf-8")
