"""How long a training is: so many epochs, so many optimizer steps, or whichever ends first; and how far it is."""

import math
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn


class Length(Callback):
    """Ends a training with its last optimizer step, after a validation.

    Lightning's own `max_steps` ends without one, so that nothing would be selected from the last steps, or from any
    where there is less than an epoch; and it resumes finished epochs in another way.

    Args:
        max_steps: optimizer steps; None where epochs alone limit the training, and validations within them may leave
            its end out.
    """

    def __init__(self, max_steps: int | None) -> None:
        self.max_steps = max_steps

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run may have been interrupted when all of its steps were done."""
        self._end(trainer)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Lightning validates once more when it is told to stop."""
        self._end(trainer)

    def _end(self, trainer: L.Trainer) -> None:
        if trainer.global_step >= total_steps(trainer):
            trainer.should_stop = True


def total_steps(trainer: L.Trainer) -> int:
    """Optimizer steps of the whole training, over which a schedule is spread."""
    limits = [c.max_steps for c in trainer.callbacks if isinstance(c, Length)]  # type: ignore[attr-defined]
    return int(min([trainer.estimated_stepping_batches, *filter(None, limits)]))


def epochs(trainer: L.Trainer) -> int:
    """Epochs of the whole training; the last may be a part of one."""
    return math.ceil(total_steps(trainer) / math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches))


def within_epoch(trainer: L.Trainer) -> bool:
    """Whether an epoch of training goes on after this batch."""
    fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
    return fitting and not (trainer.fit_loop.epoch_loop.batch_progress.is_last_batch or trainer.should_stop)


def position(trainer: L.Trainer) -> float:
    """The epoch, counted from 0, that this batch completes: 2 at the end of the third, 1.5 halfway through it."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    if progress.is_last_batch:
        return trainer.current_epoch
    return trainer.current_epoch - 1 + progress.current.ready / trainer.num_training_batches
