"""Small pairings of real architectures with random weights, and adapter directories of them."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from zoo.adapter import directory
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose, to_yaml
from zoo.recipe.instantiate import instantiate

LORA = {
    "_target_": "zoo.methods.lora.LoRA",
    "rank": 3,
    "alpha": 6.0,
    "targets": {"vision": ["attn.qkv", "mlp.fc1"], "audio": ["conv1", "conv2"]},
    "last": {"vision": 2, "audio": 1},
}


def config(**blocks: Any) -> DictConfig:
    """TB-AVA's recipe on a tiny ViT and a random aiSFX, with LoRA as method unless said otherwise."""
    whole: Any = OmegaConf.to_container(compose("tb_ava"))
    vit = {"_target_": "zoo.backbones.timm_vit.TimmViT", "model": "vit_tiny_patch16_224"}
    encoders = {
        "vision": vit | {"source": "random:0", "image_size": 32},
        "audio": {"_target_": "zoo.backbones.aisfx.AiSFX", "source": "random:0"},
    }
    data = whole["data"] | {"train_clips": 2, "val_clips": 2, "test_clips": 3}
    small = {
        "backbones": encoders,
        "data": data,
        "loader": whole["loader"] | {"batch_size": 3},
        "method": LORA,
        "cache": None,
    }
    made: DictConfig = OmegaConf.create(
        {k: v for k, v in whole.items() if k not in ("smoke", "variants", "include")} | small | blocks
    )
    return made


def samples(config: DictConfig) -> list[Any]:
    data = instantiate(config.data)
    data.setup("test")
    return [data.sets["test"][i] for i in range(len(data.sets["test"]))]


def moved(config: DictConfig, classes: list[str] | None = None) -> Pairing:
    """A pairing away from the start, where updates are silent."""
    classes = classes or list(instantiate(config.data).classes)
    pairing = build_pairing(config, classes, cached=False)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in pairing.trainable_state().values():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return pairing.eval()


def saved(config: DictConfig, folder: Path) -> Pairing:
    """Write the adapter directory of a moved pairing."""
    pairing = moved(config)
    metrics = {"manifest": {"recipe": "tb_ava"}}
    directory.save(pairing, folder, recipe=to_yaml(config), metrics=metrics, card=lambda _: "# card\n")
    return pairing
