"""An adapter of QLoRA on the whole weights: trained on four bits, it answers on the same files in bfloat16.

The usual way to serve one (Dettmers et al. 2023), as bfloat16 needs no bitsandbytes and is faster where it fits. The
base is checked: a backbone in four bits is named by the files that it was made of, and so is this one. Its answers are
not quite those of the training, for the errors of quantisation that the adapter learned to live with are gone; so the
difference stands in every result, as those of `--force` do.
"""

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from zoo.errors import UserError

if TYPE_CHECKING:
    from zoo.backbones.fingerprint import Fingerprint
    from zoo.pairing import Pairing

FLAG = "--unquantized"


def of(config: DictConfig) -> tuple[DictConfig, list[str]]:
    """A recipe with whole weights in the place of those in four bits, and the streams of these.

    Raises:
        UserError: nothing in it was trained in four bits.
    """
    streams = [name for name, block in config.backbones.items() if block and block.get("quantize") == "4bit"]
    if not streams:
        raise UserError(f"{FLAG}: no backbone of this adapter was trained in four bits; leave it out")
    whole = {name: {"quantize": "none", "dtype": "bfloat16"} for name in streams}
    changed = OmegaConf.merge(config, {"backbones": whole})
    assert isinstance(changed, DictConfig)
    return changed, streams


def as_trained(pairing: "Pairing", streams: list[str]) -> dict[str, "Fingerprint"]:
    """What the fingerprints of a pairing would be with these backbones in four bits."""
    backbones: Any = pairing.backbones
    return {**pairing.fingerprints, **{name: backbones[name].in_four_bits() for name in streams}}


def said(streams: list[str]) -> list[str]:
    """What every result says of it, a line a backbone."""
    return [
        f"the {name} backbone is whole, in bfloat16, and was in four bits when this was trained" for name in streams
    ]
