"""HDF5 files whose every byte lies in the file itself.

The format lets a data set keep its values in other files (external storage, virtual data sets) and lets a link lead
into one: a file that somebody sends then shows its reader whatever this machine's user may read. Such files are
refused before a value of them is read.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from data_modules.errors import DataError
from data_modules.readers.foreign import require_file

MOST_LINKS = 100_000


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An `h5py.File`, open for reading.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is none.
        OSError: it is no HDF5 file, or a damaged one.
        DataError: it is no regular file, or something in it leads to another file.
    """
    require_file(path)
    with h5py.File(path, "r") as file:
        _require_whole(file, path)
        yield file


def _require_whole(file: Any, path: Path) -> None:
    """Look at every link of every group: hard links lead to objects, soft ones to names in the same file.

    A chain of soft links can only leave the file through a link of another kind, and that is met here itself.
    """
    links: list[tuple[bytes, int]] = []

    def note(name: bytes, info: Any) -> bool | None:
        links.append((name, info.type))
        return True if len(links) > MOST_LINKS else None

    file.id.links.visit(note, info=True)
    if len(links) > MOST_LINKS:
        raise DataError(f"{path} has more than {MOST_LINKS:,} entries; expected a few arrays")
    for name, kind in links:
        if kind == h5py.h5l.TYPE_SOFT:
            continue
        if kind != h5py.h5l.TYPE_HARD:
            raise _outside(path, name, "is a link to another file")
        item = h5py.h5o.open(file.id, name)
        if isinstance(item, h5py.h5d.DatasetID):
            settings = item.get_create_plist()
            if settings.get_layout() == h5py.h5d.VIRTUAL:
                raise _outside(path, name, "is a virtual data set, put together from other files")
            if settings.get_external_count():
                raise _outside(path, name, "keeps its values in other files")


def _outside(path: Path, name: bytes, what: str) -> DataError:
    shown = name.decode("utf-8", "replace")
    return DataError(f"{path}: {shown!r} {what}, which is not followed; copy the values into the file itself")
