"""The size of a method that comes nearest to a budget of trained numbers, found by attaching it."""

from collections.abc import Callable
from typing import Any

import torch
from omegaconf import DictConfig

from zoo.cells.plan import OWN, Contender, Plan, Setting, configuration
from zoo.errors import SettingError
from zoo.methods.sites import find
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import RecipeError
from zoo.recipe.schema import TARGET

LARGEST = 1 << 20
"""No size is looked for beyond this one."""

Size = dict[str, Any]
"""What stands for one method at one budget: its `size`, and the numbers `trained` by it, without the head's."""


def trained(config: DictConfig) -> int:
    """Numbers that a recipe's method trains, without those of the task's head."""
    pairing = build_pairing(config, ["one", "two"], cached=False)
    values = pairing.state_dict()
    return sum(values[name].numel() for name in pairing.trainable if not name.startswith("task."))


def weights(setting: Setting) -> int:
    """Weights of the backbone that a pairing's budgets are shares of.

    Raises:
        RecipeError: the recipe has no such stream, or its backbones no such places.
    """
    config = configuration(setting, Contender("frozen", {TARGET: "zoo.methods.frozen.Frozen"}))
    backbones = build_pairing(config, ["one", "two"], cached=False).backbones
    if setting.stream not in backbones:
        raise RecipeError(
            [f"pairings.{setting.name}.stream: expected one of {', '.join(backbones)}, got {setting.stream!r}"]
        )
    # Before methods meet them: a mistake here would read as if none of them went on this backbone.
    try:
        find(backbones, setting.places.get("targets") or {}, setting.places.get("last") or {}, fits=lambda _: True)
    except SettingError as error:
        raise RecipeError([f"pairings.{setting.name}.places: {error}"]) from error
    return sum(parameter.numel() for parameter in backbones[setting.stream].parameters())


def nearest(count: Callable[[int], int], wanted: int) -> tuple[int, int]:
    """The size whose count is nearest to a wanted one, and that count; the smaller of two as near.

    Args:
        count: of a size; it never falls as sizes grow.
        wanted: at least 0.
    """
    low, high = (1, count(1)), None
    if low[1] >= wanted:
        return low
    while high is None or high[0] - low[0] > 1:
        # Counts are mostly linear in the size, some quadratic: between two of them a line is a fair guess.
        slope = (high[1] - low[1]) / (high[0] - low[0]) if high else low[1] / low[0]
        guess = low[0] + max(1, round((wanted - low[1]) / max(slope, 1e-9)))
        guess = min(guess, high[0] - 1) if high else min(guess, 4 * low[0], LARGEST)
        if guess == low[0]:
            break
        found = (guess, count(guess))
        if found[1] == wanted:
            return found
        if found[1] > wanted:
            high = found
        else:
            low = found
    assert high is not None or low[0] == LARGEST
    return min((low, *([high] if high else [])), key=lambda one: abs(one[1] - wanted))


def sizes(plan: Plan, setting: Setting, contender: Contender, known: dict[str, Size], of: int) -> dict[str, Size]:
    """What one method trains at every budget of the plan, by the budget's name.

    Args:
        plan: of the matrix.
        setting: the pairing.
        contender: the method.
        known: found before, by budget.
        of: weights that the budgets are shares of.

    Raises:
        SettingError: the method does not go on this backbone.
    """
    counts: dict[int | None, int] = {}

    def count(size: int | None) -> int:
        if size not in counts:
            torch.manual_seed(0)
            counts[size] = trained(configuration(setting, contender, size=size))
        return counts[size]

    found = dict(known)
    for budget in plan.budgets_of(contender):
        if str(budget) in found:
            continue
        if budget == OWN:
            found[OWN] = {"size": None, "trained": count(None)}
        else:
            steps, number = nearest(lambda steps: count(steps * contender.step), round(float(budget) * of))
            found[str(budget)] = {"size": steps * contender.step, "trained": number}
    return found


def distinct(found: dict[str, Size], of: int) -> dict[str, Size]:
    """Sizes by budget, each once, at the budget that it is nearest to: small backbones have no size for small budgets.

    Args:
        found: by budget.
        of: weights that the budgets are shares of.
    """

    def misses(budget: str) -> float:
        return 0 if budget == OWN else abs(found[budget]["trained"] - float(budget) * of)

    kept: dict[int | None, str] = {}
    for budget in sorted(found, key=misses):
        kept.setdefault(found[budget]["size"], budget)
    return {budget: size for budget, size in found.items() if kept[size["size"]] == budget}
