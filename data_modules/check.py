"""`python -m data_modules.NAME --check ROOT`: is this copy of a benchmark complete and readable?"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from data_modules.errors import DataError
from zoo.batch import SampleSet
from zoo.wording import asks_help


class Checkable(Protocol):
    """A data module that can look at its own files."""

    def check(self) -> list[str]:
        """Lines about annotations and splits."""
        ...

    def splits(self) -> dict[str, SampleSet[Any]]:
        """Its splits; raises where media are missing."""
        ...


def check_command(command: str, make: Callable[[str], Checkable], argv: Sequence[str] | None = None) -> int:
    """Read `--check ROOT`, print what was found; 0 when all is there, 1 when not, 2 on a wrong command.

    Args:
        command: dotted name, for the usage line.
        make: the data module of a root.
        argv: words after the command; the program's own when None.
    """
    words = sys.argv[1:] if argv is None else argv
    if asks_help(words):
        print(f"usage: python -m {command} --check ROOT\nIs the copy of the data in ROOT complete and readable?")
        return 0
    if len(words) != 2 or words[0] != "--check":
        print(f"usage: python -m {command} --check ROOT", file=sys.stderr)
        return 2
    try:
        data = make(words[1])
        for line in data.check():
            print(line)
        bad = 0
        for split, samples in data.splits().items():
            for index in range(len(samples)):
                try:
                    samples[index]
                except DataError as error:
                    bad += 1
                    print(f"{split}: {error}")
            print(f"{split}: {len(samples)} samples found")
    except DataError as error:
        print(f"error: {error}")
        return 1
    print("complete" if not bad else f"{bad} samples cannot be read")
    return 1 if bad else 0
