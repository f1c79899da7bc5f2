"""`python -m zoo.place recipe=NAME [top=3] [key=value ...]`: propose layers to adapt, by their gradients.

Trains the task's head on frozen features (`steps=`), takes the gradients of every linear layer for a few training
samples (`samples=`; see `zoo.training.placement`), and prints each layer's share, with two commands. The first is a
sweep that compares on the validation split: each of the `top=` layers alone, all of them, the recipe's own targets, and
none. Gradients only propose; that decides. The second trains one of them.

The recipe's method must be one that names layers by `method.targets`, as method=lora does; it need not name any.
Nothing is written.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from zoo.command_line import called, parse_recipe_command, user_errors
from zoo.errors import SettingError
from zoo.recipe import schema
from zoo.recipe.compose import RecipeError, compose
from zoo.recipe.request import Request
from zoo.recipe.schema import TARGET

if TYPE_CHECKING:
    from zoo.training.placement import Place

TARGETS, LAST = "method.targets", "method.last"

EXTRA = {
    "top": "how many layers are proposed (default: 3)",
    "samples": "training samples whose gradients are taken (default: 32, as in the paper)",
    "steps": "optimizer steps of the head before that (default: 300)",
}

DEFAULTS = {"top": 3, "samples": 32, "steps": 300}


def main(argv: list[str] | None = None) -> int:
    """Propose; exit code 2 on a mistake in the command."""
    request = parse_recipe_command(argv, "zoo.place", str(__doc__), extra=EXTRA)
    with user_errors():
        numbers = {name: _number(request, name) for name in DEFAULTS}
        config = composed(request)
        if not {"targets", "last"} <= schema.signature(str(config.method[TARGET])).keys():
            raise SettingError(f"method: {config.method[TARGET]} names no layers by {TARGETS}; choose method=lora")
        from zoo.report import tables
        from zoo.training import placement

        shares, own = placement.propose(config, samples=numbers["samples"], steps=numbers["steps"])
        tables.show(placement.table(request.recipe, shares))
        candidates = proposals([place for place, _ in shares[: numbers["top"]]], own)
        print("validation decides among them, the recipe's own targets, and none:")
        print(called(f"  {command(request, 'sweep', f'search.{TARGETS}={json.dumps(candidates)}')}"))
        print("and one of them is trained by:")
        print(called(f"  {command(request, 'train', f'{TARGETS}={json.dumps(candidates[0])}')}"))
    return 0


def composed(request: Request) -> DictConfig:
    """The recipe, whose method may be without targets: who does not know them is who asks.

    Raises:
        RecipeError: on any other mistake.
    """
    try:
        return compose(request.recipe, request.overrides, smoke=request.smoke)
    except RecipeError as error:
        try:
            return compose(request.recipe, [*request.overrides, f"{TARGETS}={{}}"], smoke=request.smoke)
        except RecipeError as other:
            raise RecipeError([line for line in error.problems if line in other.problems] or error.problems) from None


def proposals(best: Sequence["Place"], own: Mapping[str, list[str]]) -> list[dict[str, list[str]]]:
    """Values of `method.targets`: each layer, all of them, the recipe's own, and none; no value twice."""
    every: list[dict[str, list[str]]] = [{place.tower: [place.target]} for place in best]
    every += [_together(best), dict(own), {}]
    return [value for number, value in enumerate(every) if value not in every[:number]]


def _together(places: Sequence["Place"]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for place in places:
        found.setdefault(place.tower, []).append(place.target)
    return found


def command(request: Request, name: str, word: str) -> str:
    """A command with this recipe and its settings, but for those of where the method acts, which `word` says."""
    keys = (TARGETS, LAST)
    kept = [given for given in request.overrides if given.partition("=")[0] not in keys]
    words = [f"recipe={request.recipe}", *kept, f"{LAST}=null", word, *["--smoke"] * request.smoke]
    return f"python -m zoo.{name} {shlex.join(words)}"


def _number(request: Request, key: str) -> int:
    supplied = request.extra.get(key, str(DEFAULTS[key]))
    if not supplied.isdecimal() or int(supplied) < 1:
        raise RecipeError([f"{key}: expected a whole number above 0, got {supplied!r}"])
    return int(supplied)


if __name__ == "__main__":
    sys.exit(main())
