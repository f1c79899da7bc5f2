"""`python -m zoo.evaluate adapter=NAME|DIR [data.root=DIR] [output=FILE.json] [KEY=VALUE ...]`: measure an adapter.

Measures an adapter on its test split with the same code as in training, and prints the result beside the card's value.
The result reproduces if it lies within the card's interval, on the same data. On other data (your own:
`data=folder data.root=DIR`) there is nothing to reproduce, and only the number is printed. The calibration of class
probabilities is told as they are and at the adapter's temperature; an adapter without one gets it from the validation
split of the data measured.

    probes=false    skip the interventions on samples (blank pictures, a wrong scale) and on the method's parts, which
                    take most of the time
    adapter=A+B     the sum of the updates of several adapters, as `zoo predict` has it; there is nothing to reproduce
    votes=10        of clouds: measure once more, by the mean of the logits over so many random views of every sample,
                    drawn by the data's own augmentations (data.augment). It stands beside the number without voting,
                    and enters no card
    method.KEY=...  a setting of the method that may change after training, as the rank of a MatryoshkaLoRA
    --update-card   add the measurement to the adapter's metrics.json and card; from a clean commit only
    --force         load an adapter whose backbones or structure differ from training; results say so
    --unquantized   measure what was trained in four bits on whole weights in bfloat16; results say so
"""

import json
import sys
from pathlib import Path

from zoo import files
from zoo.adapter import chosen, directory, places, public_record, unquantized
from zoo.catalog import card, evidence, pages
from zoo.catalog.card import CardError
from zoo.command_line import fail, parse_arguments, user_errors
from zoo.quiet import quiet
from zoo.recipe import data_roots
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate
from zoo.records import provenance
from zoo.records.cautions import cautions
from zoo.report import tables


def main(argv: list[str] | None = None) -> int:
    """Evaluate an adapter; exit code 2 on a mistake in the command, 1 on one in the adapter or the data."""
    named, overrides = parse_arguments(
        argv,
        __doc__ or "",
        required=("adapter",),
        optional=("output", "probes", "votes"),
        flags=("--update-card", "--force", unquantized.FLAG),
        free=True,
    )
    settings, overrides = chosen.divided(overrides)
    if other := [word for word in overrides if not word.startswith(("data.", "data="))]:
        fail([f"'{word}': an adapter is measured as it was trained; only data.* may be changed" for word in other])
    if settings and "--update-card" in named:
        fail(
            [
                f"--update-card: a card says what was trained, not what method.{name}={settings[name]} gives"
                for name in settings
            ]
        )
    if named.get("probes", "true") not in ("true", "false"):
        fail([f"probes={named['probes']}: expected true or false"])
    if not (views := named.get("votes", "0")).isdecimal() or named.get("votes") == "0":
        fail([f"votes={views}: expected how many views vote"])
    quiet()
    with user_errors():
        from zoo.adapter import summed

        folders = places.find_adapters(named["adapter"])
        folder = folders[0]
        if folders[1:] and "--update-card" in named:
            raise CardError("--update-card: a card is of one adapter, and this is a sum of several")
        summed.require(folders)
        config = compose(str(folder / "recipe.yaml"), overrides)
        data_roots.require(config.data)  # before weights are fetched
        if "--update-card" in named and not evidence.publishable({"manifest": provenance.git_state()}):
            raise CardError(
                "--update-card: a number enters a card from a clean commit only; this is a tree with uncommitted "
                "changes, or no checkout"
            )
        from zoo.training import voting
        from zoo.training.initialise import plain
        from zoo.training.measure import evaluate

        if votes := int(views):
            voting.require(instantiate(config.data), instantiate(config.task), votes)

        # With the cache, as in training: probes look at the same pictures, whose frozen part is then computed once.
        _, pairing = summed.load(folders, cached=True, force="--force" in named, whole=unquantized.FLAG in named)
        pairing.choose(**settings)
        result = evaluate(folder, config, pairing, probed=named.get("probes") != "false", votes=votes)
        stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        tables.show(tables.evaluation(result, {"metrics": {}} if pairing.summed else stored))
        print(result["verdict"]["line"])
        if "voted" in result:
            print(tables.voted(result))
        if provenance.CONVERTED in stored["manifest"] and not pairing.summed:
            for number in card.facts(folder / "README.md")["zoo"]["reported"]:
                print(f"reported by others: {pages.reported(number)}")
        if "familiarity" in result:
            print(f"unlike its training: {tables.unlike(result['familiarity'])}")
        for line in cautions(result):
            print(f"warning: {line}")
        for line in pairing.forced:
            print(f"forced: {line}")
        for line in [*pairing.notes, *(pairing.caveats if pairing.summed else [])]:
            print(f"note: {line}")
        if output := named.get("output"):
            files.write_json(Path(output), result)
        if "--update-card" in named:
            public = public_record.record(result, plain(config), pairing.classes)
            directory.add_evaluation(folder, public, card=card.for_adapter)
            print(f"updated: {folder / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
