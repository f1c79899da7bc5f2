"""Checkpoints of a run: written atomically, under fixed names, and verified by the run's own record.

A run resumes from `last.ckpt`; `best.ckpt` is tested and becomes the adapter. Every checkpoint carries the run's id,
and the last one the score and sha256 of the best. Paths are not recorded, so a run folder may be moved or copied; a
checkpoint of another run, or another file than the recorded one, is refused.
"""

import io
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from zoo.errors import UserError
from zoo.files import file_hash, write_whole
from zoo.records.run_folder import BEST, LAST
from zoo.training import length, processes
from zoo.training.average import Average


class CheckpointError(UserError):
    """A checkpoint is missing or is not the recorded one; the message names it."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically.

    Lightning's own writer goes through the folder for temporary files. If that is on another file system, a full disk
    or a kill leaves a broken file in place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write one checkpoint."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_whole(Path(path), buffer.getvalue())


class Last(ModelCheckpoint):
    """The checkpoint to resume from, written after every epoch and after `Best`, whose record it includes.

    Also after a validation within an epoch, and after every so many optimizer steps: never between a batch and the
    validation that belongs to it, which a resumed run would leave out, nor between the batches of one optimizer step.

    Args:
        run_dir: the run folder.
        every: optimizer steps; None saves none for their own sake.
    """

    def __init__(self, run_dir: Path, every: int | None = None) -> None:
        path = run_dir / LAST
        self.every = every
        super().__init__(
            path.parent,
            filename=path.stem,
            enable_version_counter=False,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
        )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save where it is time to."""
        loops = trainer.fit_loop
        if self.every and trainer.global_step % self.every == 0:
            fetcher = loops._data_fetcher
            assert fetcher is not None
            if not loops.epoch_loop._should_check_val_fx(fetcher):
                self._save_within_epoch(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what `Best` has just selected from, too."""
        self._save_within_epoch(trainer)

    def _save_within_epoch(self, trainer: L.Trainer) -> None:
        saved = self._should_skip_saving_checkpoint(trainer)
        if length.within_epoch(trainer) and not saved and not trainer.fit_loop._should_accumulate():
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Empty: its file name is fixed."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Ignored."""


class Best(ModelCheckpoint):
    """The checkpoint of the best validation metric; of equal ones, the earliest."""

    run = ""
    """Id of the run that trains."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / BEST
        self._hashed: tuple[tuple[int, int, int], str] | None = None
        super().__init__(
            self.path.parent, filename=self.path.stem, enable_version_counter=False, monitor="val/selected", mode="max"
        )

    def sha256(self) -> str:
        """sha256 of the file; empty if there is none."""
        if not self.path.exists():
            return ""
        stat = self.path.stat()
        stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._hashed is None or self._hashed[0] != stamp:
            self._hashed = (stamp, file_hash(self.path))
        return self._hashed[1]

    def state_dict(self) -> dict[str, Any]:
        """The run, its best score and the file's sha256; only the first process writes, so the others need not read."""
        score = None if self.best_model_score is None else self.best_model_score.detach().cpu()
        return {"run": self.run, "score": score, "sha256": "" if processes.is_further_rank() else self.sha256()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Everything is taken up by `on_load_checkpoint`."""

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on from the best so far.

        Raises:
            CheckpointError: the last checkpoint is of another run, or the best one is not the one that it records.
        """
        state = self._state(checkpoint, self.path.with_name(Path(LAST).name))
        if state["score"] is None:
            return
        score = state["score"]
        if (found := self.sha256()) != state["sha256"]:
            if not found:
                raise CheckpointError(f"{self.path} is missing: put it back, or begin a new run")
            other = load(self.path)
            # A kill between the two writes of a validation: this one is ahead, and its own record goes with it.
            if self._state(other, self.path)["score"] is None or _batches(other) <= _batches(checkpoint):
                raise CheckpointError(
                    f"{self.path} has sha256 {found[:12]}, but the run recorded {state['sha256'][:12]} as its best: "
                    "put that back, or begin a new run"
                )
            score = self._state(other, self.path)["score"]
        self.best_model_score = self.kth_value = self.current_score = score
        self.best_model_path = self.kth_best_model_path = str(self.path.resolve())
        self.best_k_models = {self.best_model_path: score}

    def _state(self, checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
        """This callback's record in a checkpoint of this run."""
        state: dict[str, Any] = checkpoint.get("callbacks", {}).get(self.state_key, {})
        if state.get("run") != self.run:
            raise CheckpointError(f"{path} is a checkpoint of another run than {path.parents[1]}: begin a new run")
        return state


def load(path: Path) -> dict[str, Any]:
    """A checkpoint, on the CPU."""
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return checkpoint


def trained(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Trainable tensors of a checkpoint: their average, where the training keeps one."""
    averaged = checkpoint["callbacks"].get(Average.state_key)
    state: dict[str, Any] = averaged["average"] if averaged else checkpoint["state_dict"]
    return state


def _batches(checkpoint: dict[str, Any]) -> int:
    """Training batches before a checkpoint."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"])
