"""The commands, each with the first line of its docstring, and the page that lists them. Imports none of them."""

from functools import cache

from zoo.files import PACKAGE

START, END = '"""`python -m zoo.', "`: "
"""What stands in the first line of a command's docstring before its name, and before what it does."""

GROUPS = {
    "train and measure": ("train", "evaluate", "compare", "place", "sweep", "matrix", "reproduce", "foreign"),
    "use": ("predict", "demo"),
    "share": ("pull", "push", "export", "convert", "import_peft"),
    "look": ("list", "show", "doctor", "cards", "completion"),
}
"""Where the page puts a command; one that stands nowhere comes last."""

OWN = {"help": "what a command takes: `help predict`", "--version": "the version of the zoo"}
"""What else `zoo` takes, besides `-h` and `--help`."""


@cache
def commands() -> dict[str, str]:
    """Name and purpose of every command."""
    found = {}
    for path in sorted(PACKAGE.glob("*.py")):
        with path.open(encoding="utf-8") as file:
            line = file.readline().rstrip()
        if line.startswith(f"{START}{path.stem}"):
            found[path.stem] = line.partition(END)[2].removesuffix('"""').rstrip(".")
    return found


def page(way: str) -> str:
    """What `zoo` alone prints.

    Args:
        way: how it was called, `zoo` or `python -m zoo`.
    """
    left = commands().copy()
    lines = [f"usage: {way} COMMAND ...", ""]
    for title, names in (GROUPS | {"further": tuple(left)}).items():
        there = {name: left.pop(name) for name in names if name in left}
        lines += [title, *(f"  {name:12} {purpose}" for name, purpose in there.items()), ""] if there else []
    return "\n".join([*lines, *(f"  {name:12} {purpose}" for name, purpose in OWN.items())])
