"""What a training's settings ask for that their types cannot tell: refused before data are read and weights fetched."""

import contextlib
import io

import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from omegaconf import DictConfig

from zoo.errors import UserError
from zoo.recipe.check import CALLBACKS
from zoo.recipe.compose import RecipeError
from zoo.recipe.instantiate import instantiate
from zoo.training import compiled, loggers


def preflight(config: DictConfig) -> list[Callback]:
    """The recipe's own callbacks, made.

    Raises:
        RecipeError: with every setting that cannot be met.
    """
    trainer = config.trainer
    problems = loggers.missing(trainer.get("logger", ()))
    if trainer.get("max_epochs", 1) is None and trainer.get("max_steps") is None:
        problems.append("trainer.max_epochs and trainer.max_steps are both null: one must end the training")
    if trainer.get("ema") is not None and trainer.get("strategy") == "fsdp":
        problems.append("trainer.ema: under trainer.strategy=fsdp each process has a part of a tensor; set ema=null")
    if trainer.get("compile") and (lack := compiled.missing(trainer.get("accelerator", "auto"))):
        problems.append(f"trainer.compile needs {lack}")
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # what torch says of a schedule without steps
            instantiate(config.optimizer).build(torch.nn.Linear(2, 1), 2)
    except UserError as error:
        problems.append(str(error))
    made = []
    for number, block in enumerate(config.get(CALLBACKS) or ()):
        callback = _callback(block, f"{CALLBACKS}.{number}")
        if isinstance(callback, str):
            problems.append(callback)
        else:
            made.append(callback)
    if problems:
        raise RecipeError(problems)
    return made


def _callback(block: DictConfig, path: str) -> Callback | str:
    """A callback, or what is wrong with it."""
    try:
        made = instantiate(block)
    except Exception as error:  # of whatever class a user's own raises
        return f"{path}: {type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(made, WeightAveraging):
        return (
            f"{path}: {type(made).__name__} averages whole modules, of which checkpoints hold a part; set trainer.ema"
        )
    if not isinstance(made, Callback):
        return f"{path}: expected a lightning.pytorch.callbacks.Callback, got a {type(made).__name__}"
    return made
