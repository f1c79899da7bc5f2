"""Which test samples a picture of a run shows."""

import numpy as np
from numpy.typing import NDArray


def telling(classes: NDArray[np.int64], wrong: NDArray[np.int64], number: int) -> list[int]:
    """Up to `number` samples to show: mistakes first, up to a third, then the first other one of every class.

    Args:
        classes: of the samples, [N].
        wrong: the mistakes, those to show first in front.
        number: of samples to show; where classes are fewer, the next ones in data order fill up.
    """
    chosen = wrong[: number // 3].tolist()
    mistaken = set(wrong.tolist())
    right = [i for i in range(len(classes)) if i not in mistaken]
    firsts = {int(classes[i]): i for i in reversed(right)}
    order = dict.fromkeys([*chosen, *sorted(firsts.values()), *right, *wrong.tolist()])
    return list(order)[:number]


def of_different_classes(truth: NDArray[np.int64], background: int) -> list[int]:
    """The first clip of each class whose event neither fills the clip nor is absent, in data order."""
    share = (truth != background).mean(1)
    chosen: dict[int, int] = {}
    for index in np.flatnonzero((share > 0) & (share < 1)):
        chosen.setdefault(int(truth[index][truth[index] != background][0]), int(index))
    return sorted(chosen.values())
