"""The required object category of a cloud with labelled parts, by name or number."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.errors import DataError


def category_condition(points: NDArray[np.float32], category: int) -> dict[str, Tensor]:
    """The condition `category` of a cloud [N, 3]."""
    return {"category": torch.tensor(category), "points": torch.from_numpy(points)}


def require_category(name: str, categories: Sequence[str]) -> int:
    """Place of a category among all.

    Raises:
        DataError: it is none of them.
    """
    if name not in categories:
        raise DataError(f"category={name}: expected the object's category, one of {', '.join(categories)}")
    return categories.index(name)
