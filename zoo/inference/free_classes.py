"""Classes that an adapter was not trained on, asked for by their names: `classes="dog bark|rain|siren"`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zoo.errors import SettingError
from zoo.inference.settings import CLASSES, JOINED

if TYPE_CHECKING:
    from zoo.tasks.base import Task


def asked(given: str | Sequence[str] | None, task: "Task", trained: Sequence[str]) -> list[str]:
    """The names that a task is to choose between in the place of those trained on; none where nothing is given.

    Raises:
        SettingError: the names are none, or the task has no way to know them.
    """
    if given is None:
        return []
    names = named(given)
    require_open(task, trained)
    return names


def named(given: str | Sequence[str]) -> list[str]:
    """The names in `one|two|three`, or in a list.

    Raises:
        SettingError: fewer than two, an empty one, or the same name twice.
    """
    separator = JOINED[CLASSES]
    names = [str(name).strip() for name in (given.split(separator) if isinstance(given, str) else given)]
    shown = f"{CLASSES}={separator.join(names)}"
    if not all(names):
        raise SettingError(f"{shown}: a name is empty; expected two or more with {separator} between them")
    if len(names) < 2:
        raise SettingError(f"{shown}: one class alone: there is nothing to tell apart; expected two or more")
    seen: set[str] = set()
    for name in names:
        if (same := name.casefold()) in seen:
            raise SettingError(f"{shown}: {name!r} stands there twice; expected different names")
        seen.add(same)
    return names


def require_open(task: "Task", trained: Sequence[str]) -> None:
    """Refuse to ask an adapter for other classes than it was trained on, where its task has no way to know them.

    Raises:
        SettingError: naming those that it has.
    """
    if not task.open_classes:
        few = ", ".join(trained[:4]) + (", ..." if len(trained) > 4 else "")
        raise SettingError(
            f"{CLASSES}=: this adapter knows the {len(trained)} classes that it was trained on ({few}) and no other; "
            "only one of the tasks open_vocabulary and open_events takes names"
        )
