"""Every method on a device: it moves there whole, trains and is merged there, and answers the same elsewhere."""

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from small_vit import batch, pairing

from zoo.errors import SettingError
from zoo.interop import merged
from zoo.methods.adapt_former import AdaptFormer
from zoo.methods.base import Method
from zoo.methods.bitfit import BitFit
from zoo.methods.bottleneck import Bottleneck
from zoo.methods.conv_lora import ConvLoRA
from zoo.methods.deltas import by_place
from zoo.methods.dual_adapter import DualAdapter
from zoo.methods.frozen import Frozen
from zoo.methods.gpart import GPart
from zoo.methods.gse import GSE
from zoo.methods.laplace_lora_xs import LaplaceLoRAXS
from zoo.methods.lora_xs import LoRAXS
from zoo.methods.matryoshka_lora import MatryoshkaLoRA
from zoo.methods.olora import OLoRA
from zoo.methods.peft import PEFT, Tuner
from zoo.methods.pissa import PiSSA
from zoo.methods.side import Side
from zoo.methods.ssf import SSF
from zoo.methods.vpt import VPT
from zoo.pairing import Pairing
from zoo.training.weight_changes import weight_changes

LAYERS, LAST = {"vision": ["attn.proj", "mlp.fc2"]}, {"vision": 2}

SMALL = {
    "c3a": {"block_size": 64},
    "fourierft": {"n_frequency": 20},
    "gralora": {"r": 4, "gralora_k": 2},
    "oft": {"oft_block_size": 4, "r": 0},
    "vblora": {"vector_length": 64, "num_vectors": 16},
}


def tuner(name: Tuner) -> Callable[[], Method]:
    return lambda: PEFT(tuner=name, settings=SMALL.get(name, {}), targets=LAYERS, last=LAST)


METHODS: dict[str, Callable[[], Method]] = {
    "gpart": lambda: GPart(dim=500, targets=LAYERS, last=LAST),
    "matryoshka_lora": lambda: MatryoshkaLoRA(targets=LAYERS, last=LAST),
    "pissa": lambda: PiSSA(targets=LAYERS, last=LAST),
    "olora": lambda: OLoRA(targets=LAYERS, last=LAST),
    "lora_xs": lambda: LoRAXS(targets=LAYERS, last=LAST),
    "gse": lambda: GSE(targets=LAYERS, last=LAST),
    "gse_published": lambda: GSE(targets=LAYERS, last=LAST, start="published"),
    "laplace_lora_xs": lambda: LaplaceLoRAXS(targets=LAYERS, last=LAST),
    "bitfit": lambda: BitFit(targets=LAYERS, last=LAST),
    "ssf": lambda: SSF(targets=LAYERS, last=LAST),
    "conv_lora": lambda: ConvLoRA(targets=LAYERS, last=LAST),
    "adapt_former": lambda: AdaptFormer(targets={"vision": ["mlp"]}, last=LAST),
    "bottleneck": lambda: Bottleneck(width=8, last=LAST),
    "dual_hp": lambda: DualAdapter(form="hp", width=8, last=LAST),
    "dual_lw": lambda: DualAdapter(form="lw", width=8, last=LAST),
    "vpt": lambda: VPT(tokens=3, last=LAST),
    "side": Side,
    **{name: tuner(name) for name in get_args(Tuner)},
}

DEVICES = [
    pytest.param("cpu", marks=pytest.mark.slow),
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


@torch.no_grad()
def features(model: Pairing) -> torch.Tensor:
    return model(batch().to(model.device))["vision"].cpu()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", METHODS)
def test_it_trains_there_and_answers_the_same_elsewhere(name: str, device: str) -> None:
    model = pairing(METHODS[name]())
    start = features(model)
    model.to(device)
    torch.testing.assert_close(features(model), start, atol=1e-3, rtol=1e-3)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=0.02)
    model.train()
    for _ in range(2):
        optimizer.zero_grad()
        torch.stack(list(model.losses(batch().to(device)).values())).sum().backward()
        optimizer.step()
    model.eval()
    learned = features(model)
    assert not torch.allclose(learned, start, atol=1e-3)
    other = pairing(METHODS[name](), seed=7)
    other.load_trainable({key: tensor.cpu() for key, tensor in model.trainable_state().items()})
    torch.testing.assert_close(features(other), learned, atol=1e-2, rtol=1e-2)
    with model.method.without():
        torch.testing.assert_close(features(model), features(pairing(Frozen())), atol=1e-3, rtol=1e-3)
    try:
        deltas = by_place(model.backbones, model.method.deltas())["vision"]
    except SettingError:
        return
    plain = pairing(Frozen())
    state = {key: tensor.cpu() for key, tensor in merged.folded(model.backbones["vision"], deltas).items()}
    plain.backbones["vision"].load_state_dict(state)
    torch.testing.assert_close(features(plain), learned, atol=1e-2, rtol=1e-2)
    ratios = [one for own in weight_changes(model).values() for one in own.values()]
    assert all(0 < one["frobenius"] < 100 for one in ratios)
