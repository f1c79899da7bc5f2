"""Finds text that identifies a machine or person: paths, addresses with a user, tokens, names."""

import contextlib
import getpass
import re
import socket
from functools import cache

PLACES = {
    "a folder of this machine": re.compile(
        r"(?<![\w.:/<>~)\]\-}%*])/(?:(?:[\w.~@+\-]+/)+[\w.~@+\-]*|(?:home|Users|root|mnt|media|srv|scratch|tmp|data)\b)"
        r"|(?<![\w/.])~[\w.\-]*/|(?<![\w.])\.\.[/\\]"
    ),
    "a folder of this machine (Windows)": re.compile(r"(?<![A-Za-z])[A-Za-z]:(?:\\|/(?!/))|\\\\[\w.\-]+\\"),
    "weights in a file of this machine": re.compile(r"\bfile:(?!WEIGHTS\b)[\w/~.\\]"),
    "an address with a user or a password": re.compile(r"://[^\s/@\"']+@"),
    "an address with a signature": re.compile(
        r"[?&](?:[\w\-]*token|sig|[\w\-]*signature|[\w\-]*credential|api_?key|key|password)=", re.IGNORECASE
    ),
    "what looks like a token": re.compile(
        r"\b(?:hf_[A-Za-z0-9]{16,}|gh[opsu]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w\-]{16,}|sk-[\w\-]{16,}"
        r"|AKIA[0-9A-Z]{12,}|xox[abprs]-[\w\-]{10,}|eyJ[\w\-]{8,}\.eyJ[\w\-]{8,})|-----BEGIN [A-Z ]*PRIVATE KEY"
    ),
}

COMMON = {"root", "user", "users", "admin", "ubuntu", "debian", "runner", "home", "localhost", "test", "data", "work"}
"""Names of users and machines that tell nothing, and are words of any text."""


def leaks(text: str) -> list[str]:
    """Descriptions of identifying parts of a text; empty if none are recognised."""
    return [what for what, pattern in (PLACES | _names()).items() if pattern.search(text)]


def lines(text: str, further: frozenset[str] = frozenset()) -> list[str]:
    """`line 3: a folder of this machine` for every line of a text that tells something.

    Args:
        text: of a file.
        further: texts that may not stand in it.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        what = [
            *leaks(line),
            *(f"{word!r}, which was left out in another place" for word in sorted(further) if word in line),
        ]
        found += [f"line {number}: {what[0]}"] if what else []
    return found


@cache
def _names() -> dict[str, re.Pattern[str]]:
    """The user and the machine, where their names are no common words."""
    found = {}
    for what, ask in (
        ("the name of this machine's user", getpass.getuser),
        ("this machine's name", socket.gethostname),
    ):
        with contextlib.suppress(OSError, KeyError):
            name = ask()
            if len(name) > 3 and name.lower() not in COMMON:
                found[what] = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE)
    return found
