"""Everything about a recipe or an adapter as plain values, for `zoo.show`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from safetensors import SafetensorError, safe_open

from zoo import wording
from zoo.adapter import directory
from zoo.adapter.directory import AdapterError
from zoo.catalog import tables
from zoo.catalog.entries import Catalog, Entry
from zoo.recipe import annotations, compose, schema
from zoo.recipe.keys import blocks
from zoo.recipe.schema import TARGET

INPUTS = {"backbones.points": "cloud.ply", "backbones.audio": "clip.mp4"}
"""A file that such a backbone reads, for the example of a command; a picture otherwise."""


def keys(name: str) -> dict[str, Any]:
    """Header, blocks with every key, and variants of a recipe, in plain values.

    Raises:
        RecipeError: the recipe cannot be read, or names a class that does not exist.
    """
    found = {}
    for key, (block, parameters) in blocks(name).items():
        settings = {
            known.name: {
                "value": block.get(known.name, known.value),
                "default": known.value,
                "required": known.default is None,
                "type": annotations.readable(known.annotation),
                "meaning": known.meaning,
            }
            for known in parameters.values()
        }
        found[key] = {"target": block[TARGET], "keys": settings}
    return {"header": compose.header(compose.find(name)), "blocks": found, "variants": compose.variants(name)}


def contents(folder: Path) -> dict[str, Any]:
    """Contents of an adapter directory beside the facts of its entry: header, checksums, resolved recipe.

    Raises:
        AdapterError: a file is missing, altered, or no safetensors file of ours.
    """
    directory.verify(folder)
    try:
        with safe_open(folder / "adapter.safetensors", framework="np") as file:
            header = file.metadata()
        details = {
            "format": int(header["format"]),
            "classes": json.loads(header["classes"]),
            "fingerprints": json.loads(header["fingerprints"]),
            "structure": header.get("structure"),
        }
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AdapterError(f"{folder}/adapter.safetensors is no adapter of ours: {error}") from error
    resolved = (folder / "recipe.yaml").read_text(encoding="utf-8")
    return {**details, "checksums": directory.checksums(folder), "resolved": resolved}


def recipe_summary(entry: Entry, catalog: Catalog) -> dict[str, str]:
    """Facts of a recipe, in short; they stand below its keys."""
    commands = [line.removeprefix("Command: ") for line in compose.header(Path(entry.path)) if "Command: " in line]
    word = entry.name if entry.name in compose.available() else entry.path
    return {
        **({"package": entry.where} if entry.where else {}),
        **_pairing(entry),
        "made for": "; ".join(part for part in (entry.hardware, entry.takes) if part) or "not stated",
        "reported": "\n".join(reported(number) for number in entry.reported) or "nothing",
        **_result(entry),
        "adapters": ", ".join(made.name for made in catalog.adapters if made.recipe == entry.name) or "none here",
        "run it": "\n".join(commands) or f"python -m zoo.train recipe={word}",
        "can it run here?": f"python -m zoo.doctor recipe={word}",
    }


def adapter_summary(entry: Entry, details: Mapping[str, Any]) -> dict[str, str]:
    """Facts of an adapter, in short; they stand below its resolved recipe."""
    example = next((file for key, file in INPUTS.items() if key in entry.targets), "picture.tif")
    further = ' question="..." choices="one|two"' if entry.task == "visual-question-answering" else ""
    further += ' classes="one|two"' if schema.attributes(entry.targets["task"]).get("open_classes") else ""
    word = entry.name if entry.where else entry.path
    root = " data.root=DIR" if "root" in schema.signature(entry.targets["data"]) else ""
    classes = details["classes"]
    return {
        "recipe": f"{entry.recipe}: {entry.about}",
        **_pairing(entry),
        **_scale(entry.targets["data"], details["resolved"]),
        "classes": f"{len(classes)}: {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}",
        "size": f"{wording.size(entry.bytes or 0)}, {entry.trainable:,} trainable parameters",
        "trained": f"{entry.takes} on {entry.hardware}",
        **_result(entry),
        "base": "\n".join(f"{name}: {_base(base)}" for name, base in details["fingerprints"].items()),
        "structure": details["structure"] or "not kept by this format",
        "checksums": "\n".join(f"{digest}  {name}" for name, digest in details["checksums"].items())
        + "\nall files match",
        "folder": entry.path,
        "use it": f"python -m zoo.predict adapter={word} input={example}{further}\n"
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
    """Unit and reference size of an adapter's ground sampling distances, if its data have any."""
    attributes = schema.attributes(data)
    block = OmegaConf.create(resolved).data
    unit, side = block.get("gsd_unit") or attributes.get("gsd_unit"), block.get("side") or attributes.get("side")
    if unit is None:
        return {}
    of = f"; for pictures whose shorter side has {side} pixels, converted for others" if side else ""
    return {"scale": f"ground sampling distance in {unit}{of}"}


def _result(entry: Entry) -> dict[str, str]:
    measured = "not measured"
    if found := entry.measured:
        measured = (
            f"{tables.exactly(entry)} on {found.data}, test (n = {found.n}, seeds {found.seeds}"
            f"{f', {found.folds} folds' if found.folds else ''}); "
            f"commit {(found.commit or 'unknown')[:8]}, {found.hardware}, {found.date}"
        )
    own = entry.licences
    licences = {"adapter": own.adapter, **own.backbones, "data": own.data}
    return {
        "measured": measured,
        "status": entry.status,
        "licences": "\n".join(f"{what}: {licence}" for what, licence in licences.items()),
    }


def reported(number: Mapping[str, Any]) -> str:
    """A number of others in words, from a card's front matter."""
    selected = f"; selected on {number['selected_on']}" if number.get("selected_on") else ""
    return (
        f"{number['value']} {number.get('unit', '')} {number['metric']}, {number['method']} on {number['dataset']} "
        f"({number['source']}{selected})"
    )


def _base(base: str | Mapping[str, str]) -> str:
    """Fingerprints of a backbone; format 1 has one hash of weights and settings."""
    return base if isinstance(base, str) else "\n  ".join(f"{what} {digest}" for what, digest in base.items())
