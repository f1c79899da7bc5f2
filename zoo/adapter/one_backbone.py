"""One copy in memory of the frozen tensors that several pairings are built on.

Every pairing keeps modules of its own, so that whatever its method does to them (hooks, wrapped layers,
parametrisations, adapters between the blocks) acts in that pairing alone, and methods of all kinds stand beside each
other. What they share is the memory: each frozen parameter and buffer is one tensor.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoo.backbones.base import Backbone
from zoo.errors import SettingError
from zoo.methods.deltas import plain_names
from zoo.pairing import Pairing


def share(pairing: Pairing, held: Mapping[str, Backbone], *, name: str, others: str) -> None:
    """Let a pairing's backbones take their frozen tensors from those that are held; its own are freed.

    Args:
        pairing: its values do not change.
        held: backbones by stream.
        name: of the pairing, for messages.
        others: what they are that hold the backbones, for messages.

    Raises:
        SettingError: a backbone is another one than is held, or none is the same; nothing is changed then.
    """
    common = [stream for stream in pairing.backbones if stream in held]
    if not common:
        raise SettingError(
            f"{name} has the backbones {', '.join(pairing.backbones)}, and {others} {', '.join(held)}: there is "
            "nothing to share; load it by itself"
        )
    for stream in common:
        if part := unlike(pairing.backbones[stream], held[stream]):
            now, then = (getattr(each.fingerprint, part)[:12] for each in (pairing.backbones[stream], held[stream]))
            raise SettingError(
                f"{name}: its {stream} backbone has other {part} than that of {others} ({now}, there {then}); "
                "adapters share one frozen backbone only where it is the same, so load it by itself"
            )
    give(pairing, held)


def give(pairing: Pairing, held: Mapping[str, Backbone]) -> None:
    """Put the frozen tensors of the backbones that are held in the place of a pairing's own, which are the same."""
    for stream in [stream for stream in pairing.backbones if stream in held]:
        theirs = slots(held[stream])
        for plain, (module, own) in slots(pairing.backbones[stream]).items():
            kept = module._parameters if own in module._parameters else module._buffers
            kept[own] = _tensor(theirs[plain])  # type: ignore[assignment]


def unlike(one: Backbone, other: Backbone) -> str:
    """What of a frozen backbone is not as of the other one: `settings` or `weights`; "" where it is the same.

    The tensors themselves are compared, since fingerprints of one backbone differ between formats of adapters.
    """
    a, b = one.fingerprint, other.fingerprint
    if a.settings != b.settings or (not a.settings and a != b):  # format 1 has one hash of both
        return "settings"
    mine, theirs = slots(one), slots(other)
    same = mine.keys() == theirs.keys() and all(_equal(_tensor(mine[k]), _tensor(theirs[k])) for k in mine)
    return "" if same else "weights"


Slot = tuple[nn.Module, str]
"""Where a tensor is kept: the module, and its name there."""


def slots(backbone: Backbone) -> dict[str, Slot]:
    """Where the frozen tensors are kept, by the names that they have where no method is attached."""
    every = [*backbone.named_parameters(remove_duplicate=False), *backbone.named_buffers(remove_duplicate=False)]
    found = {}
    for key, plain in plain_names(backbone, [key for key, _ in every]).items():
        path, _, own = key.rpartition(".")
        found[plain] = backbone.get_submodule(path), own
    return found


def _tensor(slot: Slot) -> Tensor:
    module, name = slot
    found = module._parameters[name] if name in module._parameters else module._buffers[name]
    assert found is not None
    return found


def _equal(one: Tensor, other: Tensor) -> bool:
    if one is other:
        return True
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other.to(one.device))
