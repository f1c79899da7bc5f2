"""Caveats that every prediction of an adapter carries."""

import json
from pathlib import Path

DRAWN = (
    "this adapter was trained on drawings alone ({}: a program made them): it shows how things work, and what it says "
    "of real data means little"
)


def of_adapter(folder: Path) -> list[str]:
    """Sentences out of metrics.json: of adapters of synthetic data, that they are."""
    try:
        data = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["manifest"]["data"]
        return [DRAWN.format(data["name"])] if data["synthetic"] else []
    except (ValueError, TypeError, KeyError):  # of an adapter that says nothing of its data
        return []
