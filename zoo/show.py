"""`python -m zoo.show NAME|FILE.yaml|DIR [--json]`: everything about a recipe or an adapter.

Of a recipe: its header, every key with its value here, type and meaning, its variants, results, licences and how to run
it. Of an adapter, bundled or installed or a folder: the recipe that made it, what its backbones must be, checksums, the
measured result, licences and how to use it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open

from zoo import adapter, annotations, catalog, catalog_tables, recipe, report, schema
from zoo.command import blocks, describe, fail, parse_words, user_errors
from zoo.entries import Entry, Holdings
from zoo.files import json_text

INPUTS = {"backbones.points": "cloud.ply", "backbones.audio": "clip.mp4"}
"""A file that such a backbone reads, for the example of a command; a picture otherwise."""


def keys(name: str) -> dict[str, Any]:
    """Header, blocks with every key, and variants of a recipe, in plain values.

    Raises:
        RecipeError: the recipe cannot be read, or names a class that does not exist.
    """
    found = {}
    for key, (block, parameters) in blocks(name).items():
        told = {
            known.name: {
                "value": block.get(known.name, known.value),
                "default": known.value,
                "required": known.default is None,
                "type": annotations.readable(known.annotation),
                "meaning": known.meaning,
            }
            for known in parameters.values()
        }
        found[key] = {"target": block[schema.TARGET], "keys": told}
    return {"header": recipe.header(recipe.find(name)), "blocks": found, "variants": recipe.variants(name)}


def contents(folder: Path) -> dict[str, Any]:
    """What an adapter directory holds beside the facts of its entry: header of its file, checksums, resolved recipe.

    Raises:
        AdapterError: a file is missing, altered, or no safetensors file of ours.
    """
    adapter.verify(folder)
    try:
        with safe_open(folder / "adapter.safetensors", framework="np") as file:
            header = file.metadata()
        told = {
            "format": int(header["format"]),
            "classes": json.loads(header["classes"]),
            "fingerprints": json.loads(header["fingerprints"]),
            "structure": header.get("structure"),
        }
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise adapter.AdapterError(f"{folder}/adapter.safetensors is no adapter of ours: {error}") from error
    resolved = (folder / "recipe.yaml").read_text(encoding="utf-8")
    return {**told, "checksums": adapter.checksums(folder), "resolved": resolved}


def recipe_summary(entry: Entry, holdings: Holdings) -> dict[str, str]:
    """Facts of a recipe, in short; they stand below its keys."""
    commands = [line.removeprefix("Command: ") for line in recipe.header(Path(entry.path)) if "Command: " in line]
    word = entry.name if entry.name in recipe.available() else entry.path
    return {
        **_pairing(entry),
        "made for": "; ".join(part for part in (entry.hardware, entry.takes) if part) or "not said",
        "reported": "\n".join(_reported(number) for number in entry.reported) or "nothing",
        **_result(entry),
        "adapters": ", ".join(made.name for made in holdings.adapters if made.recipe == entry.name) or "none here",
        "run it": "\n".join(commands) or f"python -m zoo.train recipe={word}",
        "can it run here?": f"python -m zoo.doctor recipe={word}",
    }


def adapter_summary(entry: Entry, told: Mapping[str, Any]) -> dict[str, str]:
    """Facts of an adapter, in short; they stand below its resolved recipe."""
    example = next((file for key, file in INPUTS.items() if key in entry.targets), "picture.tif")
    question = ' question="..." choices="one|two"' if entry.task == "visual-question-answering" else ""
    word = entry.name if entry.where else entry.path
    root = " data.root=DIR" if "root" in schema.signature(entry.targets["data"]) else ""
    classes = told["classes"]
    return {
        "recipe": f"{entry.recipe}: {entry.about}",
        **_pairing(entry),
        **_scale(entry.targets["data"], told["resolved"]),
        "classes": f"{len(classes)}: {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}",
        "size": f"{report.size(entry.bytes or 0)}, {entry.trainable:,} trainable parameters",
        "trained": f"{entry.takes} on {entry.hardware}",
        **_result(entry),
        "base": "\n".join(f"{name}: {_base(base)}" for name, base in told["fingerprints"].items()),
        "structure": told["structure"] or "not kept by this format",
        "checksums": "\n".join(f"{digest}  {name}" for name, digest in told["checksums"].items()) + "\nall files match",
        "folder": entry.path,
        "use it": f"python -m zoo.predict adapter={word} input={example}{question}\n"
        f"python -m zoo.evaluate adapter={word}{root}\n"
        f'zoo.load("{word}")     in Python',
    }


def _pairing(entry: Entry) -> dict[str, str]:
    return {
        "method": f"{entry.method}   {entry.targets['method']}",
        "task": f"{entry.task}   {entry.targets['task']}",
        "backbones": "\n".join(entry.backbones),
        "data": f"{entry.data}   {entry.targets['data']}",
    }


def _scale(data: str, resolved: str) -> dict[str, str]:
    """What ground sampling distances mean to an adapter, where its data have any."""
    said = schema.attributes(data)
    block = OmegaConf.create(resolved).data
    unit, side = block.get("gsd_unit") or said.get("gsd_unit"), block.get("side") or said.get("side")
    if unit is None:
        return {}
    of = f"; told for pictures whose shorter side has {side} pixels, converted for others" if side else ""
    return {"scale": f"ground sampling distance in {unit}{of}"}


def _result(entry: Entry) -> dict[str, str]:
    told = "not measured"
    if found := entry.measured:
        told = (
            f"{catalog_tables.exactly(entry)} on {found.data}, test (n = {found.n}, seeds {found.seeds}); "
            f"commit {(found.commit or 'unknown')[:8]}, {found.hardware}, {found.date}"
        )
    own = entry.licences
    licences = {"adapter": own.adapter, **own.backbones, "data": own.data}
    return {
        "measured": told,
        "status": entry.status,
        "licences": "\n".join(f"{what}: {licence}" for what, licence in licences.items()),
    }


def _reported(number: Mapping[str, Any]) -> str:
    selected = f"; selected on {number['selected_on']}" if number.get("selected_on") else ""
    return (
        f"{number['value']} {number.get('unit', '')} {number['metric']}, {number['method']} on {number['dataset']} "
        f"({number['source']}{selected})"
    )


def _base(base: str | Mapping[str, str]) -> str:
    """Fingerprints of a backbone; format 1 has one hash of weights and settings."""
    return base if isinstance(base, str) else "\n  ".join(f"{what} {digest}" for what, digest in base.items())


def main(argv: list[str] | None = None) -> int:
    """Show one thing; exit code 2 where there is no such name, 1 where what it names is broken."""
    words, _ = parse_words(argv, __doc__ or "", required=("name",), flags=("--json",), bare="name")
    name, as_json = words["name"], "--json" in words
    holdings = catalog.holdings()
    adapters = {entry.name: entry for entry in holdings.adapters}
    known = [*recipe.available(), *adapters]
    with user_errors():
        if name in recipe.available() or name.endswith((".yaml", ".yml")):
            told, problems = keys(name), list[str]()
            entry = catalog.of_recipe(recipe.find(name), problems)
            for line in problems:
                print(f"note: {line}", file=sys.stderr)
            if as_json:
                print(json_text(entry.facts() | told, indent=2, encoding=sys.stdout.encoding), flush=True)
                return 0
            print(f"{describe(name)}\n")
            report.show(report.Pairs(recipe_summary(entry, holdings)))
            return 0
        if name not in adapters and not Path(name).is_dir():
            fail([f"unknown recipe or adapter '{name}'.{schema.nearest(name, known)}"])
        folder = catalog.resolve(name)
        told = contents(folder)
        entry = catalog.of_adapter(folder, holdings.recipes)
        if as_json:
            print(json_text(entry.facts() | told, indent=2, encoding=sys.stdout.encoding), flush=True)
            return 0
        print(f"# {entry.path}/recipe.yaml, as it was resolved\n{told['resolved']}")
        report.show(report.Pairs(adapter_summary(entry, told)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
