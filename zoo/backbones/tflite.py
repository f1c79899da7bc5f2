"""Layers of a TensorFlow Lite file, read into plain arrays; nothing of it is run.

A FlatBuffers file is tables that point to one another: a table begins with the distance to its list of fields, and the
list says where in the table each field lies. Numbers of fields are those of TensorFlow's `schema.fbs`, version 3.
Appended to the file may be a zip archive of what belongs to the model, such as the names of its classes.
"""

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.backbones.weights import WeightsError

CONVOLUTION, DEPTHWISE, LINEAR = 3, 4, 9
"""Operators with weights, by their numbers in the schema."""

TYPES = {0: "<f4", 2: "<i4", 9: "<i1"}
"""NumPy's names of the types that weights have here: FLOAT32, INT32 and INT8."""


class Layer(NamedTuple):
    """An operator with weights, as float32.

    Attributes:
        operator: CONVOLUTION, with weight [out, height, width, in]; DEPTHWISE, [1, height, width, out]; or LINEAR,
            [out, in].
        weight: dequantised.
        bias: [out].
    """

    operator: int
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class Table:
    """A table at a place of the bytes; fields that it leaves out are empty, or zero."""

    data: bytes
    place: int

    def field(self, number: int) -> int:
        """Place of a field; 0 where there is none."""
        fields = self.place - self.number("i", self.place)
        entry = 4 + 2 * number
        there = entry < self.number("H", fields) and self.number("H", fields + entry)
        return self.place + there if there else 0

    def number(self, kind: str, place: int) -> Any:
        """The number of a `struct` kind at a place."""
        return struct.unpack_from(f"<{kind}", self.data, place)[0]

    def value(self, number: int, kind: str) -> Any:
        """A field that is a number."""
        return self.number(kind, place) if (place := self.field(number)) else 0

    def table(self, number: int) -> "Table | None":
        """A field that is a table."""
        return Table(self.data, place + self.number("I", place)) if (place := self.field(number)) else None

    def array(self, number: int, dtype: str) -> NDArray[Any]:
        """A field that is a vector of numbers."""
        if not (place := self.field(number)):
            return np.empty(0, dtype)
        place += self.number("I", place)
        return np.frombuffer(self.data, dtype, self.number("I", place), place + 4)

    def tables(self, number: int) -> list["Table"]:
        """A field that is a vector of tables."""
        if not (place := self.field(number)):
            return []
        place += self.number("I", place)
        places = range(place + 4, place + 4 + 4 * self.number("I", place), 4)
        return [Table(self.data, one + self.number("I", one)) for one in places]


def layers(path: Path) -> list[Layer]:
    """The layers with constant weights, in the order in which they are run.

    Raises:
        WeightsError: it is no such file, is damaged, or its weights are of another type.
    """
    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise WeightsError(f"{path} is no TensorFlow Lite file")
    try:
        model = Table(data, struct.unpack_from("<I", data)[0])
        # The old field of a byte, and the one of four that replaced it; the larger counts.
        operators = [max(code.value(0, "b"), code.value(3, "i")) for code in model.tables(1)]
        buffers, graph = model.tables(4), model.tables(2)[0]
        tensors, found = graph.tables(0), []
        for step in graph.tables(3):
            operator = operators[step.value(0, "I")]
            if operator in (CONVOLUTION, DEPTHWISE, LINEAR):
                _, weight, bias = step.array(1, "<i4")
                found.append(Layer(operator, _values(tensors[weight], buffers), _values(tensors[bias], buffers)))
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise WeightsError(f"{path} is damaged, or its layers are none that can be read: {error}") from error
    return found


def lines(path: Path) -> list[str]:
    """Lines of the one text file that is appended to a model: the names of its classes.

    Raises:
        WeightsError: there is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".txt"))
            return archive.read(name).decode().splitlines()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise WeightsError(f"{path}: expected one list of class names appended to it, as .txt: {error}") from error


def _values(tensor: Table, buffers: list[Table]) -> NDArray[np.float32]:
    """A constant tensor; whole numbers are multiplied by their scale, one for all or one for each part of an axis."""
    dtype, shape = TYPES[tensor.value(1, "b")], tensor.array(0, "<i4")
    values: NDArray[np.float32] = buffers[tensor.value(2, "I")].array(0, "u1").view(dtype).reshape(shape)
    if values.dtype == np.float32:
        return values.copy()
    quantised = tensor.table(4)
    if quantised is None or not len(scale := quantised.array(2, "<f4")) or quantised.array(3, "<i8").any():
        raise ValueError("whole numbers without a scale, or around another number than 0")
    along = np.ones(len(shape), int)
    along[quantised.value(6, "i")] = len(scale)
    out: NDArray[np.float32] = values.astype(np.float32) * scale.reshape(along)
    return out
