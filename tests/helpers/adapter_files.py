"""Adapter directories for tests that need no torch: copies of a bundled one, changed and sealed again."""

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

from zoo import pull
from zoo.adapter import directory, places
from zoo.adapter.directory import FILES
from zoo.files import file_hash

NAMES = (*FILES, "SHA256SUMS")


def copied(folder: Path, changes: dict[str, bytes] | None = None) -> Path:
    """A sound copy of the smallest bundled adapter, but for the files that `changes` names."""
    shutil.copytree(places.bundled()["mantis-furniture"], folder)
    for name, content in (changes or {}).items():
        (folder / name).write_bytes(content)
    return seal(folder)


def metrics(**changes: object) -> bytes:
    """metrics.json of the same adapter with some values changed."""
    record = json.loads((places.bundled()["mantis-furniture"] / "metrics.json").read_text(encoding="utf-8"))
    return json.dumps(record | changes).encode()


def seal(folder: Path) -> Path:
    """Write the checksums of what is there now."""
    sums = "".join(f"{file_hash(folder / name)}  {name}\n" for name in FILES)
    (folder / "SHA256SUMS").write_text(sums, encoding="utf-8")
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for name in NAMES:
            out.write(folder / name, f"{folder.name}/{name}")
    return archive


def tarred(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as out:
        out.add(folder, folder.name)
    return archive


def left(cache: Path) -> list[str]:
    """Suffixes of what lies in the cache but for adapters and records of hashes; nothing may be half installed."""
    for folder in places.installed().values():
        directory.verify(folder)
        assert {path.name for path in folder.iterdir()} == set(NAMES)
    files = [path for path in cache.rglob("*") if path.is_file() and not {"adapters", "hashes"} & {*path.parts}]
    assert not list((cache / "adapters").glob(".*"))
    assert not list((cache / "downloads").glob("unpack-*"))
    return sorted(path.suffix for path in files)


def code(argv: list[str]) -> int:
    """Exit code of `zoo.pull`."""
    try:
        return pull.main(argv)
    except SystemExit as end:
        return int(str(end.code))
