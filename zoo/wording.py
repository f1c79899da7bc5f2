"""Numbers, sizes and durations as text, and the nearest known name to a misspelt one."""

import difflib
from collections.abc import Iterable, Sequence

HELP = ("-h", "--help")


def asks_help(arguments: Sequence[str]) -> bool:
    """Whether the arguments of a command ask for its help."""
    return not set(arguments).isdisjoint(HELP)


def number(value: float | None, unit: str) -> str:
    """A metric for a reader: per cent with two decimals, whatever unit it is kept in."""
    if value is None or value != value:
        return "-"
    return f"{value * (100 if unit == 'fraction' else 1):.2f} %"


def size(count: float) -> str:
    """Bytes for a reader."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def seconds(value: float | None) -> str:
    """A duration for a reader; "-" where there was none."""
    return "-" if value is None else f"{value:.1f} s"


MEANT = " Did you mean "


def close(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` where a known name is close to `word`; else empty."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"{MEANT}{matches[0]!r}?" if matches else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or the list of known names."""
    known = list(known)
    return close(word, known) or (f" Known: {', '.join(known)}." if known else "")
