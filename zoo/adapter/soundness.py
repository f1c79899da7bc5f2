"""Whether the files of an adapter say what they should, value by value; no torch.

Checksums show that a file is as its maker left it, not that it is of the right kind: a header without classes, or a
list in place of a number, would end a command long after the adapter was taken.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import UserError

LARGEST_HEADER, LARGEST_METRICS = 16 << 20, 64 << 20
"""Bytes. A header has some hundred for every tensor."""

MOST_CLASSES, LONGEST_CLASS = 100_000, 1000


class SoundnessError(UserError):
    """A file of an adapter is readable, but says something of another kind than it should."""


def require_header(path: Path) -> None:
    """The header of an adapter's tensors names format, classes, fingerprints and structure, each of its kind.

    Args:
        path: adapter.safetensors.

    Raises:
        SoundnessError: naming what is wrong.
    """
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > LARGEST_HEADER:
        raise SoundnessError(f"{path} is no safetensors file: its header claims {length:,} bytes")
    try:
        with safe_open(path, framework="np") as file:
            header, tensors = file.metadata() or {}, list(file.keys())
    except (SafetensorError, ValueError, RecursionError) as error:
        raise SoundnessError(f"{path} is no safetensors file: {' '.join(str(error).split())}") from None
    if not tensors:
        raise SoundnessError(f"{path} holds no tensors")
    # `directory.read` reports a format that this version does not know.
    if header.get("format") not in ("1", "2", "3"):
        return
    wrong = _wrong_classes(_json(header, "classes")) or _wrong_prints(_json(header, "fingerprints"), header["format"])
    if not wrong and header["format"] != "1" and not _is_digest(header.get("structure")):
        wrong = "structure: expected a sha256"
    wrong = wrong or _wrong_anchors(header, tensors)
    if wrong:
        raise SoundnessError(f"{path}: its header is damaged or not the zoo's: {wrong}")


def _json(header: Mapping[str, str], key: str) -> Any:
    try:
        return json.loads(header[key])
    except (KeyError, ValueError, RecursionError):
        return None


def _wrong_classes(classes: Any) -> str:
    if not isinstance(classes, list) or not 0 < len(classes) <= MOST_CLASSES:
        return "classes: expected a list of names"
    strange = [name for name in classes if not isinstance(name, str) or not 0 < len(name) <= LONGEST_CLASS]
    if strange or not all(name.isprintable() for name in classes):
        return f"classes: expected names of 1 to {LONGEST_CLASS} letters in one line each"
    return "" if len(set(classes)) == len(classes) else "classes: a name stands twice"


def _wrong_prints(prints: Any, form: str) -> str:
    if not isinstance(prints, dict) or not prints:
        return "fingerprints: expected an object with one for every backbone"
    for name, value in prints.items():
        own = [value.get(part) for part in ("weights", "settings")] if isinstance(value, dict) else [None]
        parts = [value] if form == "1" else own
        if not all(isinstance(part, str) and len(part) <= 200 for part in parts):
            return f"fingerprints: that of {name!r} is none"
    return ""


def _wrong_anchors(header: Mapping[str, str], tensors: Sequence[str]) -> str:
    if "anchors" not in header:
        return ""
    anchor = _json(header, "anchors")
    if not isinstance(anchor, dict) or not isinstance(anchor.get("backbone"), str) or not _is_digest(anchor.get("of")):
        return "anchors: expected the name of a backbone, and a sha256"
    if "text.anchors" not in tensors or "text" not in json.loads(header["fingerprints"]):
        return "anchors: there is no tensor text.anchors, or no fingerprint of the text backbone"
    return ""


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and all(letter in "0123456789abcdef" for letter in value)


# --- metrics.json -----------------------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 10_000


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_numbers(value: Any) -> bool:
    return _is_object(value) and all(inner is None or _is_number(inner) for inner in value.values())


def _are_intervals(value: Any) -> bool:
    return _is_object(value) and all(
        isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)) for ends in value.values()
    )


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _or_unknown(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Value of the fields that a wheel outside a checkout does not know, such as the commit."""
    return lambda value: value is None or fits(value)


MEASURED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "split": (_is_text, "a text"),
    "task": (_is_text, "a text"),
    "monitor": (_is_text, "a text"),
    "unit": (_is_text, "a text"),
    "n": (_is_count, "a count"),
    "metrics": (_are_numbers, "numbers by name"),
    "intervals": (_are_intervals, "two numbers by name"),
    "manifest": (_is_object, "an object"),
    "manifest.command": (_is_text, "a text"),
    "manifest.commit": (_or_unknown(_is_text), "a text or null"),
    "manifest.dirty": (_or_unknown(_is_flag), "true, false or null"),
    "manifest.date": (_is_text, "a text"),
    "manifest.hardware": (_is_text, "a text"),
    "manifest.recipe": (_is_text, "a text"),
    "manifest.seconds": (_is_number, "a number"),
    "manifest.seed": (_is_count, "a count"),
    "manifest.selected_on": (_is_text, "a text"),
    "manifest.versions": (_is_object, "an object"),
    "manifest.data": (_is_object, "an object"),
    "manifest.data.name": (_is_text, "a text"),
    "manifest.data.synthetic": (_is_flag, "true or false"),
    "manifest.data.fingerprint": (_is_text, "a text"),
}
"""Required keys of every measurement."""

TRAINED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "manifest.epochs": (_is_count, "a count"),
    "manifest.parameters": (_are_numbers, "numbers by name"),
    "manifest.cost": (_is_object, "an object"),
    "manifest.cost.peak_memory_bytes": (_is_number, "a number"),
}
"""And of the one that ended the training."""


def require_metrics(path: Path) -> None:
    """metrics.json has what commands read of it, each of its kind.

    Raises:
        SoundnessError: naming the value that is missing or of another kind.
    """
    if path.stat().st_size > LARGEST_METRICS:
        raise SoundnessError(f"{path} has {path.stat().st_size:,} bytes; at most {LARGEST_METRICS:,} are read")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SoundnessError(f"{path} is no JSON: {error}") from None
    later = record.get("evaluations", []) if isinstance(record, dict) else []
    if not isinstance(later, list):
        raise SoundnessError(f"{path}: evaluations: expected a list")
    _require(record, MEASURED | TRAINED, f"{path}:")
    for place, evaluation in enumerate(later):
        _require(evaluation, MEASURED, f"{path}: evaluations[{place}]:")


def _require(record: Any, kinds: Mapping[str, tuple[Callable[[Any], bool], str]], where: str) -> None:
    if not isinstance(record, dict):
        raise SoundnessError(f"{where} expected an object")
    for key, (fits, words) in kinds.items():
        outer, _, last = key.rpartition(".")
        value: Any = record
        for part in filter(None, outer.split(".")):
            value = value.get(part) if isinstance(value, dict) else None
        missing = not isinstance(value, dict) or last not in value
        if missing or not fits(value[last]):
            got = "nothing" if missing else repr(value[last])[:80]
            raise SoundnessError(f"{where} {key}: expected {words}, got {got}")
    if record["monitor"] not in record["metrics"]:
        raise SoundnessError(f"{where} monitor: {record['monitor'][:80]!r} is none of metrics")
