"""Samples of one batch, each predicted by an adapter of its own, on frozen tokens that are computed for all at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.backbones.base import tap
from zoo.batch import Batch
from zoo.inference.predictor import predict_batch
from zoo.pairing import Pairing
from zoo.tasks.results import Prediction


def predict_routed(pairings: Mapping[str, Pairing], samples: Sequence[Any], names: Sequence[str]) -> list[Prediction]:
    """Predict decoded samples, each by the pairing that is named for it.

    What a sample is told is what its pairing says of it alone, up to rounding by the size of a batch. The blocks that
    are frozen in all pairings are computed once, for all samples, and once of samples that are the same.

    Args:
        pairings: on the same frozen backbones.
        samples: N.
        names: N, of pairings.

    Raises:
        SettingError: a required question or its choices are missing.
    """
    rows = {name: [k for k, each in enumerate(names) if each == name] for name in dict.fromkeys(names)}
    prepared = {name: [pairings[name].prepare(samples[k]) for k in own] for name, own in rows.items()}
    # Pictures to segment are cut into squares, which are batches of their own.
    whole = {name: pairings[name].batch(own) for name, own in prepared.items() if own[0].kind != "masks"}
    prefixes = shared_prefixes({name: pairings[name] for name in whole}, whole)
    found: dict[int, Prediction] = {}
    for name, own in rows.items():
        batch = replace(whole[name], prefix=prefixes[name]) if name in whole else None
        found |= zip(own, predict_batch(pairings[name], prepared[name], batch=batch), strict=True)
    return [found[k] for k in range(len(samples))]


@torch.no_grad()
def shared_prefixes(pairings: Mapping[str, Pairing], batches: Mapping[str, Batch]) -> dict[str, dict[str, Tensor]]:
    """What `Pairing.prefix` gives of every batch, where the same blocks on the same inputs run once."""
    found: dict[str, dict[str, Tensor]] = {name: {} for name in pairings}
    for stream in dict.fromkeys(stream for pairing in pairings.values() for stream in pairing.depths):
        depths = {name: pairing.depths[stream] for name, pairing in pairings.items() if stream in pairing.depths}
        groups: dict[torch.Size, dict[str, int]] = {}  # that can stand in one tensor: clips differ in length
        for name, depth in depths.items():
            if depth is None:
                found[name][stream] = batches[name].inputs[stream]
            else:
                groups.setdefault(batches[name].inputs[stream].shape[1:], {})[name] = depth
        for together in groups.values():
            for name, tokens in _frozen(stream, pairings, batches, together).items():
                found[name] |= tokens
    return found


def _frozen(
    stream: str, pairings: Mapping[str, Pairing], batches: Mapping[str, Batch], depths: Mapping[str, int]
) -> dict[str, dict[str, Tensor]]:
    """Prefixes of one stream, {pairing: {stream or stream@after: [B, T, L, D]}}."""
    common = min(depths.values())
    unique, places = _distinct([row for name in depths for row in batches[name].inputs[stream]])
    taps = {name: pairings[name].taps(stream) for name in depths}
    first = sorted({after for own in taps.values() for after in own if after < common} | {common})
    tokens = dict(zip(first, pairings[next(iter(depths))].through(stream, unique, first), strict=True))
    found, start = {}, 0
    for name, depth in depths.items():
        own = places[start : start + len(batches[name].inputs[stream])]
        start += len(own)
        kept = {after: each[own] for after, each in tokens.items()}
        later = sorted({after for after in taps[name] if after > common} | ({depth} - {common}))
        kept |= zip(later, pairings[name].through(stream, kept[common], later, start=common), strict=True)
        found[name] = {stream: kept[depth], **{tap(stream, after): kept[after] for after in taps[name]}}
    return found


def _distinct(rows: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """The different rows as one tensor, and for every row its place there."""
    unique: list[Tensor] = []
    places = []
    for row in rows:
        place = next((k for k, other in enumerate(unique) if torch.equal(row, other)), len(unique))
        unique += [row] if place == len(unique) else []
        places.append(place)
    return torch.stack(unique), places
