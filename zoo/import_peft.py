"""`python -m zoo.import_peft folder=DIR output=DIR [recipe=NAME|FILE.yaml] [data.KEY=VALUE ...]`: an adapter of peft.

The folder is a PEFT adapter, or holds one per backbone, named by its key in the recipe, as `zoo.export format=peft`
writes them. The recipe names backbones, task and data; an exported folder has its own. The result is an adapter
directory with method `zoo.methods.lora.LoRA`, or `zoo.methods.peft.PEFT` for another tuner, measured on the recipe's
test split.

PEFT stores neither head nor base weights. Without the head that an export adds, a new, untrained one is made. Whether
the backbones are those that the LoRA was trained on cannot be checked.
"""

import json
import sys
from pathlib import Path

from zoo.adapter import directory, trust
from zoo.catalog import card
from zoo.command_line import fail, parse_arguments, user_errors
from zoo.quiet import quiet
from zoo.recipe.compose import compose, to_yaml
from zoo.report import tables


def main(argv: list[str] | None = None) -> int:
    """Import a folder; exit code 2 on a mistake in the command, 1 on one in the folder, the recipe or the data."""
    arguments, overrides = parse_arguments(
        argv, __doc__ or "", required=("folder", "output"), optional=("recipe",), free=True
    )
    folder, out = Path(arguments["folder"]).expanduser(), Path(arguments["output"])
    if wrong := [f"'{w}': only data.* may be changed" for w in overrides if not w.startswith(("data.", "data="))]:
        fail(wrong)
    if not arguments.get("recipe") and not (folder / "recipe.yaml").is_file():
        fail([f"{folder} has no recipe.yaml: say recipe=NAME, the one whose backbones, task and data it was made for"])
    quiet()
    from zoo.interop.peft_import import convert
    from zoo.interop.peft_layout import PeftError

    with user_errors():
        if out.exists():
            raise PeftError(f"{out} exists already: choose another output, or move it away")
        if "recipe" not in arguments:
            trust.check(folder)
        exported = json.loads((folder / "export.json").read_text()) if (folder / "export.json").is_file() else {}
        where = arguments.get("recipe", str(folder / "recipe.yaml"))
        name = Path(arguments["recipe"]).stem if "recipe" in arguments else str(exported.get("recipe", "recipe"))
        config, pairing, record, notes = convert(folder, compose(where, overrides), name, exported.get("backbones"))
        directory.save(pairing, out, recipe=to_yaml(trust.stripped(config)[0]), metrics=record, card=card.for_adapter)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    tables.show(tables.evaluation(record, record))
    print(f"adapter: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
