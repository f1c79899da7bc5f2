"""`init=ADAPTER`: start a training from the tensors of an adapter in place of fresh ones.

The method's tensors must fit exactly: the same backbones, by fingerprint, and the same structure. The head's are taken
where its classes are the same in the same order; with other classes it begins anew, which is said and recorded.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from zoo.adapter import directory, fingerprints, former, places
from zoo.adapter.directory import AdapterError
from zoo.recipe import schema
from zoo.recipe.compose import compose
from zoo.recipe.schema import TARGET
from zoo.wording import asks_help

if TYPE_CHECKING:
    from zoo.pairing import Pairing

METHOD = "method."


def starting_point(words: list[str]) -> tuple[list[str], Path | None]:
    """The words of a training and the adapter that `init=` names; its own recipe is trained where none is given.

    Raises:
        CatalogError: no such adapter.
        AdapterError: it is incomplete or altered.
    """
    given = dict(word.split("=", 1) for word in words if "=" in word)
    if not given.get("init") or asks_help(words):
        return words, None
    folder = places.resolve(given["init"])
    directory.verify(folder)
    return (words if "recipe" in given else [f"recipe={folder / 'recipe.yaml'}", *words]), folder


def initialise(pairing: "Pairing", config: DictConfig, folder: Path) -> dict[str, Any]:
    """Copy an adapter's tensors into a fresh pairing.

    Args:
        pairing: built from `config`.
        config: a composed recipe.
        folder: an adapter directory.

    Returns:
        What the manifest says of it: the adapter, its sha256, how many tensors were taken, which began anew and why.

    Raises:
        AdapterError: the directory is altered, its backbones are others, or the method's tensors do not fit; the
            settings in which the recipes differ are named.
    """
    directory.verify(folder)
    header, stored = directory.read(folder)
    now, then = plain(config), plain(compose(str(folder / "recipe.yaml")))
    own = pairing.trainable_state()
    changed = {block: differing(now[block], then[block]) for block in ("method", "task")}
    how = f"; leave recipe= out to train by the adapter's own recipe, which python -m zoo.show {folder} shows"
    if header["format"] == "1":
        raise AdapterError(f"init={folder}: it was written in format 1, which no training starts from; train it anew")
    if header["format"] == "2" and fingerprints.differences(header, pairing.fingerprints):
        header = former.restated(folder / "recipe.yaml", header)
    if other := fingerprints.differences(header, pairing.fingerprints):
        raise AdapterError(f"init={folder}: {'; '.join(other)}; its tensors mean nothing here{how}")
    misfits = [name for name in sorted(own.keys() | stored.keys()) if misfit(name, own, stored)]
    wrong = [name for name in misfits if name.startswith(METHOD)]
    if wrong:
        settings = ", ".join(changed["method"]) or "no setting differs"
        raise AdapterError(
            f"init={folder}: {len(wrong)} tensors of the method do not fit, e.g. {wrong[0]} ({settings}){how}"
        )
    _take_scale(pairing, config, folder)
    fresh = [name for name in own if not name.startswith(METHOD)]
    why = reason(json.loads(header["classes"]), pairing.classes)
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
    }


def _take_scale(pairing: "Pairing", config: DictConfig, folder: Path) -> None:
    """Ground sampling distances go on meaning what they meant to the adapter, unless the recipe names another side.

    Raises:
        AdapterError: the data's are in another unit.
    """
    from zoo.ground import GSD, measure_in
    from zoo.recipe.build import of_recipe

    if GSD not in pairing.method.conditions:
        return
    then = of_recipe(compose(str(folder / "recipe.yaml")).data)
    if then.unit != pairing.ground.unit:
        raise AdapterError(
            f"init={folder}: its ground sampling distances are in {then.unit!r}, those of the data in "
            f"{pairing.ground.unit!r}, so that its gates would open at other scales; train without init=, or tell "
            f"those of own files in its unit: data.gsd_unit='{then.unit}'"
        )
    if then.side and not config.data.get("side"):
        measure_in(pairing, then)


def told(record: dict[str, Any]) -> str:
    """One line about an initialisation."""
    line = f"init {record['adapter']}: {record['taken']} tensors taken"
    if record["fresh"]:
        line += f"; a new head ({len(record['fresh'])} tensors), as {record['why_fresh']}"
    if record["settings"]:
        line += f"; trained with other settings ({', '.join(record['settings'])})"
    return line


def misfit(name: str, own: dict[str, Any], stored: dict[str, Any]) -> bool:
    """Whether a tensor is missing on one side, or has another shape."""
    return name not in own or name not in stored or own[name].shape != stored[name].shape


def reason(then: list[str], now: list[str]) -> str:
    """Why a head for other classes is of no use; empty where they are the same."""
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


def differing(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """Settings in which two blocks of a recipe differ, defaults counted: `rank=32, here 16`."""
    if now[TARGET] != then[TARGET]:
        return [f"{then[TARGET]}, here {now[TARGET]}"]
    known = schema.signature(str(now[TARGET])).values()
    pairs = [(parameter.shown(then), parameter.shown(now)) for parameter in known]
    return [f"{there}, here {here.partition('=')[2]}" for there, here in pairs if there != here]
