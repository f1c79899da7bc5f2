"""A backbone from what a user of the Python interface has at hand: one of the zoo's, a model of timm, or a name."""

from torch import nn

from zoo.backbones.base import Backbone
from zoo.errors import SettingError, require_packages

TIMM = "timm:"


def backbone_of(thing: object, *, where: str = "backbone") -> Backbone:
    """Make a frozen backbone of it; timm is imported only where the thing is timm's.

    Args:
        thing: a `Backbone`, as it is; a model of timm, which is frozen and loses its classifier; or `timm:NAME`, with
            NAME's pretrained weights.
        where: what an error calls it.

    Raises:
        SettingError: anything else, an unknown name, or a model that is no chain of blocks.
        WeightsError: weights that cannot be had.
        UserError: timm is not installed.
    """
    if isinstance(thing, Backbone):
        return thing
    named = isinstance(thing, str) and thing.startswith(TIMM)
    if not named and not (isinstance(thing, nn.Module) and hasattr(thing, "forward_features")):
        given = repr(thing) if isinstance(thing, str) else type(thing).__name__
        raise SettingError(f"{where}: expected a Backbone, a model of timm, or 'timm:NAME', got {given}")
    require_packages(where, "timm")
    from zoo.backbones.timm_encoder import TimmEncoder

    if isinstance(thing, str):
        return TimmEncoder(model=thing.removeprefix(TIMM), source=thing)
    assert isinstance(thing, nn.Module)
    return TimmEncoder.of(thing)
