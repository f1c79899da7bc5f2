"""OLoRA (Bueyuekakyuez 2024, arXiv 2406.01775): a LoRA that starts at orthonormal columns of the weight.

    y = W x + s (B A - B0 A0) x       W = Q R;  B0 = Q's first r columns, A0 = R's first r rows;  B = B0, A = A0

As with `zoo.methods.pissa`, the weight stays as it is. The product B0 A0 does not depend on the signs of Q and R.
"""

import torch
from torch import Tensor

from zoo.methods.pissa import PiSSA


class OLoRA(PiSSA):
    """Low-rank updates of linear layers that start at a QR decomposition of their weights; arguments as PiSSA's."""

    name = "olora"

    def start(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """B0 [outputs, r] and A0 [r, inputs] of a weight [outputs, inputs], float64."""
        q, r = torch.linalg.qr(weight)
        return q[:, : self.rank], r[: self.rank]
