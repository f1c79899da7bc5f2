"""A TensorFlow Lite file of given layers, as its schema (version 3) has them, written with `flatbuffers`."""

import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import flatbuffers
import numpy as np
from flatbuffers import Builder

from zoo.backbones.tflite import TYPES, Layer

NUMBERS = {np.dtype(name): number for number, name in TYPES.items()}


def _offsets(builder: Builder, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _table(builder: Builder, fields: dict[int, tuple[str, int]]) -> int:
    builder.StartObject(max(fields, default=0) + 1)
    for number, (kind, value) in fields.items():
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
        else:
            getattr(builder, f"Prepend{kind}Slot")(number, value, 0)
    return builder.EndObject()


def write(path: Path, layers: Sequence[Layer], *, names: Sequence[str] = (), eight_bits: bool = False) -> Path:
    """A model whose operators are these layers in order; with `eight_bits` weights are rounded to a scale an output."""
    builder = flatbuffers.Builder(1 << 20)
    buffers, tensors, operators, kinds = [_table(builder, {})], [], [], sorted({layer.operator for layer in layers})

    def tensor(values: np.ndarray, scale: np.ndarray | None = None, axis: int = 0) -> int:
        data = builder.CreateNumpyVector(np.ascontiguousarray(values).view(np.uint8).reshape(-1))
        buffers.append(_table(builder, {0: ("offset", data)}))
        shape = builder.CreateNumpyVector(np.array(values.shape, np.int32))
        fields = {0: ("offset", shape), 1: ("Int8", NUMBERS[values.dtype]), 2: ("Uint32", len(buffers) - 1)}
        if scale is not None:
            scales, zeros = (builder.CreateNumpyVector(v) for v in (scale, np.zeros(len(scale), np.int64)))
            quantised = {2: ("offset", scales), 3: ("offset", zeros), 6: ("Int32", axis)}
            fields[4] = ("offset", _table(builder, quantised))
        tensors.append(_table(builder, fields))
        return len(tensors) - 1

    for operator, weight, bias in layers:
        if eight_bits:
            axis = int(np.argmax(np.array(weight.shape) == len(bias)))
            others = tuple(k for k in range(weight.ndim) if k != axis)
            scale = (np.abs(weight).max(others) / 127).astype(np.float32)
            along = scale.reshape([-1 if k == axis else 1 for k in range(weight.ndim)])
            weights = tensor(np.rint(weight / along).astype(np.int8), scale, axis)
        else:
            weights = tensor(weight)
        ends = builder.CreateNumpyVector(np.array([-1, weights, tensor(bias)], np.int32))
        operators.append(_table(builder, {0: ("Uint32", kinds.index(operator)), 1: ("offset", ends)}))
    graph = _table(builder, {0: ("offset", _offsets(builder, tensors)), 3: ("offset", _offsets(builder, operators))})
    codes = [_table(builder, {0: ("Int8", kind), 3: ("Int32", kind)}) for kind in kinds]
    parts = {1: _offsets(builder, codes), 2: _offsets(builder, [graph]), 4: _offsets(builder, buffers)}
    model = _table(builder, {0: ("Uint32", 3), **{number: ("offset", offset) for number, offset in parts.items()}})
    builder.Finish(model, file_identifier=b"TFL3")
    appended = BytesIO()
    with zipfile.ZipFile(appended, "w") as archive:
        archive.writestr("labels.txt", "\n".join(names))
    path.write_bytes(bytes(builder.Output()) + (appended.getvalue() if names else b""))
    return path
