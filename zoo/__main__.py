"""`zoo COMMAND ...`, or `python -m zoo COMMAND ...`: every command of the zoo by one name; alone it lists them.

A command runs as `python -m zoo.COMMAND` would run it, as the main module of this process. So the processes that a
training starts by the command line of its own (Lightning's `ddp`) are started as of `python -m zoo.train`.
"""

import importlib
import os
import runpy
import sys
from typing import TYPE_CHECKING

from zoo.shell.commands import OWN, commands, page
from zoo.version import __version__
from zoo.wording import HELP, nearest

if TYPE_CHECKING:
    from zoo.command_line import Takes

COMPLETE = "__complete"
"""What the script of a shell says before the words to be completed."""


def main(argv: list[str] | None = None, *, way: str = "python -m zoo") -> int:
    """Run a command; exit code 2 where there is no such command.

    Args:
        argv: arguments; the program's own when None.
        way: how the user called it.
    """
    command, *words = (sys.argv[1:] if argv is None else argv) or ["help"]
    if command == COMPLETE:
        return _complete(words)
    from zoo import command_line

    if command in ("help", *HELP) and not words:
        with command_line.user_errors():
            print(page(way), flush=True)
        return 0
    if command == "--version":
        print(f"zoo {__version__}")
        return 0
    if command == "help":
        command, words = words[0], [*words[1:], "--help"]
    if command not in commands():
        command_line.fail([_meant([command, *words], way)])
    os.environ[command_line.CALLED] = way
    sys.argv[1:] = words
    with command_line.user_errors():  # of imports; once it runs, the command has its own
        runpy.run_module(f"zoo.{command}", run_name="__main__", alter_sys=True)
    return 0


def script() -> int:
    """The console script `zoo`. Unlike `python -m`, it does not import from the working directory before all else; nor
    do the processes that it starts."""
    os.environ["PYTHONSAFEPATH"] = "1"
    return main(way="zoo")


def _meant(words: list[str], way: str) -> str:
    """One line about a command line whose first word is no command."""
    from zoo.adapter import places
    from zoo.recipe import compose

    first, *others = words
    if first in compose.available() or first.endswith((".yaml", ".yml")):
        words = [f"recipe={first}", *others]
    elif first in places.bundled() | places.installed():
        words = [f"adapter={first}", *(others or ["input=FILE"])]
    for command, key in (("train", "recipe="), ("predict", "adapter=")):
        if any(word.startswith(key) for word in words):
            return f"which command? {' '.join([way, command, *words])}"
    return f"unknown command '{first}'.{nearest(first, [*commands(), *OWN])}"


def _complete(words: list[str]) -> int:
    """Print what may stand in the place of the last word, a line each. Whatever happens, the line that a user types
    gets no error in it."""
    try:
        from zoo.shell.candidates import candidates

        found = {word: meaning.partition(". ")[0] for word, meaning in candidates(words, _takes).items()}
        lines = [f"{word}\t{meaning}" if meaning else word for word, meaning in found.items()]
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
        print("\n".join(lines))
    except (Exception, SystemExit):
        return 1
    return 0


def _takes(command: str) -> "Takes | None":
    """What a command says that it takes."""
    from zoo.command_line import TAKES, Asked

    try:
        importlib.import_module(f"zoo.{command}").main([TAKES])
    except Asked as asked:
        return asked.takes
    return None


if __name__ == "__main__":
    sys.exit(main())
