"""Names of the settings that a user may give beside an input; imports no torch."""

from collections.abc import Mapping
from typing import Any

MEDIA, PICTURES = ("missing_audio", "missing_pictures", "start", "end"), ("gsd", "bands", "stretch", "window")
PROMPTS = ("points", "box")
SETTINGS = (*MEDIA, *PICTURES, *PROMPTS, "category", "up", "question", "choices")

CLASSES = "classes"
"""The one setting that is not the data's but the task's: names to choose between."""

JOINED = {"choices": "|", CLASSES: "|", "points": "|", "stretch": "..", "window": "..", "bands": ","}
"""Between the parts of a setting that Python may give as a list."""


def as_text(settings: Mapping[str, Any]) -> dict[str, str]:
    """Python values as the command line has them: `choices=["one", "two"]` is `one|two`, `stretch=(0, 3000)` is
    `0..3000`, `points=[(120, 80, 1), (40, 60, 0)]` is `120,80,1|40,60,0`."""
    return {
        name: JOINED.get(name, ",").join(map(_part, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in settings.items()
    }


def _part(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
