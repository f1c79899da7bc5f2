"""Batch norm over the batch of all processes, on any device: PyTorch's SyncBatchNorm runs on accelerators alone.

Where one process trains, and in evaluation, this is `nn.BatchNorm1d`, operation for operation.
"""

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce


class BatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` whose statistics in training are those of every process's rows together."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C] or [N, C, L] -> the same shape."""
        several = distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
        if not (self.training and several):
            return super().forward(input)
        other = (0, 2) if input.ndim == 3 else (0,)
        size = torch.tensor(input.numel() / input.shape[1], device=input.device)
        total = all_reduce(torch.cat([input.sum(other), size[None]]))
        count, mean = total[-1], _as(input, total[:-1] / total[-1])
        variance = all_reduce((input - mean).square().sum(other)) / count
        with torch.no_grad():
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scaled = (input - mean) * _as(input, (variance + self.eps).rsqrt())
        return scaled * _as(input, self.weight) + _as(input, self.bias) if self.affine else scaled


def _as(input: Tensor, channels: Tensor) -> Tensor:
    """[C] in the shape that broadcasts over the input."""
    return channels.view(1, -1, *[1] * (input.ndim - 2))
