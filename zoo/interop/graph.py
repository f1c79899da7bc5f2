"""A pairing as one graph of tensors, for `torch.export` and ONNX, and how far what it gives lies from the pairing's.

The graph begins behind the backbones' transforms, whose pictures, spectra and clouds keep coming from this package, and
ends with the task's decoded output. Points are grouped inside it: farthest point sampling is unrolled, and the
selective scan runs by doubling. The batch size stays free. Of a language model, which writes as many tokens as it
needs, the graph is one step: the token after a prompt (`zoo.interop.language_graph`).
"""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.batch import Batch
from zoo.errors import UserError, require_packages
from zoo.pairing import Pairing

Tensors = dict[str, Tensor]


class ExportError(UserError):
    """An adapter cannot be exported, or the exported graph differs from it; no file is left behind."""


@dataclass(frozen=True)
class Parity:
    """Largest differences between an export and the pairing.

    Attributes:
        max_abs: largest absolute difference of any number; infinite where one of the two is not a number, or where
            labels differ that stand there without numbers.
        decisions: labels that differ.
        sizes: of the batches compared.
    """

    max_abs: float
    decisions: int
    sizes: tuple[int, ...]


class Graph(nn.Module):
    """A pairing as a function from named tensors to named tensors.

    Args:
        pairing: in evaluation mode.
    """

    def __init__(self, pairing: Pairing) -> None:
        super().__init__()
        self.pairing = pairing
        self.streams = {name: name for name in pairing.depths}
        conditions = dict.fromkeys([*pairing.method.conditions, *pairing.task.conditions])
        self.conditions = {f"{name}_condition" if name in self.streams else name: name for name in conditions}

    @property
    def free(self) -> dict[str, tuple[str, ...]]:
        """Names of the leading sizes that stay free, by input."""
        return dict.fromkeys([*self.streams, *self.conditions], ("batch",))

    def inputs(self, batch: Batch) -> Tensors:
        """The inputs of `forward` from a collated batch."""
        inputs: Tensors = {name: batch.inputs[name] for name in self.streams}
        return inputs | {name: batch.conditions[condition] for name, condition in self.conditions.items()}

    def forward(self, inputs: Tensors) -> Tensors:
        """Streams after their transforms [B, T, ...] and conditions [B, ...] -> the task's output [B, ...]."""
        batch = Batch(
            ids=[],
            inputs={name: inputs[name] for name in self.streams},
            target={},
            conditions={condition: inputs[name] for name, condition in self.conditions.items()},
        )
        return self.pairing.task.predict(self.pairing(batch), batch)


def to_torch(graph: Graph, inputs: Tensors, file: Path) -> None:
    """Write a `.pt2` file, whose `torch.export.load(file).module()` takes and gives dictionaries as `Graph` does.

    Raises:
        ExportError: torch cannot trace a part of it.
    """
    program = _traced(graph, inputs)
    with _calm("torch.export cannot write this graph"):
        torch.export.save(program, file)


def to_onnx(graph: Graph, inputs: Tensors, outputs: Sequence[str], file: Path) -> None:
    """Write an `.onnx` file whose inputs and outputs bear these names.

    Raises:
        ExportError: torch cannot trace a part, or an operation has no ONNX form.
        UserError: the packages of extra `export` are missing.
    """
    require_packages("ONNX", "onnxscript", "onnxruntime")
    program = _traced(graph, inputs)
    with _calm("torch.onnx cannot express this graph"):
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=({name: dict(enumerate(sizes)) for name, sizes in graph.free.items()},),
            # Rewriting by onnxscript drops an added 1e-8 as if it were 0: 1 / (distance + 1e-8) became infinite.
            optimize=False,
            verbose=False,
        )
        assert made is not None
        made.save(file, external_data=False)


def _traced(graph: Graph, inputs: Tensors) -> torch.export.ExportedProgram:
    with _calm("torch.export cannot trace this method"), torch.no_grad():
        known = {"batch": torch.export.Dim("batch", min=1)}
        dynamic = torch.export.Dim.DYNAMIC
        sizes = {name: {i: known.get(size, dynamic) for i, size in enumerate(graph.free[name])} for name in inputs}
        return torch.export.export(graph, (inputs,), dynamic_shapes=(sizes,))


def run_torch(file: Path, inputs: Sequence[Tensors]) -> list[Tensors]:
    """Outputs of a `.pt2` file for several batches."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        module = torch.export.load(file).module()
        return [module(each) for each in inputs]


def run_onnx(file: Path, inputs: Sequence[Tensors]) -> list[Tensors]:
    """Outputs of ONNX Runtime for several batches, on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # it warns of constants that it computes at every run
    session = onnxruntime.InferenceSession(str(file), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = [session.run(names, {name: tensor.numpy() for name, tensor in each.items()}) for each in inputs]
    return [{name: torch.from_numpy(value) for name, value in zip(names, row, strict=True)} for row in found]


def compare(expected: Sequence[Tensors], found: Sequence[Tensors]) -> Parity:
    """Batch by batch, tensor by tensor.

    Raises:
        ExportError: other names or shapes.
    """
    largest, decisions = 0.0, 0
    for ours, theirs in zip(expected, found, strict=True):
        shapes = [{name: list(tensor.shape) for name, tensor in side.items()} for side in (ours, theirs)]
        if shapes[0] != shapes[1]:
            raise ExportError(f"the export gives {shapes[1]}, the adapter {shapes[0]}")
        for name, tensor in ours.items():
            if tensor.is_floating_point():
                largest = max(largest, _distance(tensor, theirs[name]))
            else:
                decisions += int((tensor != theirs[name]).sum())
        if decisions and not any(tensor.is_floating_point() for tensor in ours.values()):
            largest = math.inf
    return Parity(largest, decisions, tuple(len(next(iter(side.values()))) for side in expected))


def described(tensors: Mapping[str, Tensor], free: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Type and shape by name, with names for the free sizes; by default the first one."""
    found = {}
    for name, tensor in tensors.items():
        open_ = free.get(name, ("batch",))
        shape = [*open_, *tensor.shape[len(open_) :]]
        found[name] = {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": shape}
    return found


def _distance(ours: Tensor, theirs: Tensor) -> float:
    same = (ours == theirs) | (ours.isnan() & theirs.isnan())
    gaps = torch.where(same, 0.0, (ours.double() - theirs.double()).abs())
    return math.inf if bool(gaps.isnan().any()) else float(gaps.max()) if gaps.numel() else 0.0


@contextlib.contextmanager
def _calm(what: str) -> Iterator[None]:
    """Without the exporters' notices, and with the first line of what they raise as an error of ours."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise
    except Exception as error:  # theirs have no common class
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ExportError(f"{what}: {type(error).__name__}: {first}") from error
    finally:
        logging.disable(before)
