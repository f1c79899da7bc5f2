"""Chooses the precision of a training with `trainer.precision: auto`, and lets float32 products take TF32.

bfloat16 halves what a GPU computes and moves. A processor gains by it where it multiplies matrices of it (Intel's AMX)
and pays for it on others: on one processor a training step of `scale_earth` took 0.65 of float32's time with AMX and
1.6 with it switched off (`ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16`), and its AVX512_BF16 was there both times. So AMX is
what is asked for. A trial of the product itself was tried instead: beside other busy processes it came out either way,
and a run that was interrupted must go on in the arithmetic that it began in.
"""

import os
from typing import Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from zoo.errors import SettingError

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]
Asked = Literal["auto", "32-true", "16-mixed", "bf16-mixed"]
Products = Literal["highest", "high", "medium"]


def choose(requested: Asked, accelerator: str) -> tuple[Precision, str]:
    """The precision to train in, and one line on how it was chosen, empty where the recipe names it.

    Args:
        requested: `trainer.precision`.
        accelerator: `trainer.accelerator`.
    """
    if requested != "auto":
        return requested, ""
    if accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available()):
        able = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
        why = "the GPU computes in bfloat16" if able else "the GPU does not compute in bfloat16"
    elif accelerator == "mps":
        able, why = False, "bfloat16 is untried on mps"
    else:
        able = multiplies_bfloat16()
        why = "the processor multiplies bfloat16 (AMX)" if able else "the processor gains nothing by bfloat16 (no AMX)"
    chosen: Precision = "bf16-mixed" if able else "32-true"
    return chosen, f"precision {chosen}: {why}"


def multiplies_bfloat16() -> bool:
    """Whether the processor has units for matrices of bfloat16 and oneDNN, which multiplies for torch, may use them."""
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    if limit not in ("ALL", "DEFAULT") and "AMX" not in limit:
        return False
    asks = getattr(torch.cpu, "_is_amx_tile_supported", None)  # torch has no public word for it
    return asks is not None and bool(asks())


class MatmulPrecision(Callback):
    """How exactly a GPU multiplies what is float32 while it trains; before and after, as it was.

    torch keeps this for the whole process. A processor, to which torch's setting may mean bfloat16, is left alone.

    Args:
        asked: `trainer.matmul_precision`.
    """

    def __init__(self, asked: Products) -> None:
        self.asked = asked
        self.before: tuple[str, bool] | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the training's arithmetic, and say so where it is not float32's own.

        Raises:
            SettingError: this process has told torch in the other way that newer releases have, and torch reads one.
        """
        on_gpu = trainer.strategy.root_device.type == "cuda"
        if on_gpu:
            try:
                self.before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
            except RuntimeError as error:
                raise SettingError(
                    "trainer.matmul_precision: this process has set torch.backends' fp32_precision, beside which torch "
                    "reads no other setting; leave out one of the two (trainer.matmul_precision=null)"
                ) from error
            torch.set_float32_matmul_precision(self.asked)
            torch.backends.cudnn.allow_tf32 = self.asked != "highest"
        if self.asked != "highest" and trainer.is_global_zero:
            exact = "" if on_gpu else ", which is for a GPU: float32 stays exact here"
            print(f"matmul precision {self.asked}{exact}", flush=True)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The arithmetic from before."""
        if self.before is not None:
            precision, torch.backends.cudnn.allow_tf32 = self.before
            torch.set_float32_matmul_precision(precision)
            self.before = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """The same where a training ends early."""
        self.on_fit_end(trainer, pl_module)
