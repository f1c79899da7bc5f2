"""Calibrated distance of a sample's frozen features from those of an adapter's training data.

Mean and deviation over a sample's tokens after the frozen prefix, which a method cannot change, are told apart from the
training split's by the Mahalanobis distance under probabilistic PCA (Tipping & Bishop 1999): a few directions have
variances of their own, all others share one. With v_i, lambda_i the leading directions and variances, rho the rest's:

    d^2 = sum_i (v_i (x - mean))^2 / lambda_i + |x - mean - sum_i v_i v_i (x - mean)|^2 / rho

one d a stream, so that a clip whose sound alone is foreign is noticed. A limit a stream is set on the validation split;
the result is the largest d / limit, above 1 for a sample unlike training. Lee et al. 2018 (arXiv 1807.03888) use
classes' means and a full covariance of trained features; ours is of frozen ones, without labels, and small.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from zoo.pairing import Pairing

DIRECTIONS = 32

SHARE, CONFIDENCE = 0.05, 0.9
"""With this confidence, at most this share of samples like those of the validation split lies above a limit."""

LEAST, MOST = 19, 2000
"""Validation samples without which there is no limit: it would be passed by more than one in twenty. Samples of a split
that are looked at."""

SMALL, TINY = 1e-4, 1e-12
"""Smallest variance of a direction as a share of the mean variance; below it a distance is rounding error."""

UNLIKE = "unlike what this adapter was trained on, as far as frozen features tell: its answer may mean nothing"


class Stream(nn.Module):
    """Distance of one stream's features to their normal distribution in training.

    Args:
        mean: [F].
        directions: v_i, float16 [k, F].
        variances: lambda_i in units of the squared limit, [k].
        rest: rho, likewise, [].
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, mean: Tensor, directions: Tensor, variances: Tensor, rest: Tensor) -> None:
        super().__init__()
        for name, tensor in (("mean", mean), ("directions", directions), ("variances", variances), ("rest", rest)):
            self.register_buffer(name, tensor)

    @classmethod
    def fitted(cls, features: Tensor) -> Self:
        """Probabilistic PCA of [N, F], as if the limit were 1."""
        size, width = features.shape
        mean = features.double().mean(0)
        _, values, directions = torch.linalg.svd(features.double() - mean, full_matrices=False)
        variances = values.square() / (size - 1)
        kept = min(DIRECTIONS, size - 2, width - 1)
        rest = (variances[kept:].sum() / (width - kept)).clamp(min=SMALL * float(variances.mean()) + TINY)
        along = variances[:kept].maximum(rest)
        return cls(mean.float(), directions[:kept].half(), along.float(), rest.float())

    def limit(self, distance: float) -> None:
        """Let this distance be 1."""
        self.variances.mul_(distance**2)
        self.rest.mul_(distance**2)

    def forward(self, features: Tensor) -> Tensor:
        """[B, F] -> distances in limits, [B]."""
        off = features - self.mean
        directions = self.directions.to(off)
        along = off @ directions.T
        # Not |off|^2 - |along|^2: directions that are rounded to float16 would show in it a thousand times as much.
        across = (off - along @ directions).square().sum(-1)
        return ((along.square() / self.variances).sum(-1) + across / self.rest).sqrt()


class Familiarity(nn.ModuleDict):
    """Distance of samples to a training split, 1 at its limit: a `Stream` for each."""

    def forward(self, tokens: Mapping[str, Any]) -> Tensor:
        """Tokens after the prefix {stream: [B, T, L, D]} -> largest distance over the streams, in limits, [B]."""
        return self.distances({name: described(tokens[name]) for name in self}).amax(0)

    def distances(self, features: Mapping[str, Tensor]) -> Tensor:
        """Described samples {stream: [B, F]} -> distances in limits [streams, B]."""
        return torch.stack([stream(features[name]) for name, stream in self._each().items()])

    def _each(self) -> dict[str, Stream]:
        return cast(dict[str, Stream], dict(self.items()))

    @classmethod
    def fitted(cls, train: Mapping[str, Tensor], val: Mapping[str, Tensor]) -> Self | None:
        """Fit on descriptors of both splits {stream: [N, F]}; None if they are too few to set a limit."""
        if not train or min(len(features) for part in (train, val) for features in part.values()) < LEAST:
            return None
        made = cls({name: Stream.fitted(features) for name, features in train.items()})
        for stream, distances in zip(made._each().values(), made.distances(val), strict=True):
            stream.limit(limit(distances))
        together = limit(made.distances(val).amax(0))
        for stream in made._each().values():
            stream.limit(together)
        return made

    @classmethod
    def of(cls, state: Mapping[str, Tensor], widths: Mapping[str, int]) -> Self:
        """Restore from the tensors of `state_dict`, named `STREAM.PART`.

        Args:
            state: the tensors.
            widths: F of every stream.

        Raises:
            ValueError: naming a tensor that is missing, unexpected, of another shape, or no number.
        """
        made = cls()
        for name, width in widths.items():
            kept = len(state.get(f"{name}.variances", torch.zeros(0)).reshape(-1))
            empty = torch.zeros(width), torch.zeros(kept, width).half(), torch.ones(kept), torch.ones(())
            made[name] = Stream(*empty)
        expected = {name: tensor.shape for name, tensor in made.state_dict().items()}
        found = {name: tensor.shape for name, tensor in state.items()}
        damaged = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                shapes = [list(shape) if (shape := side.get(name)) is not None else None for side in (found, expected)]
                raise ValueError(f"familiarity.{name} has shape {shapes[0]}, expected {shapes[1]}")
        made.load_state_dict(dict(state))
        read = made._each().values()
        if damaged or any(bool((s.variances <= 0).any() or s.rest <= 0) for s in read):
            raise ValueError(f"familiarity.{(damaged or ['*'])[0]}: expected numbers, and variances above 0")
        return made


def described(tokens: Tensor) -> Tensor:
    """Tokens [B, T, L, D] -> mean and deviation over all of a sample's, float32 [B, 2 D]."""
    every = tokens.float().flatten(1, 2)
    return torch.cat([every.mean(1), every.std(1, correction=0)], dim=-1)


def limit(distances: Tensor) -> float:
    """The smallest of these distances [N] above which, with `CONFIDENCE`, no more than `SHARE` of further ones lie.

    With r - 1 distances above it, the share beyond it is Beta(r, N - r + 1) distributed (Wilks 1941). The largest,
    where N is below 45 and no distance gives that confidence.
    """
    size, above, probability = len(distances), 0, 0.0
    for count in range(size):
        ways = math.lgamma(size + 1) - math.lgamma(count + 1) - math.lgamma(size - count + 1)
        probability += math.exp(ways + count * math.log(SHARE) + (size - count) * math.log1p(-SHARE))
        if probability > 1 - CONFIDENCE:
            break
        above = count
    return float(distances.sort(descending=True).values[above])


def widths(pairing: "Pairing") -> dict[str, int]:
    """F of every stream of a pairing whose prefix is tokens of one shape."""
    depths = {name: depth for name, depth in pairing.depths.items() if depth is not None}
    return {name: 2 * pairing.backbones[name].dims[depth] for name, depth in depths.items()}
