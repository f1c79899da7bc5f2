"""Pictures that lie encoded inside of larger files: base64 in the lines of JSONL, bytes in the cells of parquet.

Such files are tens of gigabytes. They are read through once, line by line, to learn the questions, a hash of every
picture, and where it lies; the pictures themselves are read one at a time on access and not kept.
A line of JSONL is read alone. pyarrow reads a whole row group to give one of its rows, about three times its size in
memory, so that large pictures are better kept in JSONL.
"""

import ast
import base64
import hashlib
import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from data_modules.errors import DataError
from data_modules.readers.lines import ErrorCollector, json_lines

IMAGE = "image"

REFERENCE = 64
"""Characters up to which an image is the index of another line that holds it, as VLMEvalKit has it."""


class Place(Protocol):
    """Where the pictures of one question lie."""

    def read(self) -> tuple[bytes, ...]:
        """The encoded pictures.

        Raises:
            DataError: the file is not any more what it was.
        """
        ...


@dataclass(frozen=True)
class LinePlace:
    """A line of a JSONL file, and the byte where it begins."""

    path: Path
    number: int
    offset: int

    def __str__(self) -> str:
        return f"{self.path}, line {self.number}"

    def read(self) -> tuple[bytes, ...]:
        """The pictures, out of base64."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                return decoded(json.loads(file.readline())[IMAGE], str(self))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self}: cannot be read again ({error}); has the file changed?") from error


@dataclass(frozen=True)
class CellPlace:
    """A row of a row group of a parquet file, both counted from 0."""

    path: Path
    group: int
    row: int

    def __str__(self) -> str:
        return f"{self.path}, row group {self.group}, row {self.row}"

    def read(self) -> tuple[bytes, ...]:
        """The pictures."""
        try:
            rows = parquet_rows(self.path, self.group, [IMAGE])
            return embedded(next(islice(rows, self.row, None))[IMAGE], str(self))
        except (StopIteration, OSError, ValueError, KeyError) as error:
            raise DataError(f"{self}: cannot be read again ({error}); has the file changed?") from error


@dataclass(frozen=True)
class Packed:
    """A line or row without its pictures, where these lie, and a sha256 of each."""

    row: dict[str, Any]
    where: str
    place: Place
    hashes: tuple[str, ...]


def decoded(image: Any, where: str) -> tuple[bytes, ...]:
    """Pictures of a line: base64, a list of it, or such a list written out as text.

    Raises:
        DataError: it is none of these.
    """
    try:
        if isinstance(image, str) and image.startswith("["):
            image = ast.literal_eval(image)
        found = tuple(base64.b64decode(text, validate=True) for text in (image if isinstance(image, list) else [image]))
    except (ValueError, TypeError, SyntaxError) as error:
        raise DataError(f"{where}: image is no picture in base64, nor a list of them ({error})") from None
    if not found or not all(found):
        raise DataError(f"{where}: image is empty")
    return found


def embedded(cell: Any, where: str) -> tuple[bytes, ...]:
    """Pictures of a cell as Hugging Face's `datasets` stores them: a list of `{bytes, path}`, or one.

    Raises:
        DataError: there are none, or their bytes are in another file.
    """
    found = [
        part.get("bytes") if isinstance(part, dict) else None for part in (cell if isinstance(cell, list) else [cell])
    ]
    pictures = tuple(part for part in found if isinstance(part, bytes) and part)
    if not pictures or len(pictures) < len(found):
        raise DataError(f"{where}: image holds no bytes; expected structs with the encoded pictures in `bytes`")
    return pictures


def _hashes(pictures: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(picture).hexdigest() for picture in pictures)


def packed_lines(path: Path, errors: ErrorCollector) -> list[Packed]:
    """The lines of a file as VLMEvalKit has them, with an `index` and an `image` each.

    An image of up to 64 characters is the index of the line of this file that holds the picture.
    """
    found: list[tuple[dict[str, Any], str, str]] = []
    owners: dict[str, tuple[Place, tuple[str, ...]]] = {}
    names: set[str] = set()
    for line in json_lines(path, errors):
        with errors.catch():
            index, image = (line.row.pop(key, None) for key in ("index", IMAGE))
            if index is None or image is None:
                raise DataError(f"{line.where}: index or image is missing")
            name = str(index)
            if name in names:
                raise DataError(f"{line.where}: index {index} stands twice in this file")
            names.add(name)
            refers = isinstance(image, int) or (isinstance(image, str) and len(image) <= REFERENCE)
            if not refers:
                owners[name] = LinePlace(path, line.number, line.offset), _hashes(decoded(image, line.where))
            found.append(({**line.row, "index": name}, line.where, str(image) if refers else name))
    packed = []
    for row, where, owner in found:
        with errors.catch():
            if owner not in owners:
                raise DataError(
                    f"{where}: image = {owner!r} is neither a picture nor the index of a line that holds one"
                )
            packed.append(Packed(row, where, *owners[owner]))
    return packed


def parquet_rows(path: Path, group: int, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a row group, one at a time.

    Raises:
        DataError: the file is no parquet, or pyarrow is not installed.
    """
    file = _parquet(path)
    for batch in file.iter_batches(batch_size=1, row_groups=[group], columns=columns):
        yield from batch.to_pylist()


def _parquet(path: Path) -> Any:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(f"{path}: parquet is read with pyarrow, which is not installed: pip install pyarrow") from None
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read, so it is damaged or cut short: {error}") from error


def packed_cells(path: Path, errors: ErrorCollector) -> list[Packed]:
    """The rows of a parquet file with `index` and `image` columns, as Hugging Face's `datasets` writes it."""
    file = _parquet(path)
    if missing := {"index", IMAGE} - set(file.schema_arrow.names):
        raise DataError(f"{path}: column {', '.join(sorted(missing))} is missing; there are {file.schema_arrow.names}")
    packed = []
    for group in range(file.num_row_groups):
        for number, row in enumerate(parquet_rows(path, group)):
            place = CellPlace(path, group, number)
            with errors.catch():
                hashes = _hashes(embedded(row.pop(IMAGE), str(place)))
                packed.append(Packed({**row, "index": str(row["index"])}, str(place), place, hashes))
    return packed
