"""Inputs as Python gives them: paths, values in memory and decoded samples, alone or in a list."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data_modules.errors import DataError
from zoo.batch import Clip, Cloud, Picture
from zoo.inference import values
from zoo.inference.inputs import Input, InputError, Read, find, read

if TYPE_CHECKING:
    from data_modules.base import DataModule

RANGES = ("stretch", "window")
"""Settings that say which values of a picture are black and white."""


class Given(NamedTuple):
    """What was given.

    Attributes:
        reads: every sample, read or with an error.
        alone: whether it is one sample, and not a list or folder of one.
    """

    reads: Iterable[Read]
    alone: bool


def read_all(inputs: Any, data: "DataModule", settings: Mapping[str, str], scratch: Path) -> Given:
    """Read inputs as a user's files are read.

    Args:
        inputs: see `Model.predict`.
        data: of the adapter.
        settings: beside every input.
        scratch: folder for values in memory, one at a time.

    Raises:
        InputError: a single path is no file.
        DataError: a single value is no sample of the data's kind.
    """
    if isinstance(inputs, list | tuple):
        return Given(_each(inputs, data, settings, scratch), alone=False)
    reads = list(_read(inputs, "input", data, settings, scratch))
    several = isinstance(inputs, str | Path) and not Path(inputs).expanduser().is_file() and "#" not in str(inputs)
    return Given(reads, alone=len(reads) == 1 and not several)


def _each(inputs: Iterable[Any], data: "DataModule", settings: Mapping[str, str], scratch: Path) -> Iterator[Read]:
    """A list's samples; one that is none does not stop the others."""
    for number, value in enumerate(inputs):
        yield from read_one(value, number, data, settings, scratch)


def read_one(value: Any, number: int, data: "DataModule", settings: Mapping[str, str], scratch: Path) -> Iterator[Read]:
    """The samples of one of a list's inputs, `number` being its place; or why it is none."""
    try:
        yield from _read(value, str(number), data, settings, scratch)
    except (InputError, DataError) as error:
        name = str(value) if isinstance(value, str | Path) else str(number)
        yield Read(Input(name, Path(name), Path(name), Path(name), settings), error=str(error))


def _read(value: Any, name: str, data: "DataModule", settings: Mapping[str, str], scratch: Path) -> Iterator[Read]:
    if isinstance(value, str | Path):
        yield from (read(data, item) for item in find(str(value), data, settings).items)
    elif isinstance(value, Clip | Cloud | Picture):
        if data.sample is not None and not isinstance(value, data.sample):
            raise DataError(f"{value.id} is a {type(value).__name__}; expected a {data.sample.__name__}")
        yield Read(Input(value.id, Path(value.id), Path(value.id), Path(value.id), settings), data.prepare(value))
    else:
        kind = data.sample.kind if data.sample else "files"
        file = values.write(value, kind, scratch / name, ranged=not settings.keys().isdisjoint(RANGES))
        try:
            for path in data.samples_in(file, settings):
                item = Input(str(path).replace(str(file), name), path, file, Path(name), settings)
                done = read(data, item)
                if kind == "masks" and not done.error:
                    done.sample.squares.image(0)  # held: its squares are asked for when the file is gone
                # Nobody knows the file that was written.
                yield Read(item, done.sample, done.notes, done.error.replace(str(path), item.id))
        finally:
            file.unlink()
