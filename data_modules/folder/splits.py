"""Splits of a user's own files: stratified by class, grouped, and decided by a hash.

Files of one group, and files of the same content, stay in one split. If no splits are given, the groups of a class are
ranked by a hash of the group's name (or of the content, for a file without a group): the first are test, the next val,
the rest train. The splits therefore depend on neither order nor file names nor a seed. Adding a file moves at most two
others, both of its class: one from test to val, one from val to train. Following a saved `splits.json` moves none.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_modules.errors import DataError
from data_modules.folder.rows import SPLITS
from data_modules.readers.lines import FEW

OnBad = Literal["error", "skip"]


class SplitItem(NamedTuple):
    """A file to be assigned to a split.

    Attributes:
        name: unique.
        content: sha256 of its bytes.
        group: name of its group, or empty.
        label: class used for stratification, or empty.
        split: its given split, or empty.
    """

    name: str
    content: str
    group: str
    label: str
    split: str = ""


class Shares(NamedTuple):
    """Shares of the groups of a class that go to test and to val; the rest is train."""

    test: float
    val: float

    @property
    def train(self) -> float:
        """The remaining share, rounded against floating-point error."""
        return round(1 - self.test - self.val, 9)


def connected_groups(items: Sequence[SplitItem]) -> list[tuple[int, str]]:
    """The connected component of every item: items that share a group or content, directly or through others.

    A component is named after the first of its groups, or else of its contents, so that adding a file to a group does
    not change the name.
    """
    leader: dict[tuple[int, str], tuple[int, str]] = {}

    def lead(key: tuple[int, str]) -> tuple[int, str]:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    for item in items:
        if item.group:
            first, second = sorted((lead((0, item.group)), lead((1, item.content))))
            leader[second] = first
    return [lead((1, item.content)) for item in items]


def make_splits(
    items: Sequence[SplitItem], shares: Shares, *, written: Path | None, small: Literal["error", "pool"], leaks: OnBad
) -> tuple[dict[str, str], dict[str, int]]:
    """The split of every file, and remarks.

    Files without a class are stratified as one class.

    Args:
        items: all files.
        shares: of files that have no given split.
        written: a `splits.json` to follow; a file that it does not list follows its group, or goes to train.
        small: "error" refuses a class of too few groups; "pool" splits all such classes as one.
        leaks: "error" refuses the same content in two given splits; "skip" drops it from train, then from val.

    Raises:
        DataError: too few groups, a group or content in two splits, a class that is tested but not trained, or a
            `splits.json` that does not fit.
    """
    components = connected_groups(items)
    remarks: dict[str, int] = {}
    copies = len(items) - len({item.content for item in items})
    if copies:
        remarks["files whose content another file has too: kept in one split"] = copies
    known = {item.name: item.split for item in items if item.split}
    if written is not None:
        known = read_splits(written, [item.name for item in items])
        at = {component: known[m.name] for m, component in zip(items, components, strict=True) if m.name in known}
        later = [(m, component) for m, component in zip(items, components, strict=True) if m.name not in known]
        known |= {item.name: at.get(component, "train") for item, component in later}
        if later:
            remarks[f"files that {written.name} does not list: train, or where their group is"] = len(later)
    if not known:
        return _by_hash(items, components, shares, small), remarks
    if unassigned := [item.name for item in items if item.name not in known]:
        raise DataError(
            f"{len(unassigned)} files have no split, e.g. {', '.join(unassigned[:FEW])}, but others have; "
            "expected a split for each, or for none"
        )
    known = _completed(items, components, _without_leaks(items, components, known, leaks, remarks), shares, small)
    if small == "error":
        _require_trained(items, known)
    return known, remarks


def _by_hash(
    items: Sequence[SplitItem], components: Sequence[tuple[int, str]], shares: Shares, small: Literal["error", "pool"]
) -> dict[str, str]:
    of: dict[tuple[int, str], Counter[str]] = {}
    for item, component in zip(items, components, strict=True):
        of.setdefault(component, Counter())[item.label] += 1
    strata: dict[str, list[tuple[int, str]]] = {}
    for component, count in of.items():
        strata.setdefault(min(count, key=lambda name: (-count[name], name)), []).append(component)
    wanted = [split for split in SPLITS if getattr(shares, split) > 0]
    small_classes = {name: group for name, group in strata.items() if name and len(group) < len(wanted)}
    if small_classes and small == "error":
        counts = ", ".join(f"{name!r} has {len(group)}" for name, group in sorted(small_classes.items())[:FEW])
        raise DataError(
            f"too few groups of files to divide: {counts}; expected {len(wanted)} or more a class, one for each of "
            f"{', '.join(wanted)}. Add files, take the class away, or set data.val_share=0 or data.test_share=0"
        )
    if small_classes:
        strata = {name: group for name, group in strata.items() if name not in small_classes}
        strata[""] = [*strata.get("", []), *(component for group in small_classes.values() for component in group)]
    place: dict[tuple[int, str], str] = {}
    for group in strata.values():
        ranked = sorted(group, key=lambda component: hashlib.sha256(component[1].encode()).hexdigest())
        test, val = _numbers(len(ranked), shares)
        for rank, component in enumerate(ranked):
            place[component] = "test" if rank < test else "val" if rank < test + val else "train"
    return {item.name: place[component] for item, component in zip(items, components, strict=True)}


def _numbers(groups: int, shares: Shares) -> tuple[int, int]:
    """Numbers of test and val groups: rounded, but at least one for every split with a share if there are enough."""
    rest = shares.train > 0
    test = min(max(1, round(shares.test * groups)), groups - (shares.val > 0) - rest) if shares.test else 0
    left = groups - max(0, test)
    val = min(max(1, round(shares.val * groups)), left - 1) if rest else left
    return max(0, test), max(0, val) if shares.val else 0


def _without_leaks(
    items: Sequence[SplitItem],
    components: Sequence[tuple[int, str]],
    known: Mapping[str, str],
    leaks: OnBad,
    remarks: dict[str, int],
) -> dict[str, str]:
    """Given splits without leaks: content or groups in several splits stay only in the last of train, val, test."""
    of: dict[tuple[int, str], set[str]] = {}
    for item, component in zip(items, components, strict=True):
        of.setdefault(component, set()).add(known[item.name])
    torn = [(m, component) for m, component in zip(items, components, strict=True) if len(of[component]) > 1]
    if torn and leaks == "error":
        component = torn[0][1]
        pair = [f"{known[m.name]}: {m.name}" for m, other in torn if other == component][:FEW]
        what = f"group {component[1]!r}" if component[0] == 0 else "the same content"
        raise DataError(
            f"{len(torn)} files have a copy, or a file of their group, in another split, so that numbers would be too "
            f"good; {what} in {', '.join(pair)}. Put them into one split; on_bad=skip leaves such files out of train "
            "(and of val, where test has them)"
        )
    out = {m.name for m, component in torn if known[m.name] != max(of[component], key=SPLITS.index)}
    if out:
        remarks["files whose content or group is in a later split, too: left out"] = len(out)
    return {name: split for name, split in known.items() if name not in out}


def _completed(
    items: Sequence[SplitItem],
    components: Sequence[tuple[int, str]],
    known: dict[str, str],
    shares: Shares,
    small: Literal["error", "pool"],
) -> dict[str, str]:
    """Given splits, with a missing val or test held out of train."""
    there = set(known.values())
    if "train" not in there:
        return known
    open_rows = [(m, component) for m, component in zip(items, components, strict=True) if known.get(m.name) == "train"]
    held = Shares(*(0.0 if split in there else share for split, share in (("test", shares.test), ("val", shares.val))))
    if not sum(held):
        return known
    return known | _by_hash([m for m, _ in open_rows], [component for _, component in open_rows], held, small)


def _require_trained(items: Sequence[SplitItem], known: Mapping[str, str]) -> None:
    """Raises DataError: classes in val or test that train does not have."""
    of = {split: {m.label for m in items if known.get(m.name) == split} for split in SPLITS}
    strange = sorted((of["val"] | of["test"]) - of["train"] - {""})
    if of["train"] and strange:
        raise DataError(f"{', '.join(strange[:FEW])}: in val or test, but not in train; nothing could learn to tell it")


# --- splits.json ------------------------------------------------------------------------------------------------------


def plan(splits: Mapping[str, str], rule: str) -> dict[str, Any]:
    """Content of `splits.json`: the rule, and the split of every file by name."""
    return {"rule": rule, "files": dict(sorted(splits.items()))}


def read_splits(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The split of every listed file.

    Raises:
        DataError: the file is no `splits.json`, or lists files that do not exist.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"data.splits: {path} does not exist; a run writes its splits.json into its folder") from None
    except (OSError, ValueError) as error:
        raise DataError(f"data.splits: {path} is no JSON: {error}") from None
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not files or not set(map(str, files.values())) <= set(SPLITS):
        raise DataError(f'data.splits: {path}: expected {{"files": {{"NAME": "train", ...}}}}, of {", ".join(SPLITS)}')
    there = set(names)
    if gone := [name for name in files if name not in there]:
        raise DataError(
            f"data.splits: {path} lists {len(gone)} files that are not there, e.g. {', '.join(gone[:FEW])}; "
            "expected the folder that was divided then, with more files or none"
        )
    return files
