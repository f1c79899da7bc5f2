"""A torchaudio that does not fit the installed torch: the zoo uses it for its speech encoders alone, but transformers
and peft import it, and then cannot be imported themselves."""

import importlib.metadata
import subprocess
import sys
import traceback
from pathlib import Path

NAME = "torchaudio"


def fault(torch: str) -> str:
    """What to do about a torchaudio that cannot be imported; empty where it can, or is not installed.

    It is tried, in a process of its own, only where its version is not torch's: that takes seconds.

    Args:
        torch: version of the installed torch, "" without one.
    """
    if not torch or _version(NAME) in (None, torch):
        return ""
    tried = subprocess.run([sys.executable, "-c", f"import {NAME}"], capture_output=True, check=False)
    return remedy() if tried.returncode else ""


def broke(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, came out of torchaudio's own files."""
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        if any(Path(frame.filename).parent.name == NAME or f"/{NAME}/" in frame.filename for frame in frames):
            return True
        error = error.__cause__ or error.__context__
    return False


def remedy() -> str:
    """In one line."""
    versions = f"{NAME} {_version(NAME)} cannot be imported beside torch {_version('torch')}"
    return f"{versions}, which stops transformers and peft; only its speech encoders need it: pip uninstall {NAME}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
