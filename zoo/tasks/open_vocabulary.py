"""Classification whose classes are words: any names can be asked for, trained on or not.

Two ways to a class, whose logits are added:

    learned   the cosine between a projection of the features and the name's anchor, at a learned temperature
    prior     an encoder with a vocabulary hears names n with scores p(n); a class is told by those close to it in
              meaning: `zoo.backbones.vocabulary` has the formula

Anchors are a text tower's vectors of the names. Their mean over the vocabulary (over the trained classes without one)
is taken away first: short texts share most of what a text tower makes of them. With the prior alone nothing is trained
but its weight, which orders no classes: a tagger without training.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones.base import Backbone, TextEncoder
from zoo.backbones.embedded import embedded
from zoo.backbones.kept_text import KeptText
from zoo.backbones.vocabulary import MEANING, Knowing, relevance
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.tasks.base import Head
from zoo.tasks.classification import Classification


class OpenVocabulary(Classification):
    """Cross entropy over the names of classes, told apart by what they mean.

    Reads `target["label"]`, int64 [B], and, where a batch has them, `conditions["candidates"]`, bool [B, K]: the
    classes between which a sample is decided. Predicts as `Classification` does.

    Args:
        learned: whether the cosine has a say.
        prior: whether the encoders' vocabularies have one.
        temperature: of the cosine, before training.
        tau: of meaning, between names and classes.
        text: `class` uses the names; `shuffled` gives every class the name of another, `random` a drawn vector
            (controls).
        seed: of the controls.

    Raises:
        SettingError: neither way is taken.
    """

    open_classes = True
    averageable = False
    vectors: Tensor
    vocabulary: Tensor
    centre: Tensor
    anchors: Tensor
    near: Tensor

    def __init__(
        self,
        *,
        learned: bool = True,
        prior: bool = True,
        temperature: Annotated[float, "> 0"] = 0.33,
        tau: Annotated[float, "> 0"] = MEANING,
        text: Literal["class", "shuffled", "random"] = "class",
        seed: int = 0,
    ) -> None:
        super().__init__(hidden=(), dropout=0.0)
        if not learned and not prior:
            raise SettingError("task.learned and task.prior are both false: nothing tells classes apart")
        self.learned, self.prior, self.temperature, self.tau = learned, prior, temperature, tau
        self.text_control, self.seed = text, seed

    def attach(
        self,
        feature_dims: Mapping[str, int],
        classes: Sequence[str],
        text: TextEncoder | None = None,
        encoders: Mapping[str, Backbone] | None = None,
    ) -> None:
        """Embed the names, and create the projection and the weights of the vocabularies.

        Raises:
            SettingError: there is no text tower; or the prior is asked for, and no encoder has a vocabulary, or the
                method changes what its classifier reads.
        """
        if text is None:
            raise SettingError("task: an open vocabulary needs a text tower; add one, backbones.text for instance")
        self.streams = sorted(feature_dims)
        self._knowing = Knowing(self._with_words(feature_dims, encoders or {}) if self.prior else {})
        words = self._knowing.words
        with torch.no_grad():
            if isinstance(text, KeptText):
                every = text.of(len(classes) + len(words))
            else:
                every = torch.cat([self._encoded(text, classes), *([embedded(text, words)] if words else [])])
        self.register_buffer("vocabulary", every[len(classes) :], persistent=False)
        self.register_buffer("centre", (self.vocabulary if words else every).mean(0), persistent=False)
        self._name(classes, every[: len(classes)])
        if self.learned:
            self.head = Head(feature_dims, text.dim, hidden=None)
            self.log_scale = nn.Parameter(torch.tensor(1 / self.temperature).log())
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.tensor(1.0)) for name in self._knowing.encoders})
        self.reset()

    def _with_words(self, feature_dims: Mapping[str, int], encoders: Mapping[str, Backbone]) -> dict[str, Backbone]:
        """The used encoders that have a vocabulary.

        Raises:
            SettingError: none has, or the method changes what a classifier reads.
        """
        found = {name: encoders[name] for name in self.streams if name in encoders and encoders[name].vocabulary}
        if not found:
            raise SettingError(
                f"task.prior: no vocabulary in the backbones {', '.join(self.streams)}; set task.prior: false, or take "
                "an encoder that has one (zoo.backbones.yamnet.YAMNet)"
            )
        for name, encoder in found.items():
            if feature_dims[name] != encoder.dim:
                raise SettingError(
                    f"task.prior: the method gives {feature_dims[name]} features of {name}, whose classifier reads "
                    f"{encoder.dim}; set task.prior: false"
                )
        return found

    @contextlib.contextmanager
    def naming(self, classes: Sequence[str], text: TextEncoder) -> Iterator[None]:
        """Within, it tells other classes apart, by their names alone."""
        names, vectors = self.names, self.vectors
        with torch.no_grad():
            self._name(classes, self._encoded(text, classes).to(self.centre))
        try:
            yield
        finally:
            self._name(names, vectors)

    def anchored(self) -> Tensor:
        """Vectors of the classes, and of the vocabularies' names behind them, [K + V, d]."""
        return torch.cat([self.vectors, self.vocabulary])

    def _encoded(self, text: TextEncoder, classes: Sequence[str]) -> Tensor:
        """Vectors of class names [K, d], or what a control has in their place."""
        return name_vectors(text, classes, control=self.text_control, seed=self.seed)

    def _name(self, classes: Sequence[str], vectors: Tensor) -> None:
        """Take these classes, with vectors [K, d]: their anchors, and the weights of the vocabularies' names."""
        self.names = list(classes)
        anchors = F.normalize(vectors - self.centre, dim=-1)
        near = self._knowing.near(self.vocabulary, vectors, self.centre, self.tau)
        for name, value in (("vectors", vectors), ("anchors", anchors), ("near", near)):
            self.register_buffer(name, value, persistent=False)

    def logits(self, features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """[B, K]; the least number of the type where a class is no candidate."""
        parts = [self.weights[name] * found for name, found in self.relevance(features).items()]
        if self.learned:
            mapped = self.head({name: features[name].mean(1) for name in self.streams})
            parts.append(F.normalize(mapped, dim=-1) @ self.anchors.T * self.log_scale.exp())
        return between(torch.stack(parts).sum(0), batch)

    def relevance(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Log relevance of every class by stream, [B, K], from what the encoders' own classifiers find."""
        parts = zip(self._knowing.encoders.items(), self._knowing.split(self.near), strict=True)
        return {
            name: relevance(encoder.scores(features[name]).mean(1), near)  # mean over segments
            for (name, encoder), near in parts
        }


def between(logits: Tensor, batch: Batch) -> Tensor:
    """Logits [B, K] or [B, T, K]; the least number of the type where a class is no candidate of a sample."""
    candidates = batch.conditions.get("candidates")
    if candidates is None:
        return logits
    among = candidates.to(torch.bool).reshape(len(candidates), *[1] * (logits.ndim - 2), -1)
    return logits.masked_fill(~among, torch.finfo(logits.dtype).min)


def name_vectors(
    text: TextEncoder, classes: Sequence[str], *, control: Literal["class", "shuffled", "random"], seed: int
) -> Tensor:
    """Vectors of class names [K, d], or what a control has in their place: other names' vectors, or drawn ones."""
    vectors = embedded(text, [name.replace("_", " ") for name in classes])
    generator = torch.Generator().manual_seed(seed)
    if control == "random":
        return F.normalize(torch.randn(vectors.shape, generator=generator), dim=-1)
    if control == "shuffled":
        order = torch.randperm(len(vectors), generator=generator)  # a ring, in which no class follows itself
        others = torch.empty_like(vectors)
        others[order] = vectors[order.roll(1)]
        return others
    return vectors
