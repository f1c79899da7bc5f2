"""Stores the familiarity statistics beside an adapter's trained tensors: see `zoo.ops.familiarity`."""

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from zoo.adapter.directory import FAMILIARITY
from zoo.ops.familiarity import Familiarity, widths
from zoo.pairing import Pairing


def learnt(pairing: Pairing) -> dict[str, Tensor]:
    """A pairing's familiarity statistics as an adapter stores them."""
    state = {} if pairing.familiarity is None else pairing.familiarity.state_dict()
    return {f"{FAMILIARITY}{name}": tensor.cpu().contiguous() for name, tensor in state.items()}


def recall(pairing: Pairing, file: Path) -> None:
    """Give a pairing what its adapter's tensors hold of it, if anything.

    Raises:
        ValueError: naming the tensor that does not fit.
    """
    with safe_open(file, framework="pt") as tensors:
        names = [name for name in tensors.keys() if name.startswith(FAMILIARITY)]  # noqa: SIM118 - not a dictionary
        state = {name.removeprefix(FAMILIARITY): tensors.get_tensor(name) for name in names}
    pairing.familiarity = Familiarity.of(state, widths(pairing)) if state else None
