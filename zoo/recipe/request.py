"""A recipe and the arguments of the command line that change it."""

from dataclasses import dataclass, field


@dataclass
class Request:
    """A parsed command line."""

    recipe: str
    overrides: list[str] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    smoke: bool = False
