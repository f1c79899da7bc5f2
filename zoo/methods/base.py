"""The contract of a method: it owns every trainable parameter outside the task's head."""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from zoo.backbones.base import Backbone, TextEncoder
from zoo.batch import Batch, GroundScale
from zoo.errors import SettingError
from zoo.methods import signals
from zoo.methods.deltas import Delta
from zoo.methods.signals import Controlled, Intervention

if TYPE_CHECKING:
    from zoo.training.look import Look

Backbones = Mapping[str, Backbone]

Features = dict[str, Tensor]


class Branches(NamedTuple):
    """The ways that a method can take with a sample, so that accuracy is reported for each.

    Attributes:
        observed: key of `observations` that holds the way every sample took, int64 [B]: an index of `names`.
        names: of the ways.
    """

    observed: str
    names: tuple[str, ...]


class Ahead(NamedTuple):
    """Blocks of a language model that make the same of a question at every step, so that they need to run once.

    Attributes:
        stream: of the language model.
        blocks: how many.
    """

    stream: str
    blocks: int


class Group(NamedTuple):
    """What an optimizer does otherwise with a parameter.

    Attributes:
        lr: factor of the learning rate.
        weight_decay: in the place of the recipe's, where it is not None.
    """

    lr: float = 1.0
    weight_decay: float | None = None


class Method(nn.Module):
    """Adapters inside or between the blocks of frozen backbones.

    Life: `__init__` takes settings only; `attach` sees the frozen backbones and creates parameters; `forward` turns a
    batch into one feature per segment and stream. A method that adapts layers in place writes `attach` alone: by
    default every stream is used, all of its blocks are cacheable, and `forward` runs what is left of the backbones.
    """

    conditions: tuple[str, ...] = ()
    """Side inputs of a batch that this method uses, e.g. `("gsd",)`; the data must have them."""
    ground: GroundScale = GroundScale()
    """What ground sampling distances are measured in."""
    version: int = 1
    """Part of an adapter: raise it when the same settings and tensors come to compute something else."""
    unmergeable: str = "it changes no frozen layer"
    """Why the trained part cannot be folded into the frozen weights, where `deltas` refuses."""
    branches: Branches | None = None
    """The ways it can take with a sample, where there are several."""
    maps: Mapping[str, Sequence[int]] = {}
    """Levels that a dense task reads of every stream, by the blocks before them; set before `attach`."""
    taps: Mapping[str, Sequence[int]] = {}
    """Blocks of a stream behind which the method itself reads frozen tokens, `prefix[tap(name, after)]`, where they lie
    inside its prefix; known after `attach`."""
    dense: bool = True
    """Whether `forward` gives a dense task its maps."""
    feature_dims: dict[str, int]
    """Width of each stream, or map, that `forward` returns; known after `attach`."""
    depths: dict[str, int | None]
    """Blocks before the first trainable part by stream, as `prefix_depths` returns them; known after `attach`."""
    removable: bool = False
    """Whether a trained method can be taken away for a measurement: see `without`."""
    acts: bool = True
    """False within `without`, where a removable method leaves the features as they are."""
    at_test: tuple[str, ...] = ()
    """Settings that may change after training, for they choose among what was trained: see `choose`."""
    owns_probabilities: bool = False
    """Whether `probabilities` may give some. It is then measured without inference mode, in which no gradient exists;
    tasks that need other predictions than one class a sample are refused."""
    ahead: Ahead | None = None
    """Where a language model precedes every trainable part with some of its blocks; known after `attach`."""

    def attach(self, backbones: Backbones) -> None:
        """Create the trainable parts for these backbones. Called once, before weights are loaded into the method.

        A method that reads class names or the frozen text tower names them as well, in its signature:
        `attach(self, backbones, text=None, classes=())`. Here: the widths of all these backbones, nothing trained
        inside them.
        """
        self.feature_dims = self.widths(backbones)
        self.depths = {name: backbone.prefix_depth({}) for name, backbone in backbones.items()}

    def widths(self, backbones: Backbones) -> dict[str, int]:
        """Of the features that these backbones give: a stream's, or those of the maps that are read of it."""
        every = [backbone.feature_dims(name, self.maps.get(name, ())) for name, backbone in backbones.items()]
        return {key: width for widths in every for key, width in widths.items()}

    def choose(self, **settings: Any) -> None:
        """Change settings that may change after training, all of them in `at_test`.

        Raises:
            SettingError: there is no such setting, or no such value of it.
        """
        if other := sorted(set(settings) - set(self.at_test)):
            known = ", ".join(f"method.{name}" for name in self.at_test) or "none of this method's"
            raise SettingError(f"method.{other[0]} is fixed by training; what may change afterwards: {known}")

    def points(self) -> dict[str, Callable[[], contextlib.AbstractContextManager[None]]]:
        """Further settings of the trained method, by name, that a measurement shows beside the one that acts; within
        each context it acts."""
        return {}

    def over_points(self, metric: Mapping[str, float]) -> dict[str, float]:
        """Numbers of the method's own over a metric at every point, "" being the setting that acts."""
        return {}

    def anchored(self) -> Tensor | None:
        """What `attach` made of the text tower and never asks it again, [K', d]: an adapter keeps it, and is attached
        to it (`KeptText.of`) in the place of the tower. None for a method without text."""
        return None

    def describe(self) -> str:
        """What a run should say of the attached method at its start."""
        return ""

    def prefix_depths(self) -> Mapping[str, int | None]:
        """Blocks of each used backbone that no trainable part precedes: pure functions of the input, so cacheable.

        None where not even the embedding is frozen: the method is then given the transformed inputs.
        """
        return dict(self.depths)

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """Tokens [B, T, L, D] after each backbone's prefix -> features {stream: [B, T, feature_dims[stream]]}.

        For a dense task, maps {stream@after: [B, T, width, H, W]}.
        """
        every = [self.run(name, backbones, prefix, batch) for name in self.depths]
        return {key: value for features in every for key, value in features.items()}

    def run(self, name: str, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """What one backbone makes of a batch from its prefix on: see `Backbone.features`."""
        return backbones[name].features(name, prefix, self.depths[name], batch, maps=self.maps.get(name, ()))

    def losses(self, head: Callable[[Features], Tensor]) -> dict[str, Tensor]:
        """Auxiliary scalar losses of the last forward, by name; `head` gives the task's logits of further features."""
        return {}

    def conclude(self, look: "Look") -> Mapping[str, float]:
        """Fill buffers from the training split, once the checkpoint is selected and before the test split is measured.

        They are saved with the adapter. A resumed run concludes again: the same tensors must lead to the same buffers.

        Args:
            look: at the training split.

        Returns:
            Finite numbers for metrics.json, by name.
        """
        return {}

    def probabilities(self, logits: Callable[[Batch], Tensor], batch: Batch) -> Tensor | None:
        """Class probabilities [B, K] in the place of the task's own; None where the task owns them.

        Never asked while a training validates, for nothing is concluded then: the task's own select the checkpoint.

        Args:
            logits: the pairing's, [B, K], of the batch as the method then acts; differentiable under
                `torch.enable_grad`.
            batch: with its prefix.
        """
        return None

    def parameter_groups(self) -> Mapping[nn.Parameter, Group]:
        """Parameters that do not learn at the recipe's own rate or decay."""
        return {}

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """All that is trained inside the backbones, as changes of their layers, so that it can be folded into them.

        Args:
            gsd: in metres, for changes that depend on it: those at this one.

        Raises:
            SettingError: the trained part is something else, or depends on a side input that is not given.
        """
        raise SettingError(f"the method cannot be folded into frozen weights: {self.unmergeable}")

    def observations(self) -> dict[str, Tensor]:
        """What a report may show of the last forward, by name, one row per segment: [B * T, ...]."""
        return {}

    def curves(self) -> dict[str, tuple[Tensor, Tensor]]:
        """What a report may draw of the method itself, by name: positions [N], and values there [N, ...].

        `openness`: of gates, [N, r], over log10 of the ground sampling distance.
        """
        return {}

    def measure(self, observed: Mapping[str, Tensor]) -> dict[str, float]:
        """Numbers of the method's own over the observations of a whole split, by name with its unit."""
        return {}

    def controlled(self) -> Mapping[str, Controlled]:
        """Control signals by mechanism, which a measurement watches and replaces: see `zoo.methods.signals`."""
        return {}

    @contextlib.contextmanager
    def without(self) -> Iterator[None]:
        """Within, nothing trained acts inside the backbones: features are the frozen ones of step 0."""
        self.acts = False
        try:
            yield
        finally:
            self.acts = True

    def interventions(self) -> dict[str, Intervention]:
        """Replacements of one part of the method, named MECHANISM_REPLACEMENT, to show what it does;
        those of one mechanism are judged together.

        Here: every control signal by what its `Controlled` names, and `without` the method.
        """
        found = signals.interventions(self.controlled())
        if self.removable:
            found["without"] = self.without
        return found

    def remarks(self, observed: Mapping[str, Tensor]) -> dict[str, Any]:
        """What an answer should say of how it came about, from the observations of its one sample, in plain values."""
        return {}


def require_use(method: type[Method], task: str, *, taken: bool) -> None:
    """Refuse a method that owns class probabilities beside a task that has no use for them.

    Args:
        method: whose instances are meant.
        task: its kind.
        taken: whether it has.

    Raises:
        SettingError: naming both.
    """
    if method.owns_probabilities and not taken:
        raise SettingError(
            f"method {method.__name__} gives probabilities of one class a sample, which task {task} has no use for; it "
            "goes with classification"
        )


def attach(method: Method, backbones: Backbones, *, text: TextEncoder | None, classes: Sequence[str]) -> None:
    """Attach a method, giving it the text tower and the class names where its `attach` names them."""
    offered = {"text": text, "classes": classes}
    wanted = inspect.signature(method.attach).parameters
    create: Callable[..., None] = method.attach
    create(backbones, **{name: value for name, value in offered.items() if name in wanted})
