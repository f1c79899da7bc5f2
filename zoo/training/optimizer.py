"""A recipe's `optimizer` block: AdamW and its schedule."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn


@dataclass(frozen=True)
class Optimizer:
    """AdamW with linear warm-up and cosine decay to zero, stepped every batch.

    Args:
        lr: peak learning rate of the method's parameters.
        head_lr: peak learning rate of the task's head; `lr` when null.
        weight_decay: of weight matrices; vectors (biases, norms) are not decayed.
        warmup: share of all steps spent warming up.
    """

    lr: Annotated[float, "> 0"] = 1e-3
    head_lr: Annotated[float, ">= 0"] | None = None
    weight_decay: Annotated[float, ">= 0"] = 0.05
    warmup: Annotated[float, ">= 0", "<= 1"] = 0.1

    def build(self, module: nn.Module, total_steps: int) -> dict[str, Any]:
        """Lightning's optimizer dictionary for the trainable parameters of a pairing.

        Args:
            module: parameters below `task.` are the head's.
            total_steps: optimizer steps of the whole training.
        """
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                lr = self.head_lr if self.head_lr is not None and name.startswith("task.") else self.lr
                groups.setdefault((lr, self.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
        optimizer = torch.optim.AdamW([{"params": p, "lr": lr, "weight_decay": d} for (lr, d), p in groups.items()])
        warm = max(1, round(self.warmup * total_steps))

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total_steps - warm))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
