"""A copy of an adapter directory that may leave this machine: public values, a card made of them, and a last look."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.adapter.leaks import leaks, lines
from zoo.adapter.public import OWN, ShareError, leaves, settings, words
from zoo.adapter.public_record import record
from zoo.files import PACKAGE
from zoo.recipe.strict_yaml import StrictLoader

RESULTS = ("<!-- results:begin -->", "<!-- results:end -->")


def contents(folder: Path, card_of: Callable[[Path], str]) -> tuple[dict[str, Any], Any, "Written"]:
    """The public parts of an adapter directory's recipe and metrics.json, and its hand-written card.

    Args:
        folder: an adapter directory that was verified.
        card_of: makes the card of one.

    Raises:
        ShareError: something that cannot be replaced tells of this machine.
    """
    config = yaml.load((folder / "recipe.yaml").read_text(encoding="utf-8"), Loader=StrictLoader)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    classes = header(folder).get("classes", "[]")
    known = json.loads(classes)
    recipe, public = settings(config, known), record(metrics, config, known)
    if sets := public.get("familiarity", {}).get("foreign"):
        numbered = enumerate(sets.items(), 1)
        public["familiarity"]["foreign"] = {
            name if name in _public_sets() else f"foreign set {k}": one for k, (name, one) in numbered
        }
    page, made = (folder / "README.md").read_text(encoding="utf-8"), card_of(folder)
    hidden = _withheld(config, recipe) | _withheld(metrics, public)
    return recipe, public, Written("" if page == made else page, _results(made), hidden)


def _public_sets() -> set[str]:
    """Names of the foreign sets that the zoo's own adapters were measured on; others are those of a user's folders."""
    places = (PACKAGE / "pretrained").glob("*/metrics.json")
    records = [json.loads(place.read_text(encoding="utf-8")) for place in places]
    return {name for record in records for name in record.get("familiarity", {}).get("foreign", {})}


@dataclass(frozen=True)
class Written:
    """A card that somebody wrote on.

    Attributes:
        page: the card; empty where it is as it was made.
        results: the section between its markers, as it was made.
        hidden: texts that were left out of recipe and metrics.
    """

    page: str
    results: str
    hidden: frozenset[str]


def _withheld(before: Any, after: Any) -> frozenset[str]:
    """Texts that were replaced: whole ones, the values of a command's words, and the name of a user's own folder."""
    kept = set(leaves(after))
    gone = set(leaves(before)) - kept
    commands = {word for text in gone if text.startswith("python ") for word in text.split(" ")}
    names = {text[len(OWN) + 2 : -1] for text in gone if text.startswith(f"{OWN} (")}
    public_words = {part for text in kept for word in text.split(" ") for part in (word, word.partition("=")[2])}
    hidden = gone | names | {word.partition("=")[2] or word for word in commands}
    return frozenset(text for text in hidden - public_words - words() if len(text) > 3)


def card(written: Written, made: str) -> str:
    """The card that goes: as it is made of what is public or, where somebody wrote on it, its text under this front.

    Args:
        written: from `contents`.
        made: the card that belongs to the public files.

    Raises:
        ShareError: a line of the text tells of this machine.
    """
    if not written.page:
        return made
    _, front, _ = made.split("---\n", 2) if made.startswith("---\n") else ("", "", "")
    parts = written.page.split("---\n", 2)
    fronted = len(parts) == 3 and not parts[0]
    body = parts[2] if fronted else written.page
    # A section that somebody changed stays as it is, and is refused where the card is checked.
    body = re.sub(rf"{OWN} \([^)\n]*\)", OWN, body.replace(written.results, _results(made), bool(written.results)))
    if found := lines(body, written.hidden):
        raise ShareError(f"README.md, {found[0]}; take it out of the card's text" + _more(found))
    return f"---\n{front}---\n{body}" if front and fronted else body


def _results(page: str) -> str:
    return page.partition(RESULTS[0])[2].partition(RESULTS[1])[0]


def require_silent(folder: Path) -> None:
    """The last look: no file of a copy tells of this machine, whatever way it came there.

    Raises:
        ShareError: naming file and line.
    """
    for name in ("recipe.yaml", "metrics.json", "README.md"):
        if found := lines((folder / name).read_text(encoding="utf-8")):
            raise ShareError(f"{name}, {found[0]}; nothing is shared{_more(found)}")
    for key, value in header(folder).items():
        if found := leaks(f"{key} {value}"):
            raise ShareError(f"adapter.safetensors: {key!r} of its header holds {found[0]}; nothing is shared")


def header(folder: Path) -> dict[str, str]:
    """The texts in the header of an adapter's tensors."""
    from safetensors import safe_open

    with safe_open(folder / "adapter.safetensors", framework="np") as file:
        found: dict[str, str] = file.metadata() or {}
    return found


def _more(found: Sequence[str]) -> str:
    return f" ({len(found) - 1} more such lines)" if len(found) > 1 else ""
