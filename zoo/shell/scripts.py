"""The scripts by which shells ask `zoo __complete` what may follow; each lies beside this file."""

from pathlib import Path

FOLDER = Path(__file__).parent


def shells() -> list[str]:
    """Shells that there is a script for."""
    return [path.name.removeprefix("zoo.") for path in sorted(FOLDER.glob("zoo.*"))]


def script(shell: str) -> str:
    """The script of a shell."""
    return (FOLDER / f"zoo.{shell}").read_text(encoding="utf-8")
