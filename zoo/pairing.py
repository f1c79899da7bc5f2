"""Frozen backbones, one method and one task as one plain module.

prefix   = frozen blocks before the first trainable site     (no_grad, from the cache where it has them)
           and a language model's own, while training        (`zoo.backbones.read_ahead`)
features = method(backbones, prefix, batch)
loss     = sum(task.loss(features, batch)) + sum(method.losses(head))
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone, TextEncoder, tap
from zoo.backbones.of import backbone_of
from zoo.backbones.read_ahead import read_ahead
from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Batch, GroundScale, stack
from zoo.errors import SettingError
from zoo.methods.base import Method, attach, require_use
from zoo.methods.ground import told_to
from zoo.ops.familiarity import Familiarity
from zoo.ops.tensors import mismatches
from zoo.prefix import PrefixCache
from zoo.tasks.base import Task
from zoo.tasks.base import attach as attach_task

CHUNK = 10
"""Segments that pass through the frozen blocks at a time on a processor."""


class Pairing(nn.Module):
    """Frozen backbones, a method and a task: what predicts. `zoo.training.module.TrainingModule` trains one.

    Args:
        backbones: frozen encoders by stream; models of timm and `timm:NAME` become such (`zoo.backbones.of`).
        method: attached here, to these backbones and classes.
        task: attached here, to the method's features.
        classes: K class names, in label order, without background.
        text: frozen text tower, where the method wants one.
        cache: of prefix tokens.
    """

    def __init__(
        self,
        backbones: Mapping[str, Backbone | nn.Module | str],
        method: Method,
        task: Task,
        *,
        classes: Sequence[str],
        text: TextEncoder | None = None,
        cache: PrefixCache | None = None,
    ) -> None:
        super().__init__()
        encoders = {name: backbone_of(thing, where=f"backbones.{name}") for name, thing in backbones.items()}
        method.maps = task.reads(encoders)
        if method.maps and not method.dense:
            raise SettingError(f"method {type(method).__name__} gives no maps, which task {task.kind} reads")
        require_use(type(method), task.kind, taken=task.takes_probabilities)
        attach(method, encoders, text=text, classes=classes)
        attach_task(task, method.feature_dims, classes, text=text, encoders=encoders)
        self.backbones = cast(Mapping[str, Backbone], nn.ModuleDict(encoders))
        self.method, self.task = method, task
        self.classes = list(classes)
        self.cache = cache
        self.depths = method.prefix_depths()
        # Named before training shards the module.
        parameters = dict(self.named_parameters())
        moving = {name for name, _ in self.named_buffers() if not name.startswith("backbones.")}
        self.trainable = [
            name
            for name in self.state_dict()
            if (name in parameters and parameters[name].requires_grad) or name in moving
        ]
        self.fingerprints = {name: encoder.fingerprint for name, encoder in encoders.items()}
        if text is not None:
            self.fingerprints["text"] = text.fingerprint
        self.space = text.space if text is not None else ""
        self.ground = GroundScale()
        self.forced: list[str] = []  # differences under which it was loaded by force; part of every result
        self.prepare: Callable[[Any], Any] = _as_it_is  # turns a raw sample into one of the adapter's data
        self.preparation: str | None = None  # name of the preparation in training, once known
        self.notes: list[str] = []  # for every user of its predictions
        self.caveats: list[str] = []  # part of every prediction
        self.chosen: dict[str, Any] = {}  # by `choose`
        self.summed: dict[str, str] = {}  # sha256 of the adapters whose updates it adds up, where it is no single one
        self.familiarity: Familiarity | None = None
        self.unlike: Tensor | None = None  # of the last batch, as `Batch.unlike`

    @property
    def device(self) -> torch.device:
        """Device of its parameters."""
        return next(self.parameters()).device

    # --- features -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def prefix(self, batch: Batch) -> dict[str, Tensor]:
        """Tokens {stream: [B, T, L, D]} after the blocks that precede every trainable part; inputs where none does.

        And {stream@after: [B, T, L, D]} of what a dense task's maps, or the method itself, read before them.
        """
        if batch.prefix:
            if self.cache is not None:
                self.cache.used.update(batch.origins)
            return batch.prefix
        found = {}
        for name, depth in self.depths.items():
            segments = batch.inputs[name]
            if depth is None:
                found[name] = segments
                continue
            kept = self.through(name, segments, (*self.taps(name), depth))
            if self.cache is not None and batch.keys:
                kept = [self.cache.round(each) for each in kept]
                for i, sample in enumerate(batch.keys):
                    key = self.cache.key(self.fingerprints[name], depth, sample, self.taps(name))
                    beside = {after: each[i] for after, each in zip(self.taps(name), kept, strict=False)}
                    self.cache.write(key, kept[-1][i], beside)
            found[name] = kept[-1]
            found |= {tap(name, after): each for after, each in zip(self.taps(name), kept, strict=False)}
        return found

    def taps(self, name: str) -> tuple[int, ...]:
        """Blocks inside a stream's prefix behind which maps or the method read tokens, kept beside the last ones."""
        wanted = {*self.method.maps.get(name, ()), *self.method.taps.get(name, ())}
        return tuple(sorted(after for after in wanted if after < (self.depths[name] or 0)))

    def through(self, name: str, segments: Tensor, stops: Sequence[int], start: int | None = None) -> list[Tensor]:
        """Frozen tokens [B, T, L, D] of a stream after so many blocks, for increasing `stops`.

        Args:
            name: of the stream.
            segments: its inputs [B, T, ...], or tokens [B, T, L, D].
            stops: numbers of blocks.
            start: how many blocks the tokens have behind them; None for inputs.
        """
        backbone, parts = self.backbones[name], segments.flatten(0, 1)
        # A few at a time stay in a processor's caches: faster, and in less memory; an export is of any number.
        few = segments.device.type == "cpu" and not torch.compiler.is_compiling()
        done: list[list[Tensor]] = [[] for _ in stops]
        # What is kept must not depend on a run's precision: runs share the cache.
        with torch.autocast(segments.device.type, enabled=False) if self.cache else contextlib.nullcontext():
            for part in parts.split(CHUNK) if few else (parts,):
                tokens, at = (backbone.embed(part), 0) if start is None else (part, start)
                for place, stop in enumerate(stops):
                    tokens, at = backbone.through(tokens, at, stop), stop
                    done[place].append(tokens.float())
        # Contiguous as tokens out of the cache are: kernels round by memory layout.
        return [torch.cat(each).unflatten(0, segments.shape[:2]).contiguous() for each in done]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Features {stream: [B, T, D]}."""
        prefix = self.prefix(batch)
        if self.familiarity is not None:
            self.unlike = self.familiarity(prefix)
            batch = replace(batch, unlike=self.unlike)
        ahead = self.method.ahead
        if ahead is not None and self.cache is not None and batch.keys and not batch.write:
            model = cast(VisionLanguage, self.backbones[ahead.stream])
            batch = read_ahead(model, ahead.blocks, prefix[ahead.stream], batch, self.cache)
        features: dict[str, Tensor] = self.method(self.backbones, prefix, batch)
        return features

    def batch(self, samples: Sequence[Any]) -> Batch:
        """Decoded samples (`Clip`, `Cloud`, `Picture`), raw or prepared, as the backbones take them, on this device.

        With their labels, where all have labels of the same names and shapes.
        """
        samples = [self.prepare(sample) for sample in samples]
        batch = Batch(
            ids=[sample.id for sample in samples],
            inputs={
                name: self.backbones[name].collate([self.backbones[name].transform(sample) for sample in samples])
                for name in self.depths
            },
            target=stack([sample.target for sample in samples]) if _alike(samples) else {},
            conditions=stack([told_to(self, sample) for sample in samples]),
            questions=[question for sample in samples if (question := getattr(sample, "question", None)) is not None],
        )
        return batch.to(self.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The scalars that training adds up: `task`, the mean of the task's loss over samples, and the method's own."""
        features = self(batch)
        terms = {"task": torch.stack([term.mean() for term in self.task.loss(features, batch).values()]).sum()}
        return terms | self.method.losses(lambda adapted: self.task.logits(adapted, batch))

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """The task's decoded output for one batch."""
        batch = self.asked(batch)
        return self.decide(self(batch), batch)

    def asked(self, batch: Batch) -> Batch:
        """The batch as `decide` needs it; with its prefix, where a method passes through the rest several times."""
        batch = self.task.asked(batch)
        return replace(batch, prefix=self.prefix(batch)) if self.method.owns_probabilities else batch

    def decide(self, features: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The decoded output: of the probabilities that the method owns, or else the task's own of these features."""
        owned = self.method.probabilities(self.logits, batch)
        return self.task.predict(features, batch) if owned is None else self.task.decide(owned)

    def logits(self, batch: Batch) -> Tensor:
        """The head's raw scores, [B, ..., K]."""
        return self.task.logits(self(batch), batch)

    def choose(self, **settings: Any) -> None:
        """Change settings of the trained method that may change, see `Method.choose`; every prediction says so.

        Raises:
            SettingError: there is no such setting, or no such value of it.
        """
        self.method.choose(**settings)
        others = [line for line in self.caveats if line not in _told(self.chosen)]
        self.chosen |= settings
        self.caveats = [*others, *_told(self.chosen)]

    @contextlib.contextmanager
    def naming(self, classes: Sequence[str], text: TextEncoder) -> Iterator[None]:
        """Within, it tells these classes apart, by their names, and not its own.

        Args:
            classes: K' names.
            text: the text tower that it was built with.

        Raises:
            SettingError: the task has fixed classes.
        """
        own = self.classes
        with self.task.naming(classes, text):
            self.classes = list(classes)
            try:
                yield
            finally:
                self.classes = own

    # --- what is saved --------------------------------------------------------------------------------------------

    def trainable_state(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name: what a checkpoint and an adapter hold.

        Trainable parameters, and the buffers of method and task (running statistics of a head's batch norm).
        """
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return {name: tensors[name].detach() for name in self.trainable}

    def load_trainable(self, state: Mapping[str, Tensor], *, source: str = "the state") -> None:
        """Copy tensors in; names and shapes must match exactly, and every number must be one.

        Raises:
            ValueError: naming every missing, unexpected, misshapen or damaged tensor of `source`.
        """
        self.check(state, source=source)
        with torch.no_grad():
            for name, parameter in self.trainable_state().items():
                parameter.copy_(state[name])

    def check(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Check that tensors can be loaded.

        Raises:
            ValueError: as `load_trainable`.
        """
        own = self.trainable_state()
        problems = list(mismatches(own, state).values())
        kinds = {name: (state[name].dtype, own[name].dtype) for name in own if name in state}
        problems += [
            f"{n} holds {a}, expected {b}" for n, (a, b) in kinds.items() if a.is_floating_point != b.is_floating_point
        ]
        problems += [f"{name} holds NaN" for name, tensor in state.items() if bool(tensor.isnan().any())]
        if problems:
            raise ValueError(f"{source} does not fit this pairing: " + "; ".join(problems))


def _alike(samples: Sequence[Any]) -> bool:
    """Whether samples have labels of the same names and shapes."""
    return len({tuple((name, label.shape) for name, label in sample.target.items()) for sample in samples}) == 1


def _told(chosen: Mapping[str, Any]) -> list[str]:
    """What is said of settings that were chosen after training."""
    return [f"method.{name} = {value}, chosen after training" for name, value in chosen.items()]


def _as_it_is(sample: Any) -> Any:
    return sample


def count_parameters(pairing: Pairing) -> tuple[int, int]:
    """(trainable, total) parameters; the total counts the frozen backbones, not the text tower, used once."""
    sizes = [(p.numel(), p.requires_grad) for p in pairing.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, _ in sizes)
