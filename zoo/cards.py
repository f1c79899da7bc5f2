"""`python -m zoo.cards [--write]`: do the cards of recipes and bundled adapters match their evidence?

Lists every card that does not, and why; exit code 1 if there is one. `--write` regenerates the generated parts:
`model-index`, tables, and the cards of adapters, which follow those of their recipes.
"""

import json
import sys

from zoo.adapter import directory, places
from zoo.catalog import card
from zoo.command_line import parse_arguments, user_errors


def main(argv: list[str] | None = None) -> int:
    """Check or write every card."""
    arguments, _ = parse_arguments(argv, __doc__ or "", flags=("--write",))
    problems: list[str] = []
    with user_errors():
        for path in sorted(card.folder().glob("*.md")):
            if "--write" in arguments:
                card.write(path, card.read(path))
            problems += [f"{path.name}: {problem}" for problem in card.validate(card.read(path))]
        for name, folder in places.bundled().items():
            if "--write" in arguments:
                metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
                directory.replace(folder, metrics, card=card.for_adapter)
            found = card.validate(card.read(folder / "README.md"))
            if card.for_adapter(folder) != (folder / "README.md").read_text(encoding="utf-8"):
                found.append("differs from what its recipe's card and its metrics.json make; regenerate it (--write)")
            problems += [f"{name}: {problem}" for problem in found]
    print("\n".join(problems) or "every card is what its evidence makes of it")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
