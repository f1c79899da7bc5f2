"""The contract of a task: head, loss, decoding, metrics and what a result is compared with."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone, TextEncoder
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.metrics.bootstrap import mean_interval
from zoo.tasks.results import Prediction


class Task(nn.Module):
    """Everything a kind of label needs once a method has made features.

    Life: `__init__` takes settings; `attach` sees feature widths and classes and creates the head; per evaluation
    `reset`, then `update` per batch, then `compute`. The same object counts in train, evaluate and the card.

    Attributes:
        kind: of label, as model cards name it.
        monitor: the metric that selects the checkpoint on the validation split.
        unit: "fraction" when metrics lie in [0, 1], "percent" when the benchmark reports them times 100; those of
            calibration have their own.
        gives_probabilities: whether it names one of K classes with their probabilities; then it has `scored`, and
            counts among its metrics those of `zoo.metrics.calibration`.
        takes_probabilities: whether `decide` makes its prediction of them, where a method owns them.
        conditions: side inputs of a batch that `predict` reads.
        least_batch: samples that a training batch must have.
        pictures: that its runs want, by their names in `PICTURES` of `zoo/report/kinds/`: "confusion" for one class a
            sample, "examples" for samples beside its `words`, "reliability" for `probabilities`. () wants none; with
            None a run says that it has none.
        result: class of its predictions in Python.
        decided: names of the predictions that are decisions (a class, not its probability).
        averageable: whether `predict` reads features through `logits` alone, and its classes are fixed, so that the
            logits of several trained heads may be averaged.
        open_classes: whether it can be asked for classes that it was not attached to: see `naming`.
        keep: samples of a split whose predictions and labels are kept for reports, where these are large; None keeps
            all.
        note: what must stand beside every number of it; part of every measurement.
        version: part of an adapter; raise it when the same settings and tensors come to compute something else.
    """

    kind: str
    monitor: str
    unit: str = "fraction"
    gives_probabilities: bool = False
    takes_probabilities: bool = False
    conditions: tuple[str, ...] = ()
    least_batch: int = 1
    pictures: tuple[str, ...] | None = None
    result: type[Prediction] = Prediction
    decided: tuple[str, ...] = ()
    averageable: bool = False
    open_classes: bool = False
    keep: int | None = None
    note: str = ""
    version: int = 1

    def reads(self, encoders: Mapping[str, Backbone]) -> dict[str, tuple[int, ...]]:
        """Maps that a dense head reads of every stream, by the blocks before them (`Level.after`); {} for pooled ones.

        Raises:
            SettingError: an encoder gives no such maps.
        """
        return {}

    def attach(self, feature_dims: Mapping[str, int], classes: Sequence[str]) -> None:
        """Create the head.

        A task that reads the frozen text tower or the encoders' own vocabularies names them as well, in its signature:
        `attach(self, feature_dims, classes, text=None, encoders=None)`.
        """
        raise NotImplementedError

    def naming(self, classes: Sequence[str], text: TextEncoder) -> AbstractContextManager[None]:
        """Within, it tells these classes apart, where `open_classes` says that this can be done.

        Args:
            classes: K' names.
            text: the text tower that it was attached with.

        Raises:
            SettingError: it cannot.
        """
        raise SettingError(f"task {self.kind}: its classes are those that it was trained on")

    def anchored(self) -> Tensor | None:
        """What `attach` made of the text tower, as `Method.anchored` has it; None for a task without text."""
        return None

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The head's raw scores, [B, ..., K]; methods with consistency losses ask for them."""
        raise NotImplementedError

    def loss(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Per-sample losses by term, each [B]; the pairing adds and averages them."""
        raise NotImplementedError

    def asked(self, batch: Batch) -> Batch:
        """The batch as the backbones need it for `predict`."""
        return batch

    def predict(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Decoded output tensors by name, each [B, ...]."""
        raise NotImplementedError

    def decide(self, probabilities: Tensor) -> dict[str, Tensor]:
        """What `predict` gives, of class probabilities [B, K] that a method owns.

        Raises:
            SettingError: it predicts something else.
        """
        raise SettingError(f"task {self.kind}: its predictions are not those of one class a sample")

    def answer(self, prediction: Mapping[str, Tensor]) -> dict[str, Any]:
        """One sample's decoded output (without the batch dimension) in plain values, for a JSON line."""
        raise NotImplementedError

    def differing(self, one: Tensor, other: Tensor) -> Tensor:
        """Which decisions of two predictions [B, ...] differ, bool."""
        return one != other

    def wants(self, picture: str) -> bool:
        """Whether it names pictures so."""
        return picture in (self.pictures or ())

    def words(self, values: Mapping[str, Tensor]) -> str:
        """One sample's prediction, or its target, in a few words for a picture; "" where these values do not say it."""
        return ""

    def reset(self) -> None:
        """Forget what `update` counted."""
        raise NotImplementedError

    def update(self, prediction: Mapping[str, Tensor], batch: Batch) -> None:
        """Count one batch."""
        raise NotImplementedError

    def compute(self) -> dict[str, float]:
        """Metrics over everything counted since `reset`."""
        raise NotImplementedError

    def quantities(self) -> dict[str, float]:
        """What was counted in units of its own, such as millimetres, where metrics share one; nothing of most tasks."""
        return {}

    def scored(self) -> tuple[Tensor, Tensor]:
        """Probabilities [M, K], rows adding up to 1, and labels int64 [M] of everything counted since `reset`.

        Left out are tasks of several labels at once (video parsing), of dense masks and parts, whose probabilities of
        every pixel or point are not kept, and of written answers, which have none.

        Raises:
            NotImplementedError: it gives no such probabilities.
        """
        raise NotImplementedError

    def names_counted(self) -> list[str] | None:
        """Names of what was counted, where these are not the samples themselves: pictures that were cut into tiles."""
        return None

    def per_sample(self) -> Tensor:
        """The monitored metric of every sample counted, [N] in counting order; their mean is its value."""
        raise NotImplementedError

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % interval over samples of the monitored metric: see `mean_interval`."""
        whole = 1.0 if self.unit == "fraction" else 100.0
        return {self.monitor: mean_interval(self.per_sample(), whole=whole)}

    def never_predicted(self) -> list[str]:
        """Classes that some label has and no prediction; none of a task without classes."""
        return []

    def baselines(self) -> dict[str, dict[str, float]]:
        """Metrics of trivial predictors on what was counted: {predictor: {metric: value}}."""
        return {}


def attach(
    task: Task,
    feature_dims: Mapping[str, int],
    classes: Sequence[str],
    *,
    text: TextEncoder | None,
    encoders: Mapping[str, Backbone],
) -> None:
    """Attach a task, giving it the text tower and the encoders where its `attach` names them."""
    offered = {"text": text, "encoders": encoders}
    wanted = inspect.signature(task.attach).parameters
    create: Callable[..., None] = task.attach
    create(feature_dims, classes, **{name: value for name, value in offered.items() if name in wanted})


class Head(nn.Module):
    """Normalise each stream, concatenate, then linear or one hidden layer.

    Args:
        feature_dims: width of each stream.
        outputs: width of the output.
        hidden: width of the hidden layer; None makes the head a linear probe.
    """

    def __init__(self, feature_dims: Mapping[str, int], outputs: int, *, hidden: int | None) -> None:
        super().__init__()
        self.names = sorted(feature_dims)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(feature_dims[name]) for name in self.names})
        width = sum(feature_dims.values())
        self.body = (
            nn.Linear(width, outputs)
            if hidden is None
            else nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, outputs))
        )

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """{stream: [..., D]} -> [..., outputs]."""
        out: Tensor = self.body(torch.cat([self.norms[name](features[name]) for name in self.names], dim=-1))
        return out
