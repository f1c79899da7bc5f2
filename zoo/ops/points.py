"""Farthest point sampling, neighbours, gathering and interpolation on batches of point clouds [B, N, 3].

Sources: the kernels of `pointnet2_ops` and PointNet++ (Qi et al., NeurIPS 2017). What differs: the official sampling
kernel skips points within sqrt(1e-3) of the origin, breaks ties by thread, and repeats the first index once all
distinct points are taken; ours skips none, and takes the lowest index and none twice. Distances are float32 sums of
squared differences, never a matrix product, which would lose the small ones; and interpolation weighs by them as
`Pointnet_Pointnet2_pytorch` does, while `pointnet2_ops` weighs by their roots.
"""

import importlib.util

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Farthest point sampling: [B, N, 3] -> int64 indices [B, count], the first of which is 0.

    Each next index is the point farthest from those chosen; the lowest one of equals. None is chosen twice: where every
    distinct point is taken, copies follow in their order.

    Raises:
        ValueError: another shape, or `count` outside 1 to N.
    """
    _check_clouds("points", points)
    _check_count("count", count, points)
    points = points.detach().float()
    # A graph that is exported can hold torch's operations alone.
    if points.device.type == "cpu" and not torch.compiler.is_exporting():
        return torch.from_numpy(_farthest_cpu(points.mT.contiguous().numpy(), count))
    if points.device.type == "cuda" and not torch.compiler.is_exporting() and importlib.util.find_spec("triton"):
        from zoo.ops import points_triton

        if points.shape[1] <= points_triton.LARGEST:
            return points_triton.farthest(points, count)
    return _farthest_loop(points, count)


def nearest(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k points nearest to each query, ascending.

    The order among equal distances is torch's and may differ between devices. No gradient flows.

    Args:
        points: [B, N, 3].
        queries: [B, M, 3].
        k: from 1 to N.

    Returns:
        float32 squared distances [B, M, k] and int64 indices [B, M, k] into `points`.

    Raises:
        ValueError: another shape, other batch sizes, or `k` outside 1 to N.
    """
    _check_clouds("points", points)
    _check_clouds("queries", queries)
    _check_batch("queries", queries, "points", points)
    _check_count("k", k, points)
    distances, indices = _squared(points.detach().float(), queries.detach().float()).topk(k, largest=False)
    return distances, indices


def gather(values: Tensor, indices: Tensor) -> Tensor:
    """Pick rows of each sample: [B, N, C] at indices [B, ...] -> [B, ..., C].

    Raises:
        ValueError: `values` of another rank or another batch size.
    """
    if values.ndim != 3:
        raise ValueError(f"values must be [B, N, C], got {list(values.shape)}")
    _check_batch("indices", indices, "values", values)
    # Not `len`, which would fix the batch size of an exported graph.
    rows = torch.arange(values.shape[0], device=values.device).view(-1, *[1] * (indices.ndim - 1))
    return values[rows, indices]


def interpolate(points: Tensor, centres: Tensor, values: Tensor) -> Tensor:
    """Spread the centres' values over all points, as PointNet++'s feature propagation does.

    A point takes the mean of its three nearest centres (of all if there are fewer), weighted by
    1 / (squared distance + 1e-8). The gradient flows to `values` alone.

    Args:
        points: [B, N, 3].
        centres: [B, G, 3].
        values: [B, G, C].

    Returns:
        [B, N, C] of the dtype of `values`.

    Raises:
        ValueError: another shape, other batch sizes, or no centre at all.
    """
    _check_clouds("centres", centres)
    if values.shape[:-1] != centres.shape[:-1]:
        raise ValueError(
            f"values must be [B, G, C] for centres {list(centres.shape)}, got {list(values.shape)}: one row per centre"
        )
    distances, indices = nearest(centres, points, min(3, centres.shape[1]))
    weights = 1 / (distances + 1e-8)
    weights = (weights / weights.sum(-1, keepdim=True)).to(values.dtype)
    # A weighted bag of embeddings never holds the three picked rows of each point [B, N, 3, C].
    first = centres.shape[1] * torch.arange(centres.shape[0], device=centres.device)[:, None, None]
    spread = F.embedding_bag(
        (indices + first).flatten(0, 1), values.flatten(0, 1), mode="sum", per_sample_weights=weights.flatten(0, 1)
    )
    return spread.view(*points.shape[:2], values.shape[2])


def _squared(points: Tensor, queries: Tensor) -> Tensor:
    """Squared distances of [B, N, 3] to [B, M, 3]: [B, M, N], added in the order x, y, z of the CPU kernel."""
    squared: Tensor = torch.zeros((), device=points.device)
    for axis in range(3):
        squared = squared + (queries[..., axis, None] - points[:, None, :, axis]).square_()
    return squared


def _farthest_loop(points: Tensor, count: int) -> Tensor:
    """Of other devices, larger clouds and exported graphs: the same indices, a dozen operations each."""
    # One axis after the other, as the CPU kernel does; and an exported graph repeats every operation `count` times.
    axes = points.unbind(-1)
    last = torch.zeros(points.shape[0], 1, dtype=torch.int64, device=points.device)
    chosen, distances = [last], torch.full(points.shape[:2], torch.inf, device=points.device)
    while len(chosen) < count:
        x, y, z = ((axis - axis.gather(1, last)).square() for axis in axes)
        distances = torch.minimum(distances, x + y + z).scatter(1, last, -1.0)  # never again
        last = distances.argmax(1, keepdim=True)  # the first of equals
        chosen.append(last)
    return torch.cat(chosen, dim=1)


# No fast-math: it reorders sums, and indices would depend on the processor.
@njit(cache=True, nogil=True, fastmath=False)
def _farthest_cpu(clouds: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices [B, count] of clouds [B, 3, N]: one axis after the other, so that the first inner loop is vectorised."""
    batch, _, size = clouds.shape
    chosen = np.zeros((batch, count), np.int64)
    distances = np.empty(size, np.float32)
    for sample in range(batch):
        x, y, z = clouds[sample, 0], clouds[sample, 1], clouds[sample, 2]
        distances[:] = np.inf
        last = 0
        for step in range(1, count):
            last_x, last_y, last_z = x[last], y[last], z[last]
            for i in range(size):
                dx, dy, dz = x[i] - last_x, y[i] - last_y, z[i] - last_z
                squared = dx * dx + dy * dy + dz * dz
                distances[i] = squared if squared < distances[i] else distances[i]
            distances[last] = -1  # never again
            last = 0
            for i in range(1, size):
                if distances[i] > distances[last]:
                    last = i
            chosen[sample, step] = last
    return chosen


def _check_clouds(name: str, clouds: Tensor) -> None:
    if clouds.ndim != 3 or clouds.shape[-1] != 3:
        raise ValueError(f"{name} must be [B, N, 3], got {list(clouds.shape)}")


def _check_batch(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape[:1] != other.shape[:1]:
        raise ValueError(
            f"{name} {list(tensor.shape)} and {other_name} {list(other.shape)} must have the same batch size"
        )


def _check_count(name: str, count: int, points: Tensor) -> None:
    if not 1 <= count <= points.shape[1]:
        raise ValueError(f"{name} must be from 1 to the {points.shape[1]} points of {list(points.shape)}, got {count}")
