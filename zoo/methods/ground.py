"""The condition `gsd`: from the ground sampling distance of a picture's pixels to that of what the encoder sees, and
back to what an answer says of it."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from zoo.backbones.base import Backbone
from zoo.batch import GroundScale, Picture

if TYPE_CHECKING:
    from zoo.pairing import Pairing

GSD = "gsd"

CLOSE = 1e-6


def measure_in(pairing: "Pairing", ground: GroundScale) -> None:
    """Let a pairing take ground sampling distances so, if its method takes any."""
    pairing.ground = pairing.method.ground = replace(ground, used=GSD in pairing.method.conditions)


def times(size: tuple[int, int] | None, backbones: Iterable[Backbone], ground: GroundScale) -> float:
    """Factor on the GSD of a picture of this height and width; 1 for other samples."""
    if size is None:
        return 1.0
    found = (backbone.coarsens(*size, ground.side) for backbone in backbones)
    return next((factor for factor in found if factor is not None), 1.0)


def seen(
    conditions: dict[str, Tensor], size: tuple[int, int] | None, backbones: Iterable[Backbone], ground: GroundScale
) -> dict[str, Tensor]:
    """Side inputs of a sample as a method takes them."""
    factor = times(size, backbones, ground)
    if GSD not in conditions or abs(factor - 1) < CLOSE:
        return conditions
    return {**conditions, GSD: conditions[GSD] * factor}


def told_to(pairing: "Pairing", sample: Any) -> dict[str, Tensor]:
    """Side inputs of a decoded sample as the pairing's method takes them."""
    conditions: dict[str, Tensor] = getattr(sample, "conditions", {})
    if GSD not in pairing.method.conditions:
        return conditions
    return seen(conditions, _size(sample), _looking(pairing), pairing.ground)


def remarks(pairing: "Pairing", sample: Any, observed: Mapping[str, Tensor]) -> dict[str, Any]:
    """Entries of a record about the GSD: of the sample's own pixels, its unit and its source.

    Args:
        pairing: that answered.
        sample: about which.
        observed: what the method shows of it alone.
    """
    found = pairing.method.remarks(observed)
    if GSD not in found:
        return found
    factor = times(_size(sample), _looking(pairing), pairing.ground)
    found = {GSD: _rounded(found.pop(GSD) / factor), "gsd_unit": pairing.ground.unit, **found}
    if found["gsd_from"] == "told" and isinstance(sample, Picture):
        found["gsd_from"] = sample.origin
    if estimate := found.get("gsd_estimate"):
        found["gsd_estimate"] = {end: _rounded(value / factor) for end, value in estimate.items()}
    return found


def unseen(pairing: "Pairing", sample: Any) -> list[str]:
    """Sentences about the parts of a picture or clip that the encoders do not see."""
    if not hasattr(sample, "frames"):
        return []
    height, width = sample.frames.shape[1:3]
    return list(dict.fromkeys(note for one in _looking(pairing) for note in one.unseen(height, width)))


def _size(sample: Any) -> tuple[int, int] | None:
    return sample.images[0].shape[:2] if isinstance(sample, Picture) else None


def _looking(pairing: "Pairing") -> list[Backbone]:
    return [pairing.backbones[name] for name in pairing.depths]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
