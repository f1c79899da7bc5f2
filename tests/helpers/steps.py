"""Do something at one step of what touches the disk: each call that a write to a folder consists of."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

STEPS = ("open", "mkdir", "chmod", "rename", "replace", "fsync", "unlink", "rmdir")
"""Calls of `os` by which a process changes what lies on the disk."""


def at_step(number: int, act: Callable[[], None], patch: pytest.MonkeyPatch, names: Sequence[str] = STEPS) -> list[str]:
    """Do something before the call of that number; the calls that were made."""
    seen: list[str] = []

    def wrap(name: str, true: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **settings: Any) -> Any:
            seen.append(name)
            if len(seen) == number:
                act()
            return true(*words, **settings)

        return call

    for name in names:
        patch.setattr(os, name, wrap(name, getattr(os, name)))
    return seen
