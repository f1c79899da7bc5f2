"""How a network lays out what travels between its blocks, and the same as tokens [N, L, D] in reading order."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Of one tensor; the number of samples stays free.

    Attributes:
        form: "NLC" of tokens, "NCHW" or "NHWC" of a map.
        shape: without the first dimension.
        order: dimensions from the slowest to the fastest in memory. Kernels round by it, so that a step repeats the
            network's own numbers only where its input lies as it does there.
    """

    form: Literal["NLC", "NCHW", "NHWC"]
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def width(self) -> int:
        """Channels D."""
        return self.shape[0] if self.form == "NCHW" else self.shape[-1]

    def tokens(self, values: Tensor) -> Tensor:
        """In this layout -> [N, L, D], rows of a map one after the other."""
        if self.form == "NLC":
            return values
        return values.flatten(1, 2) if self.form == "NHWC" else values.flatten(2).transpose(1, 2)

    def restored(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> in this layout, in memory as well."""
        values = tokens
        if self.form == "NHWC":
            values = tokens.unflatten(1, self.shape[:2])
        elif self.form == "NCHW":
            values = tokens.transpose(1, 2).unflatten(2, self.shape[1:])
        back = sorted(range(values.ndim), key=self.order.__getitem__)
        return values.permute(self.order).contiguous().permute(back)


def layout_of(values: object) -> Layout | None:
    """The layout of a tensor, as the network has it at this place; None where it is no tokens and no square map.

    Args:
        values: floating point [N, L, D], [N, D, S, S] or [N, S, S, D].
    """
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.ndim not in (3, 4):
        return None
    shape, strides = tuple(values.shape[1:]), values.stride()
    order = (0, *sorted(range(1, values.ndim), key=lambda i: (-strides[i], i)))
    if values.ndim == 3:
        return Layout("NLC", shape, order)
    if shape[1] == shape[2]:  # also where all three are equal: most maps are of this form
        return Layout("NCHW", shape, order)
    return Layout("NHWC", shape, order) if shape[0] == shape[1] else None
