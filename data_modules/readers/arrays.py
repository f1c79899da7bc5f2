"""Arrays as point-cloud benchmarks store them: text tables, `.npy`, `.npz` and HDF5."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.errors import DataError
from data_modules.readers import hdf5
from data_modules.readers.foreign import reason, require_file
from data_modules.readers.point_files import read_table


class Clouds(Protocol):
    """Clouds by index: an array [n, M, >= 3], or `LazyClouds`."""

    def __getitem__(self, index: int, /) -> NDArray[Any]: ...


class LazyClouds:
    """One file per cloud, read on access.

    Args:
        paths: of the files.
        read: from a path to a table [M, >= 3].
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[Path], NDArray[Any]] = read_table) -> None:
        self.paths, self.read = list(paths), read

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        return self.read(self.paths[index])


def read_arrays(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), *, distributor: str
) -> dict[str, NDArray[Any]]:
    """Arrays by key out of an `.h5` or `.npz` file; optional ones where it has them.

    Raises:
        DataError: the file is missing or damaged, lacks a key, or holds pickled objects.
    """
    try:
        require_file(path)
        opened = hdf5.opened(path) if path.suffix == ".h5" else np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise ValueError("it holds one array without a key")
        with opened as file:
            keys = sorted(file)
            arrays = {key: np.asarray(file[key]) for key in (*required, *optional) if key in keys}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. {distributor}") from None
    except DataError:
        raise
    except Exception as error:  # of any decoder
        raise DataError(
            f"{path} cannot be read, so it is damaged or cut short: {reason(error)}. {distributor}"
        ) from error
    if set(required) - set(arrays):
        raise DataError(f"{path} holds the keys {', '.join(keys)}; expected {', '.join(required)}. {distributor}")
    return arrays
