"""LoRA-XS with a posterior over its cores, so that probabilities know what the training split leaves open.

After the training, a Laplace approximation (`zoo.ops.laplace`) over R of all layers together, the head being fixed: the
whole Gauss-Newton matrix, which so few numbers afford, where the code of "Bayesian fine-tuning in projected subspaces"
(gmum/bayesian-finetuning) factorises it by layer. One prior precision for all, that of the largest evidence.

    linearised    logits linear in R, so Gaussian; mean softmax over `draws` of them, always the same draws
    draws         mean softmax of `passes` networks whose R is drawn from the same posterior: the usual, and worse, way
    map           the trained R alone, as `lora_xs` predicts

Which of them acts is chosen when the adapter is used (`method.prediction=map` with evaluate and predict), and runs
measure all three. Temperature scaling is the control that stands beside every one (docs/concepts.md).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import torch
from torch import Tensor

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.lora_xs import NO_ROWS, Core, LoRAXS
from zoo.ops import laplace

if TYPE_CHECKING:
    from zoo.training.look import Look

Prediction = Literal["linearised", "draws", "map"]

MOST_NUMBERS = 2048
"""Trained numbers: their matrix, 16 MiB then, is kept with the adapter, and is inverted in seconds."""

MOST_CLASSES = 128
"""Every one takes a backward pass a batch."""


class LaplaceLoRAXS(LoRAXS):
    """LoRA-XS whose predictions average over a Laplace posterior of its cores; for classification.

    Args:
        targets: module-name suffixes by tower, e.g. `{vision: [attn.qkv, attn.proj]}`.
        last: only the last so many blocks by tower.
        rank: r; r^2 numbers train a layer.
        alpha: the update is scaled by alpha / r; twice the rank where it is not given.
        prediction: by which probabilities come about; may change after training.
        prior: precision of the Gaussian prior around R = 0; that of the largest evidence where it is not given.
        curvature: the whole Gauss-Newton matrix, or its diagonal.
        draws: how many draws of linearised logits.
        passes: how many networks with drawn cores.
    """

    root: Tensor
    precision: Tensor
    owns_probabilities = True
    at_test = ("prediction",)

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        rank: Annotated[int, ">= 1"] = 8,
        alpha: float | None = None,
        prediction: Prediction = "linearised",
        prior: Annotated[float, "> 0"] | None = None,
        curvature: Literal["full", "diagonal"] = "full",
        draws: Annotated[int, ">= 1"] = 1000,
        passes: Annotated[int, ">= 1"] = 16,
    ) -> None:
        super().__init__(targets=targets, last=last, rank=rank, alpha=alpha)
        self.prior, self.curvature, self.draws, self.passes = prior, curvature, draws, passes
        self.prediction: Prediction = "linearised"
        self.choose(prediction=prediction)

    def choose(self, **settings: Any) -> None:
        """Let another prediction act.

        Raises:
            SettingError: there is no such one.
        """
        super().choose(**settings)
        prediction = settings.get("prediction", self.prediction)
        if prediction not in get_args(Prediction):
            raise SettingError(f"method.prediction = {prediction}: expected {', '.join(get_args(Prediction))}")
        self.prediction = prediction

    def attach(self, backbones: Backbones, classes: Sequence[str] = ()) -> None:
        """Hook the target layers, and make room for the posterior.

        Raises:
            SettingError: as `LoRAXS.attach`; too many trained numbers or classes.
        """
        super().attach(backbones)
        size = sum(core.core.numel() for core in self.cores)
        if size > MOST_NUMBERS:
            raise SettingError(
                f"method.rank = {self.rank}: {size:,} numbers of {self.matched} would train, and a posterior is kept "
                f"of {MOST_NUMBERS:,} at most; lower method.rank, or adapt fewer layers (method.last, method.targets)"
            )
        if len(classes) > MOST_CLASSES:
            raise SettingError(
                f"method: {len(classes):,} classes, each of which takes a backward pass a batch; a posterior serves "
                f"{MOST_CLASSES} at most; take method=lora_xs"
            )
        self.register_buffer("root", torch.zeros(size, size))
        self.register_buffer("precision", torch.zeros(()))  # 0 until a posterior is known

    def describe(self) -> str:
        """Which layers are adapted, and of how many numbers a posterior will be known."""
        return f"{self.matched}; a posterior over {len(self.root):,} numbers, prediction {self.prediction}"

    @property
    def cores(self) -> list[Core]:
        """Of every layer, in the order of the posterior's numbers."""
        return [cast(Core, update) for update in self.updates.values()]

    # --- after training -------------------------------------------------------------------------------------------

    def conclude(self, look: "Look") -> Mapping[str, float]:
        """Fill the posterior.

        Args:
            look: at the training split, without augmentation.

        Returns:
            `prior_precision`; `effective_parameters`, how many numbers the data determine; `log_evidence` in nats, the
            likelihood being that of the training's loss; over `samples`.

        Raises:
            SettingError: no prior has the largest evidence, or a layer has not one row of its input after another for
                every sample.
        """
        trained = torch.cat([core.core.detach().flatten() for core in self.cores])
        curvature = torch.zeros(2 * [len(trained)], dtype=torch.double, device=trained.device)
        likelihood, samples = 0.0, 0
        for batch in look.batches():
            if not samples:
                self._require_rows(look, batch)
            logits, jacobians = self.jacobians(look.logits, batch)
            curvature += laplace.gauss_newton(jacobians, logits.softmax(-1))
            likelihood -= look.loss(batch).detach().double().sum().item()
            samples += len(batch)
        if self.curvature == "diagonal":
            curvature = curvature.diag().diag()
        precision = laplace.best_precision(curvature, trained) if self.prior is None else self.prior
        self.root.copy_(laplace.root(curvature, precision))
        self.precision.fill_(precision)
        return {
            "prior_precision": precision,
            "effective_parameters": laplace.effective(curvature, precision),
            "log_evidence": laplace.log_evidence(curvature, trained, precision, likelihood),
            "samples": samples,
        }

    def jacobians(self, logits: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits [B, K] of a batch and their Jacobians by the cores [B, K, P].

        Every sample has a copy of the cores to itself, so that K backward passes give those of all samples.

        Raises:
            SettingError: gradients cannot be had, in inference mode.
        """
        if torch.is_inference_mode_enabled():
            raise SettingError("method: this prediction takes gradients: use torch.no_grad, not torch.inference_mode")
        copies = [core.core.detach().expand(len(batch), -1, -1).clone().requires_grad_() for core in self.cores]
        with torch.enable_grad(), self._acting(copies):
            found = logits(batch).float()
            rows = [torch.autograd.grad(each.sum(), copies, retain_graph=True) for each in found.unbind(-1)]
        jacobians = torch.stack([torch.cat([part.flatten(1) for part in row], dim=1) for row in rows], dim=1)
        return found.detach(), jacobians

    @torch.no_grad()
    def _require_rows(self, look: "Look", batch: Batch) -> None:
        """What is done to the last sample's copy of the cores changes that sample alone.

        Raises:
            SettingError: it does not.
        """
        copies = [core.core.expand(len(batch), -1, -1).clone() for core in self.cores]
        with self._acting(copies):
            before = look.logits(batch).detach()
            for copy in copies:
                copy[-1] += 1
            changed = (look.logits(batch).detach() - before).abs().amax(-1)
        if any(each > 1e-3 * changed[-1] for each in changed[:-1]):
            raise SettingError(f"method.targets: a layer mixes samples; {NO_ROWS}")

    # --- predictions ----------------------------------------------------------------------------------------------

    def probabilities(self, logits: Callable[[Batch], Tensor], batch: Batch) -> Tensor | None:
        """Of the posterior, float32 [B, K]; None where the trained cores alone count.

        Raises:
            SettingError: no posterior is known yet; or as `jacobians`.
        """
        if self.prediction == "map" or not self.acts:
            return None
        if not self.precision:
            raise SettingError(
                "method: no posterior is known yet: `method.conclude(Look(pairing, batches))` after a training of "
                "one's own, or method.prediction=map"
            )
        many = self.draws if self.prediction == "linearised" else self.passes
        deviations = laplace.noise(many, len(self.root)).to(self.root) @ self.root.T
        if self.prediction == "linearised":
            return laplace.linearised(*self.jacobians(logits, batch), deviations)
        total = torch.zeros((), device=self.root.device)
        for deviation in deviations:
            with self._acting(self._moved(deviation)):
                total = total + logits(batch).float().softmax(-1)
        return total / many

    def points(self) -> dict[str, Callable[[], contextlib.AbstractContextManager[None]]]:
        """The other predictions, `prediction_map` and so on."""
        return {f"prediction_{other}": self._by(other) for other in get_args(Prediction) if other != self.prediction}

    def _by(self, prediction: Prediction) -> Callable[[], contextlib.AbstractContextManager[None]]:
        @contextlib.contextmanager
        def within() -> Iterator[None]:
            own, self.prediction = self.prediction, prediction
            try:
                yield
            finally:
                self.prediction = own

        return within

    def _moved(self, deviation: Tensor) -> list[Tensor]:
        """Cores [1, r, r] at a deviation [P]."""
        parts = deviation.split([core.core.numel() for core in self.cores])
        return [(core.core + part.view_as(core.core))[None] for core, part in zip(self.cores, parts, strict=True)]

    @contextlib.contextmanager
    def _acting(self, others: Sequence[Tensor]) -> Iterator[None]:
        """Within, other cores act, [B, r, r] or [1, r, r] by layer."""
        for core, other in zip(self.cores, others, strict=True):
            core.other = other
        try:
            yield
        finally:
            for core in self.cores:
                core.other = None
