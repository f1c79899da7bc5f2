"""Files of web servers by their address: fetched once, checked against their pin, offline afterwards."""

import http.client
import logging
import os
import shutil
import urllib.request
from pathlib import Path, PurePosixPath

from zoo import files
from zoo.backbones import hashes
from zoo.backbones.origins import TABLE
from zoo.backbones.weights import WeightsError, pin
from zoo.files import cache_dir, file_hash

TIMEOUT = 60
"""Seconds for which a server may be silent."""

log = logging.getLogger(__name__)


def place(source: str) -> Path:
    """Where the file of an address lies once it was fetched."""
    return cache_dir() / "web" / pin(source)[:16] / PurePosixPath(source).name


def fetched(source: str) -> Path:
    """The file of an address in the zoo's cache, fetched where it is not there, or not as it was stored.

    Raises:
        WeightsError: not pinned, not reachable, another file than the one pinned, or no room to store it.
    """
    if not (expected := pin(source)):
        raise WeightsError(f"{source} is not pinned: add its licence and sha256 to {TABLE}, or set source=file:PATH")
    target = place(source)
    if hashes.intact(target, cache_dir()):
        return target
    by_hand = f"get {target.name} elsewhere and set source=file:PATH"
    log.warning("fetching %s (once)", source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.scratch(target.parent, ".fetch-") as scratch:
            came = scratch / target.name
            with urllib.request.urlopen(source, timeout=TIMEOUT) as answer, came.open("wb") as out:
                shutil.copyfileobj(answer, out)
            if (found := file_hash(came)) != expected:
                raise WeightsError(
                    f"{source} has sha256 {found}, expected {expected}: its server gives another file than the one "
                    f"pinned, and it was not kept; {by_hand}"
                )
            (scratch / "sums").write_text(hashes.listing(came, file_hash), encoding="utf-8")
            os.replace(came, target)
            os.replace(scratch / "sums", hashes.sums(target))
    except (OSError, http.client.HTTPException) as error:  # a server that says no is an OSError as well
        if getattr(error, "errno", None) in files.STORAGE:
            raise WeightsError(
                f"{source} cannot be stored below {target.parent} ({error}): free some room, or set ZOO_CACHE to "
                "another folder"
            ) from error
        raise WeightsError(
            f"{source} is not in the cache, and its server cannot be read ({error}): connect once, or {by_hand}"
        ) from error
    return target
