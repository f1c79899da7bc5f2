"""What a run should not be read without: lines that end its output."""

from collections.abc import Mapping
from typing import Any

from zoo.records import interventions

NEVER = "never_predicted"


def cautions(record: Mapping[str, Any]) -> list[str]:
    """Mechanisms that are inert, and classes that are never predicted.

    Args:
        record: of a measured run.
    """
    names = record.get(NEVER, [])
    never = [f"never predicted on {record['split']}, where labels have it: {', '.join(names)}"] if names else []
    return [*interventions.inert(record), *never]
