"""An optimizer of a user's own."""

import torch


class Slow(torch.optim.SGD):
    """Gradient descent at a tenth of the rate."""

    def __init__(self, params, lr, *, momentum: float = 0.0) -> None:
        super().__init__(params, lr / 10, momentum)
