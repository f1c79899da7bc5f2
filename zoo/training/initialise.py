"""`init=ADAPTER`: start a training from the tensors of an adapter in place of fresh ones.

The method's tensors must fit exactly: the same backbones, by fingerprint, and the same structure. The head's are taken
if the classes and their order are the same. With other classes the head is newly initialised, which is printed and
recorded.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from zoo.adapter import directory, fingerprints, former, places
from zoo.adapter.directory import AdapterError
from zoo.ops.tensors import mismatches
from zoo.recipe import schema
from zoo.recipe.compose import compose
from zoo.recipe.schema import TARGET
from zoo.wording import asks_help

if TYPE_CHECKING:
    from zoo.pairing import Pairing

METHOD = "method."


def starting_point(arguments: list[str]) -> tuple[list[str], Path | None]:
    """The arguments of a training and the adapter named by `init=`; without `recipe=` the adapter's own is trained.

    Raises:
        CatalogError: no such adapter.
        AdapterError: it is incomplete or altered.
    """
    provided = dict(word.split("=", 1) for word in arguments if "=" in word)
    if not provided.get("init") or asks_help(arguments):
        return arguments, None
    folder = places.find_adapter(provided["init"])
    directory.verify(folder)
    return (arguments if "recipe" in provided else [f"recipe={folder / 'recipe.yaml'}", *arguments]), folder


def initialise(pairing: "Pairing", config: DictConfig, folder: Path) -> dict[str, Any]:
    """Copy an adapter's tensors into a fresh pairing.

    Args:
        pairing: built from `config`.
        config: a composed recipe.
        folder: an adapter directory.

    Returns:
        The record for the manifest: the adapter, its sha256, the number of tensors taken, which ones are new and why.

    Raises:
        AdapterError: the directory is altered, its backbones are others, or the method's tensors do not fit; the
            settings in which the recipes differ are named.
    """
    directory.verify(folder)
    header, stored = directory.read(folder)
    now, then = plain(config), plain(compose(str(folder / "recipe.yaml")))
    own = pairing.trainable_state()
    changed = {block: changed_settings(now[block], then[block]) for block in ("method", "task")}
    how = f"; leave recipe= out to train by the adapter's own recipe, which python -m zoo.show {folder} shows"
    if header["format"] == "1":
        raise AdapterError(f"init={folder}: it was written in format 1, which no training starts from; train it again")
    if header["format"] == "2" and fingerprints.differences(header, pairing.fingerprints):
        header = former.restated(folder / "recipe.yaml", header)
    if other := fingerprints.differences(header, pairing.fingerprints):
        raise AdapterError(f"init={folder}: {'; '.join(other)}; its tensors mean nothing here{how}")
    misfits = sorted(mismatches(own, stored))
    wrong = [name for name in misfits if name.startswith(METHOD)]
    if wrong:
        settings = ", ".join(changed["method"]) or "no setting differs"
        raise AdapterError(
            f"init={folder}: {len(wrong)} tensors of the method do not fit, e.g. {wrong[0]} ({settings}){how}"
        )
    _take_scale(pairing, config, folder)
    fresh = [name for name in own if not name.startswith(METHOD)]
    why = why_new_head(json.loads(header["classes"]), pairing.classes)
    if not why and misfits:
        why = f"the task differs ({', '.join(changed['task']) or 'another class'})"
    taken = {name: stored[name] for name in own if not why or name.startswith(METHOD)}
    pairing.load_trainable(own | taken, source=str(folder / "adapter.safetensors"))
    return {
        "adapter": f"{folder.parent.name}/adapter" if folder.name == "adapter" else folder.name,
        "sha256": directory.checksums(folder)["adapter.safetensors"],
        "taken": len(taken),
        "fresh": fresh if why else [],
        "why_fresh": why if fresh else "",
        "settings": changed["method"],
        **({"left_out": left_out} if (left_out := _left_out(folder)) else {}),
    }


def _left_out(folder: Path) -> list[str]:
    """Keys of the blocks that the adapter's training had and its recipe may not name."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return sorted(metrics.get("manifest", {}).get("left_out", {}))


def _take_scale(pairing: "Pairing", config: DictConfig, folder: Path) -> None:
    """Use the adapter's unit and reference side of ground sampling distances, unless the recipe names another side.

    Raises:
        AdapterError: the data's GSDs are in another unit.
    """
    from zoo.methods.ground import GSD, measure_in
    from zoo.recipe.build import of_recipe

    if GSD not in pairing.method.conditions:
        return
    then = of_recipe(compose(str(folder / "recipe.yaml")).data)
    if then.unit != pairing.ground.unit:
        raise AdapterError(
            f"init={folder}: its ground sampling distances are in {then.unit!r}, those of the data in "
            f"{pairing.ground.unit!r}, so that its gates would open at other scales; train without init=, or give "
            f"those of own files in its unit: data.gsd_unit='{then.unit}'"
        )
    if then.side and not config.data.get("side"):
        measure_in(pairing, then)


def summary(record: dict[str, Any]) -> str:
    """One line about an initialisation."""
    line = f"init {record['adapter']}: {record['taken']} tensors taken"
    if record["fresh"]:
        line += f"; a new head ({len(record['fresh'])} tensors), as {record['why_fresh']}"
    if record["settings"]:
        line += f"; trained with other settings ({', '.join(record['settings'])})"
    if record.get("left_out"):
        line += f"; trained with {', '.join(record['left_out'])}, which its metrics.json has and this recipe has not"
    return line


def why_new_head(then: list[str], now: list[str]) -> str:
    """Why the head must be new; empty if the classes are the same."""
    if then == now:
        return ""
    if sorted(then) == sorted(now):
        return f"its classes stand in another order (data.classes=[{','.join(then)}] is the adapter's)"
    return f"its {len(then)} classes are not these {len(now)}"


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed recipe as plain values."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def changed_settings(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Settings that differ between two blocks of a recipe, including defaults: `rank=32, here 16`."""
    if now[TARGET] != then[TARGET]:
        return [f"{then[TARGET]}, here {now[TARGET]}"]
    known = schema.signature(str(now[TARGET])).values()
    pairs = [(parameter.shown(then), parameter.shown(now)) for parameter in known]
    return [f"{there}, here {here.partition('=')[2]}" for there, here in pairs if there != here]
