"""A tiny pairing saved as an adapter."""

from pathlib import Path

from tiny import pairing

from zoo.adapter import directory
from zoo.methods.tb_ava import TBAVA


def saved(folder: Path) -> Path:
    return directory.save(
        pairing(TBAVA(rank=4)), folder / "adapter", recipe="seed: 0\n", metrics={"n": 1}, card=lambda folder: "# card\n"
    )
