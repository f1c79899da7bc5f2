"""`python -m data_modules.NAME --check ROOT`: is this copy of a benchmark complete and readable?"""

import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import yaml

from data_modules.errors import DataError
from zoo.batch import SampleSet
from zoo.errors import SettingError
from zoo.wording import asks_help


class Checkable(Protocol):
    """A data module that can look at its own files."""

    def check(self) -> list[str]:
        """Lines about annotations and splits."""
        ...

    def splits(self) -> dict[str, SampleSet[Any]]:
        """Its splits; raises where media are missing."""
        ...


def check_command(
    command: str,
    make: Callable[..., Checkable],
    argv: Sequence[str] | None = None,
    *,
    settings: Collection[str] = (),
) -> int:
    """Read `--check ROOT`, print what was found; 0 when all is there, 1 when not, 2 on a wrong command.

    Args:
        command: dotted name, for the usage line.
        make: the data module of a root, and of the settings among the words.
        argv: words after the command; the program's own when None.
        settings: names of those that may follow the root as `data.NAME=VALUE`, the value in YAML as in a recipe.
    """
    words = sys.argv[1:] if argv is None else argv
    usage = f"usage: python -m {command} --check ROOT" + (" [data.NAME=VALUE ...]" if settings else "")
    if asks_help(words):
        print(f"{usage}\nIs the copy of the data in ROOT complete and readable?")
        return 0
    names = [word.partition("=")[0].removeprefix("data.") for word in words[2:]]
    if len(words) < 2 or words[0] != "--check" or not set(names) <= set(settings):
        print(
            usage + (f"\nsettings: {', '.join(f'data.{name}' for name in settings)}" if settings else ""),
            file=sys.stderr,
        )
        return 2
    try:
        values = [yaml.safe_load(word.partition("=")[2]) for word in words[2:]]
        data = make(words[1], **dict(zip(names, values, strict=True)))
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
    except (DataError, SettingError, yaml.YAMLError) as error:
        print(f"error: {error}")
        return 1
    print("complete" if not bad else f"{bad} samples cannot be read")
    return 1 if bad else 0
