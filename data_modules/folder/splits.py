"""How a user's own files are divided: by hash, alike in every class, whole groups at a time, and written down.

Files of one group, and files of the same content, stay together. Where nobody says which split a file belongs to, the
groups of a class are ranked by a hash (of the group's name; of the content where a file has none): the first are test,
the next val, the rest train. So the division depends on neither order nor names nor a seed, and a file that is added
moves at most two others, both of its class: one from test to val, one from val to train. A division that was written
down moves none.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_modules.errors import DataError
from data_modules.folder.rows import SHOWN, SPLITS

Fate = Literal["error", "skip"]


class Member(NamedTuple):
    """A file to be divided.

    Attributes:
        name: unique.
        content: sha256 of its bytes.
        group: that it belongs to, or empty.
        stratum: class whose shares it counts for, or empty.
        split: that it is known to belong to, or empty.
    """

    name: str
    content: str
    group: str
    stratum: str
    split: str = ""


class Shares(NamedTuple):
    """Of the groups of a class that go to test and to val; the rest is train."""

    test: float
    val: float

    @property
    def train(self) -> float:
        """What is left, without the dust of floating point."""
        return round(1 - self.test - self.val, 9)


def teams(members: Sequence[Member]) -> list[tuple[int, str]]:
    """The team of every member: those who share a group or their content, directly or through others, have one.

    A team is called by the first of its groups, or else of its contents, so that another file in a group leaves its
    name alone.
    """
    leader: dict[tuple[int, str], tuple[int, str]] = {}

    def lead(key: tuple[int, str]) -> tuple[int, str]:
        while leader.setdefault(key, key) != key:
            key = leader[key]
        return key

    for member in members:
        if member.group:
            first, second = sorted((lead((0, member.group)), lead((1, member.content))))
            leader[second] = first
    return [lead((1, member.content)) for member in members]


def divide(
    members: Sequence[Member], shares: Shares, *, written: Path | None, small: Literal["error", "pool"], leaks: Fate
) -> tuple[dict[str, str], dict[str, int]]:
    """The split of every file, and remarks.

    Files of no class are divided as one.

    Args:
        members: all files.
        shares: for files whose split is not known.
        written: a `splits.json` to follow; files that it does not list follow their team, or are train.
        small: what to do with a class of too few groups: refuse, or divide all such classes as one.
        leaks: the same content in two known splits is an error, or is left out of train, then of val.

    Raises:
        DataError: too few groups, a group or a content in two splits, a class that is tested and not trained, or a
            `splits.json` that does not fit.
    """
    found = teams(members)
    remarks: dict[str, int] = {}
    copies = len(members) - len({member.content for member in members})
    if copies:
        remarks["files whose content another file has too: kept in one split"] = copies
    known = {member.name: member.split for member in members if member.split}
    if written is not None:
        known = read_splits(written, [member.name for member in members])
        at = {team: known[m.name] for m, team in zip(members, found, strict=True) if m.name in known}
        later = [(m, team) for m, team in zip(members, found, strict=True) if m.name not in known]
        known |= {member.name: at.get(team, "train") for member, team in later}
        if later:
            remarks[f"files that {written.name} does not list: train, or where their group is"] = len(later)
    if not known:
        return _by_hash(members, found, shares, small), remarks
    if lacking := [member.name for member in members if member.name not in known]:
        raise DataError(
            f"{len(lacking)} files have no split, e.g. {', '.join(lacking[:SHOWN])}, but others have; "
            "expected a split for each, or for none"
        )
    known = _completed(members, found, _without_leaks(members, found, known, leaks, remarks), shares, small)
    if small == "error":
        _require_trained(members, known)
    return known, remarks


def _by_hash(
    members: Sequence[Member], found: Sequence[tuple[int, str]], shares: Shares, small: Literal["error", "pool"]
) -> dict[str, str]:
    of: dict[tuple[int, str], Counter[str]] = {}
    for member, team in zip(members, found, strict=True):
        of.setdefault(team, Counter())[member.stratum] += 1
    strata: dict[str, list[tuple[int, str]]] = {}
    for team, count in of.items():
        strata.setdefault(min(count, key=lambda name: (-count[name], name)), []).append(team)
    wanted = [split for split in SPLITS if getattr(shares, split) > 0]
    few = {name: group for name, group in strata.items() if name and len(group) < len(wanted)}
    if few and small == "error":
        told = ", ".join(f"{name!r} has {len(group)}" for name, group in sorted(few.items())[:SHOWN])
        raise DataError(
            f"too few groups of files to divide: {told}; expected {len(wanted)} or more a class, one for each of "
            f"{', '.join(wanted)}. Add files, take the class away, or set data.val_share=0 or data.test_share=0"
        )
    if few:
        strata = {name: group for name, group in strata.items() if name not in few}
        strata[""] = [*strata.get("", []), *(team for group in few.values() for team in group)]
    place: dict[tuple[int, str], str] = {}
    for group in strata.values():
        ranked = sorted(group, key=lambda team: hashlib.sha256(team[1].encode()).hexdigest())
        test, val = _numbers(len(ranked), shares)
        for rank, team in enumerate(ranked):
            place[team] = "test" if rank < test else "val" if rank < test + val else "train"
    return {member.name: place[team] for member, team in zip(members, found, strict=True)}


def _numbers(groups: int, shares: Shares) -> tuple[int, int]:
    """Groups of test and of val: rounded, but one at least of every split that has a share, where there are enough."""
    rest = shares.train > 0
    test = min(max(1, round(shares.test * groups)), groups - (shares.val > 0) - rest) if shares.test else 0
    left = groups - max(0, test)
    val = min(max(1, round(shares.val * groups)), left - 1) if rest else left
    return max(0, test), max(0, val) if shares.val else 0


def _without_leaks(
    members: Sequence[Member],
    found: Sequence[tuple[int, str]],
    known: Mapping[str, str],
    leaks: Fate,
    remarks: dict[str, int],
) -> dict[str, str]:
    """Known splits without files that another split has too; the later of train, val, test keeps what it has."""
    of: dict[tuple[int, str], set[str]] = {}
    for member, team in zip(members, found, strict=True):
        of.setdefault(team, set()).add(known[member.name])
    torn = [(m, team) for m, team in zip(members, found, strict=True) if len(of[team]) > 1]
    if torn and leaks == "error":
        team = torn[0][1]
        pair = [f"{known[m.name]}: {m.name}" for m, other in torn if other == team][:SHOWN]
        what = f"group {team[1]!r}" if team[0] == 0 else "the same content"
        raise DataError(
            f"{len(torn)} files have a copy, or a file of their group, in another split, so that numbers would be too "
            f"good; {what} in {', '.join(pair)}. Put them into one split; on_bad=skip leaves such files out of train "
            "(and of val, where test has them)"
        )
    out = {m.name for m, team in torn if known[m.name] != max(of[team], key=SPLITS.index)}
    if out:
        remarks["files whose content or group is in a later split, too: left out"] = len(out)
    return {name: split for name, split in known.items() if name not in out}


def _completed(
    members: Sequence[Member],
    found: Sequence[tuple[int, str]],
    known: dict[str, str],
    shares: Shares,
    small: Literal["error", "pool"],
) -> dict[str, str]:
    """Known splits; a val or test that is lacking is held out of train."""
    there = set(known.values())
    if "train" not in there:
        return known
    open_rows = [(m, team) for m, team in zip(members, found, strict=True) if known.get(m.name) == "train"]
    held = Shares(*(0.0 if split in there else share for split, share in (("test", shares.test), ("val", shares.val))))
    if not sum(held):
        return known
    return known | _by_hash([m for m, _ in open_rows], [team for _, team in open_rows], held, small)


def _require_trained(members: Sequence[Member], known: Mapping[str, str]) -> None:
    """Raises DataError: classes of val or test that train, where there is one, has not."""
    of = {split: {m.stratum for m in members if known.get(m.name) == split} for split in SPLITS}
    strange = sorted((of["val"] | of["test"]) - of["train"] - {""})
    if of["train"] and strange:
        raise DataError(
            f"{', '.join(strange[:SHOWN])}: in val or test, but not in train; nothing could learn to tell it"
        )


# --- written down -----------------------------------------------------------------------------------------------------


def plan(splits: Mapping[str, str], rule: str) -> dict[str, Any]:
    """What `splits.json` holds: the rule, and the split of every file by name."""
    return {"rule": rule, "files": dict(sorted(splits.items()))}


def read_splits(path: Path, names: Sequence[str]) -> dict[str, str]:
    """The split of every listed file.

    Raises:
        DataError: no `splits.json`, or one that lists files which are not there.
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
            f"data.splits: {path} lists {len(gone)} files that are not there, e.g. {', '.join(gone[:SHOWN])}; "
            "expected the folder that was divided then, with more files or none"
        )
    return files
