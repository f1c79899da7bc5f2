"""A layer is one site, however often its tower runs it: weight-tied blocks, as in bViT."""

import pytest
import torch
from torch import nn

from zoo.backbones.timm_vit import TimmViT
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.interop import merged
from zoo.methods.deltas import by_place
from zoo.methods.lora import LoRA
from zoo.methods.scale_earth import ScaleEarth
from zoo.methods.sites import describe, find
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification

DEPTH, SIDE = 12, 32


def vit() -> TimmViT:
    return TimmViT(model="vit_tiny_patch16_224", source="random:0", image_size=SIDE)


def tied(period: int = 1) -> TimmViT:
    """A vision transformer that runs its first `period` blocks again and again, twelve steps in all."""
    model = vit()
    model.net.blocks = nn.Sequential(*(model.net.blocks[k % period] for k in range(DEPTH)))
    return model


def inputs(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def moved(model: nn.Module) -> None:
    """Updates as training leaves them."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1, generator=generator)


def attached(method: LoRA | ScaleEarth, backbone: TimmViT) -> LoRA | ScaleEarth:
    torch.manual_seed(0)
    method.attach({"vision": backbone})
    return method


@pytest.mark.parametrize("last", [{}, {"vision": 4}])
def test_nothing_that_changes_lies_inside_the_prefix(last: dict[str, int]) -> None:
    backbone = tied()
    before = backbone.through(backbone.embed(inputs()[:, 0]), 0, DEPTH - 4)
    method = attached(LoRA(rank=2, targets={"vision": ["attn.qkv"]}, last=last), backbone)
    moved(backbone)
    after = backbone.through(backbone.embed(inputs()[:, 0]), 0, DEPTH - 4)
    assert (after - before).abs().max() > 0.01  # a prefix of eight blocks would hold what is no longer so
    assert method.prefix_depths() == {"vision": 0}


def test_the_layer_is_listed_and_described_once() -> None:
    backbone = tied()
    method = attached(LoRA(rank=2, targets={"vision": ["attn.qkv", "mlp.fc1"]}), backbone)
    assert len(method.deltas()) == 2
    assert sum(p.requires_grad for p in backbone.parameters()) == 4
    assert method.describe() == "adapts vision, 1 block used 12 times (2 layers: qkv, fc1)"


def test_trained_updates_equal_the_unrolled_network_with_merged_weights() -> None:
    backbone = tied()
    pairing = Pairing(
        {"vision": backbone}, LoRA(rank=2, targets={"vision": ["attn.qkv"]}), Classification(hidden=()), classes=["a"]
    )
    moved(backbone)
    updates = by_place(pairing.backbones, pairing.method.deltas())["vision"]
    unrolled = vit()  # twelve blocks, each with weights of its own
    unrolled.load_state_dict(merged.folded(backbone, updates))
    assert len({id(block) for block in unrolled.net.blocks}) == DEPTH
    batch = Batch(ids=["a", "b"], inputs={"vision": inputs()}, target={})
    plain = unrolled.pool(unrolled(inputs()[:, 0]))
    found = pairing(batch)["vision"][:, 0]
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain, tied().pool(tied()(inputs()[:, 0])), atol=1e-2)


def test_a_gate_acts_once_at_every_use() -> None:
    backbone = tied()
    frozen = {name: tensor.clone() for name, tensor in backbone.net.blocks[0].state_dict().items()}
    method = attached(ScaleEarth(targets={"vision": ["attn.qkv"]}, rank=3, alpha=3, estimate=False), backbone)
    assert len(method.updates) == 1
    calls: list[int] = []
    (update,) = method.updates.values()
    update.register_forward_hook(lambda *_: calls.append(1))
    moved(method)
    batch = Batch(["a", "b"], {}, {}, conditions={"gsd": torch.tensor([1.0, 4.0])})
    tokens = backbone.embed(inputs()[:, 0])[:, None]
    method.eval()
    found = method({"vision": backbone}, {"vision": tokens}, batch)["vision"]
    assert len(calls) == DEPTH
    for row, gsd in enumerate((1.0, 4.0)):
        (one,) = method.deltas(gsd=gsd)
        plain = vit()
        weights = dict(plain.state_dict())
        for k in range(DEPTH):
            for name, tensor in frozen.items():
                more = one.dense()["weight"].float() if name == "attn.qkv.weight" else 0
                weights[f"net.blocks.{k}.{name}"] = tensor + more
        plain.load_state_dict(weights)
        expected = plain.pool(plain(inputs()[row : row + 1, 0]))
        torch.testing.assert_close(found[row], expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize(
    ("period", "last", "index", "told"),
    [
        (2, 1, 1, "adapts vision, 1 block used 6 times (1 layer: qkv)"),
        (2, 2, 0, "adapts vision, 2 blocks used 6 times each (2 layers: qkv)"),
        (12, 2, 10, "adapts vision blocks 10 to 11 (2 layers: qkv)"),
        (5, 12, 0, "adapts vision, 5 blocks used 2 to 3 times each (5 layers: qkv)"),
    ],
)
def test_sites_start_where_their_layers_are_first_run(period: int, last: int, index: int, told: str) -> None:
    sites = find({"vision": tied(period)}, {"vision": ["attn.qkv"]}, {"vision": last})
    assert min(site.index for site in sites) == index
    assert describe(sites) == told


def test_a_layer_of_one_block_is_named_with_its_block() -> None:
    backbone = vit()
    sites = find({"vision": backbone}, {"vision": ["attn.qkv@3", "mlp.fc1@11", "mlp.fc2@11"]}, {})
    assert [(site.index, list(site.layers)) for site in sites] == [(3, ["attn.qkv"]), (11, ["mlp.fc1", "mlp.fc2"])]
    assert describe(sites) == "adapts vision blocks 3, 11 (3 layers: qkv, fc1, fc2)"
    method = attached(LoRA(rank=2, targets={"vision": ["attn.qkv@10", "mlp.fc1"]}, last={"vision": 3}), vit())
    assert len(method.deltas()) == 4
    assert method.prefix_depths() == {"vision": 9}
    method = attached(LoRA(rank=2, targets={"vision": ["attn.qkv@10"]}), vit())
    assert method.prefix_depths() == {"vision": 10}


@pytest.mark.parametrize(
    ("target", "last", "words"),
    [
        ("attn.qkv@12", {}, r"method\.targets\.vision: 'attn\.qkv@12' names a block; those to adapt are 0 to 11"),
        ("attn.qkv@7", {"vision": 4}, r"'attn\.qkv@7' names a block; those to adapt are 8 to 11"),
        ("attn.qkv@last", {}, r"'attn\.qkv@last' names a block"),
        ("attn.q@7", {}, r"method\.targets\.vision, block 7: 'attn\.q' matches no layer; it has "),
    ],
)
def test_a_block_that_is_not_there_is_said(target: str, last: dict[str, int], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        find({"vision": vit()}, {"vision": [target]}, last)


def test_a_shared_block_is_adapted_by_the_name_of_any_of_its_steps() -> None:
    (site,) = find({"vision": tied()}, {"vision": ["attn.qkv@5"]}, {})
    assert (site.index, site.uses) == (0, DEPTH)
