"""A recipe's `optimizer` block: AdamW with warm-up and cosine decay, or an optimizer and a schedule that it names."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from zoo.errors import SettingError
from zoo.methods.base import Group, Method


@dataclass(frozen=True)
class Optimizer:
    """AdamW with linear warm-up and cosine decay to zero, stepped every batch.

    Args:
        lr: peak learning rate of the method's parameters.
        head_lr: peak learning rate of the task's head; `lr` when null.
        weight_decay: of weight matrices; vectors (biases, norms) are not decayed.
        warmup: share of all steps spent warming up.
        optimizer: in the place of AdamW, e.g. {_target_: torch.optim.SGD, momentum: 0.9}; it takes lr,
            head_lr and weight_decay from here.
        schedule: in the place of warm-up and cosine, e.g. {_target_: torch.optim.lr_scheduler.StepLR, step_size: 100};
            it counts optimizer steps, and ReduceLROnPlateau epochs without a better validation metric.
    """

    lr: Annotated[float, "> 0"] = 1e-3
    head_lr: Annotated[float, ">= 0"] | None = None
    weight_decay: Annotated[float, ">= 0"] = 0.05
    warmup: Annotated[float, ">= 0", "<= 1"] = 0.1
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    schedule: Callable[..., LRScheduler] | None = None

    def build(self, module: nn.Module, total_steps: int) -> dict[str, Any]:
        """Lightning's optimizer dictionary for the trainable parameters of a pairing.

        Args:
            module: parameters below `task.` are the head's; its `method` may have groups of its own.
            total_steps: optimizer steps of the whole training.

        Raises:
            SettingError: the named optimizer or schedule refuses its settings.
        """
        method = getattr(module, "method", None)
        special = method.parameter_groups() if isinstance(method, Method) else {}
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                own = special.get(parameter, Group())
                lr = self.head_lr if self.head_lr is not None and name.startswith("task.") else self.lr
                decay = self.weight_decay if own.weight_decay is None else own.weight_decay
                groups.setdefault((lr * own.lr, decay if parameter.ndim > 1 else 0.0), []).append(parameter)
        options = [{"params": p, "lr": lr, "weight_decay": d} for (lr, d), p in groups.items()]
        optimizer = _called("optimizer", self.optimizer or torch.optim.AdamW, options, lr=self.lr)
        if self.schedule is None:
            schedule = self._warm_cosine(optimizer, total_steps)
        else:
            schedule = _called("schedule", self.schedule, optimizer)
        if not isinstance(schedule, ReduceLROnPlateau):
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        if schedule.mode != "max":
            raise SettingError("optimizer.schedule: every validation metric is better when larger: say mode: max")
        plateau = {"scheduler": schedule, "interval": "epoch", "monitor": "val/selected"}
        return {"optimizer": optimizer, "lr_scheduler": plateau}

    def _warm_cosine(self, optimizer: torch.optim.Optimizer, total_steps: int) -> LRScheduler:
        warm = max(1, round(self.warmup * total_steps))

        def factor(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total_steps - warm))))

        return LambdaLR(optimizer, factor)


def _called(key: str, make: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    try:
        return make(*args, **settings)
    except (TypeError, ValueError) as error:
        raise SettingError(f"optimizer.{key}: {' '.join(str(error).split())}") from error
