"""Wilson's score interval (JASA 22, 1927) of a share: it holds for few samples, and for shares of 0 and 1."""

import math


def wilson(share: float, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a share of n independent samples; 95 % by default."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
