"""Collective operations of a distributed run: gather validation predictions, and shard weights under `fsdp`.

Every process takes its rows of the training and validation splits (`data_modules.base`). A metric is rarely a mean
over processes, so predictions are gathered and every process computes the metrics of the whole split, each sample
once; all then agree on the best checkpoint. Under `fsdp` (PyTorch's fully_shard, for Lightning's own FSDP runs on GPUs
alone) a process holds its share of every tensor, and gathers a block's weights while the block runs.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from zoo.backbones.base import Backbone
from zoo.batch import Batch
from zoo.errors import UserError

Item = TypeVar("Item")

Counted = tuple[dict[str, Tensor], Batch]
"""Predictions of a batch, and the batch with its targets."""


def is_distributed() -> bool:
    """Whether the run has several processes."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def is_further_rank() -> bool:
    """Whether this process is not rank 0."""
    return is_distributed() and distributed.get_rank() > 0


class LostProcessError(UserError):
    """Another process of this run has stopped."""


LOST = re.compile("closed by peer|reset by peer|broken pipe|connection refused|connection closed", re.IGNORECASE)


@contextlib.contextmanager
def guard_lost_rank() -> Iterator[None]:
    """Turn a collective's error about a lost process into one line; the cause is in that process's own output.

    Raises:
        LostProcessError: another process has stopped.
    """
    try:
        yield
    except RuntimeError as error:
        if not (is_distributed() and (isinstance(error, distributed.DistError) or LOST.search(str(error)))):
            raise
        place = f"process {distributed.get_rank()} of {distributed.get_world_size()} (from 0)"
        raise LostProcessError(
            f"{place}: another process of this run has stopped, and its own output says why; once that is mended, the "
            "same command with resume=true goes on from the last checkpoint"
        ) from error


def to_cpu(prediction: dict[str, Tensor], batch: Batch) -> Counted:
    """Predictions, targets and conditions of a batch on the CPU, without its inputs."""

    def down(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.cpu() for name, tensor in tensors.items()}

    slim = replace(batch, inputs={}, prefix={}, target=down(batch.target), conditions=down(batch.conditions))
    return down(prediction), slim


def all_gather_objects(items: list[Item]) -> list[Item]:
    """The items of all processes in rank order; every process gets the same list."""
    if not is_distributed():
        return items
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, items)
    return [one for part in gathered for one in part]


# --- shares of weights ------------------------------------------------------------------------------------------------


def shard(pairing: nn.Module, backbones: Iterable[Backbone], mesh: DeviceMesh) -> None:
    """Shard every parameter within a machine; machines hold replicas.

    Each block of a backbone is gathered and freed as one unit, and all the rest, with method and head, as another.
    Names of parameters do not change.

    Args:
        pairing: the whole module.
        backbones: those of it.
        mesh: machines x devices of one machine.
    """
    for backbone in backbones:
        own = set(backbone.modules())
        blocks = itertools.chain(*backbone.towers.values())
        # What a step binds further inputs to is the backbone's own; one that stands several times is sharded once.
        for block in dict.fromkeys(next(module for module in block.modules() if module in own) for block in blocks):
            fully_shard(block, mesh=mesh)
    # The task's head runs after the pairing's forward pass.
    fully_shard(pairing, mesh=mesh, reshard_after_forward=False)


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for `fsdp`, reading a checkpoint's tensors by the pairing's own names."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load as Lightning does, into the pairing instead of the training module."""
        whole: Any = self.model
        self.model = whole.pairing
        try:
            return super().load_checkpoint(checkpoint_path, weights_only)
        finally:
            self.model = whole


def set_unsharded(pairing: nn.Module, *, whole: bool) -> None:
    """Gather all weights and keep them, or shard them again.

    Processes that evaluate differ in their numbers of batches and of generated tokens, so none may wait for another
    within a forward pass.
    """
    for module in pairing.modules():
        if isinstance(module, FSDPModule):
            module.set_reshard_after_forward(not whole and module is not pairing, recurse=False)
            act: Callable[[], Any] = module.unshard if whole else module.reshard
            act()
