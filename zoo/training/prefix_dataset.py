"""Samples to batches, by way of the prefix cache."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from zoo.backbones.base import Backbone, tap
from zoo.batch import Batch, GroundScale, SampleSet, stack
from zoo.methods.ground import seen
from zoo.prefix import PrefixCache


class PrefixDataset(Dataset[Batch]):
    """Samples to batches: asks the cache first, and decodes and transforms only when it must.

    Batches are formed here (`__getitems__`) because a batch is either all cached tokens or all inputs.
    """

    def __init__(
        self,
        samples: SampleSet[Any],
        backbones: Mapping[str, Backbone],
        depths: Mapping[str, int | None],
        cache: PrefixCache | None,
        ground: GroundScale | None = None,
        taps: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.samples, self.cache, self.taps = samples, cache, dict(taps or {})
        self.backbones, self.ground = [backbones[name] for name in depths], ground
        self.depths = dict(depths)
        self.transforms = {name: backbones[name].transform for name in depths}
        self.collates = {name: backbones[name].collate for name in depths}
        self.fingerprints = {name: backbones[name].fingerprint for name in depths}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """A batch of samples."""
        batch = Batch(
            ids=[self.samples.id(i) for i in indices],
            inputs={},
            target=stack([self.samples.target(i) for i in indices]),
            keys=[self.samples.key(i) for i in indices],
            conditions=stack([self._conditions(i) for i in indices]),
            questions=[question for i in indices if (question := self.samples.question(i)) is not None],
        )
        if self.cache is not None and (cached := self._cached(batch.keys)) is not None:
            return replace(batch, prefix=cached[0], origins=cached[1])
        samples = [self.samples[i] for i in indices]
        inputs = {
            name: self.collates[name]([transform(sample) for sample in samples])
            for name, transform in self.transforms.items()
        }
        return replace(batch, inputs=inputs)

    def cached(self) -> int:
        """Number of samples whose prefixes are all cached."""
        cache = self.cache
        if cache is None:
            return 0
        keys = (self.samples.key(i) for i in range(len(self)))
        return sum(all(cache.path(self._key(cache, name, key)).exists() for name in self.depths) for key in keys)

    def _key(self, cache: PrefixCache, name: str, sample: str) -> str:
        """Of a stream's entry of a sample."""
        return cache.key(self.fingerprints[name], self.depths[name], sample, self.taps.get(name, ()))

    def _conditions(self, index: int) -> dict[str, Tensor]:
        """Side inputs of a sample; the GSD as the method takes it, where it takes one."""
        conditions = self.samples.conditions(index)
        if self.ground is None:
            return conditions
        return seen(conditions, self.samples.picture_size(index), self.backbones, self.ground)

    def _cached(self, keys: Sequence[str]) -> tuple[dict[str, Tensor], list[str]] | None:
        """Tokens of every stream, and what computed them; None unless all are there."""
        assert self.cache is not None
        rows: list[dict[str, Tensor]] = []
        origins: set[str] = set()
        for sample in keys:
            row: dict[str, Tensor] = {}
            for name in self.depths:
                found = self.cache.entry(self._key(self.cache, name, sample))
                if found is None:
                    return None
                row[name] = found.tokens
                row |= {tap(name, after): tokens for after, tokens in found.taps.items()}
                origins.add(found.origin)
            rows.append(row)
        return stack(rows), sorted(origins)


def whole(batch: Any) -> Any:
    """Collate function: `PrefixDataset` has already made the batch."""
    return batch
