"""`python -m zoo.matrix plan=FILE.yaml [PAIRING.key=value ...] [--print]`: many methods on many pairings, compared.

Every method of the plan, which is told below, is attached to every pairing, and given the size that comes nearest to
each budget. Then it is trained with every learning rate; validation chooses one, with which all seeds are trained and
the test split is measured. Each training is a finished run in a folder of its own, so a matrix that was stopped goes on
where it was, and a changed plan trains what is new.

    plan=FILE.yaml        pairings, methods, budgets, learning rates, seeds
    PAIRING.key=value     a setting of one pairing's recipe, such as pictures.data.root=DIR
    pairings=[a,b]        these alone
    methods=[a,b]         likewise
    budgets=[0.01]        likewise; methods of one size stay
    runs=DIR              where run folders go (default: runs), below matrix/PLAN/
    page=FILE.md          write tables, rankings and pictures into this page, and the record beside it
    --print               say which sizes fit the budgets, and stop
"""

import hashlib
import json
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import files
from zoo.cells import marks
from zoo.cells import plan as plans
from zoo.cells.check import check
from zoo.cells.plan import OWN, Plan, configuration, read
from zoo.command_line import parse_arguments, user_errors
from zoo.errors import SettingError
from zoo.quiet import quiet
from zoo.recipe.compose import RecipeError
from zoo.search.trial import ended_by_sigterm
from zoo.wording import nearest

if TYPE_CHECKING:
    from zoo.cells.trainings import Cell

RESULT = "matrix.json"

ROOMS = ("pairings", "methods", "budgets")
"""Of what a command may name some alone."""


def main(argv: list[str] | None = None) -> int:
    """Train what is missing, write the record and the page; exit code 2 on a mistake in command or plan, 1 if no cell
    is done."""
    arguments, free = parse_arguments(
        argv,
        f"{__doc__}\n{plans.__doc__}",
        required=("plan",),
        optional=(*ROOMS, "runs", "page"),
        flags=("--print",),
        free=True,
    )
    with user_errors():
        overrides = {key: value for key, _, value in (word.partition("=") for word in free)}
        plan = read(Path(arguments["plan"]), overrides)
        pairings = _wanted(arguments, "pairings", [one.name for one in plan.settings])
        methods = _wanted(arguments, "methods", [one.name for one in plan.contenders])
        budgets = {OWN, *_wanted(arguments, "budgets", [str(budget) for budget in plan.budgets])}
        check(plan, pairings, methods)
        if "page" in arguments:
            marks.require(Path(arguments["page"]))
        quiet()
        from zoo.cells import after, page, record
        from zoo.cells.trainings import Trainings

        folder = Path(arguments.get("runs", "runs")) / "matrix" / plan.name
        cells, refused, weights = _cells(plan, folder, pairings, methods, budgets)
        if "--print" in arguments:
            return 0
        trainings = Trainings(plan, folder)
        with ended_by_sigterm():
            for number, cell in enumerate(cells, 1):
                for line in trainings.run(cell):
                    print(f"{number} of {len(cells)}: {line}", flush=True)
                for run in trainings.measured(cell)[:1]:
                    if (run / "adapter").exists():
                        after.measure(cell.setting, run)
        found = record.gather(plan, trainings, cells, refused, weights)
        files.write_json(folder / RESULT, found)
        print(f"written: {folder / RESULT}")
        if "page" in arguments:
            page.write(Path(arguments["page"]), found, _told(arguments, free))
            print(f"written: {arguments['page']}")
    return 0 if any(pairing["rows"] for pairing in found["pairings"].values()) else 1


def _cells(
    plan: Plan, folder: Path, pairings: Sequence[str], methods: Sequence[str], budgets: Collection[str]
) -> tuple[list["Cell"], list[tuple[str, str, str]], dict[str, int]]:
    """The wanted cells with their sizes, which the folder keeps; what does not go where and why; weights by pairing."""
    from zoo.cells.budget import distinct, sizes, weights
    from zoo.cells.trainings import Cell

    cells, refused, of = [], [], {}
    for setting in (one for one in plan.settings if one.name in pairings):
        of[setting.name] = weights(setting)
        print(f"{setting.name}: {setting.title}, {of[setting.name]:,} weights", flush=True)
        for contender in (one for one in plan.contenders if one.name in methods):
            # What a size trains follows from these alone.
            told = configuration(setting, contender, size=contender.step)
            identity = hashlib.sha256(f"{told.backbones} {told.method} {contender.size}".encode()).hexdigest()[:8]
            file = folder / setting.name / f"{contender.name}-{identity}.json"
            known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
            try:
                found = sizes(plan, setting, contender, known, of[setting.name])
            except SettingError as error:
                refused.append((setting.name, contender.name, " ".join(str(error).split())))
                print(f"  {contender.name}: does not go here: {refused[-1][-1]}", flush=True)
                continue
            if found != known:
                file.parent.mkdir(parents=True, exist_ok=True)
                files.write_json(file, found)
            # The folder may know sizes at budgets that the plan no longer has.
            asked = {str(budget): found[str(budget)] for budget in plan.budgets_of(contender)}
            for budget, size in distinct(asked, of[setting.name]).items():
                if budget not in budgets:
                    continue
                share = f"{100 * size['trained'] / of[setting.name]:.3g} %"
                named = f", {', '.join(contender.size)} = {size['size']}" if contender.size else ""
                print(f"  {contender.name}{named}: {size['trained']:,} trained, {share}", flush=True)
                cells.append(Cell(setting, contender, budget, size))
    return cells, refused, of


def _wanted(arguments: Mapping[str, str], room: str, known: Sequence[str]) -> list[str]:
    """The named ones, all where none is.

    Raises:
        RecipeError: there is no such one.
    """
    words = [word.strip() for word in arguments.get(room, "").strip("[]").split(",") if word.strip()]
    if unknown := [word for word in words if word not in known]:
        raise RecipeError([f"{room}: the plan has no '{word}'.{nearest(word, known)}" for word in unknown])
    return words or list(known)


def _told(arguments: Mapping[str, str], overrides: Sequence[str]) -> str:
    """The command for a reader: folders of this machine are left out."""
    words = [f"{key}={arguments[key]}" for key in ("plan", *ROOMS) if key in arguments]
    words += [re.sub(r"^(\S+\.data\.\w*root)=.*", r"\1=DIR", word) for word in overrides]
    return " ".join(["python -m zoo.matrix", *words])


if __name__ == "__main__":
    sys.exit(main())
