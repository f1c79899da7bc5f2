"""`a+b` adds products and never factors, averages logits, and refuses what cannot be added before a weight is read."""

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import sum_tiny
import torch
from kept import kept_encoders
from peft import LoraConfig
from peft.tuners.lora import LoraModel
from sum_tiny import METHODS, Made, adapter, features, logits, made
from torch import Tensor, nn

from zoo.adapter import directory, summed
from zoo.adapter.summed import Summed
from zoo.backbones.base import Backbone
from zoo.backbones.fingerprint import fingerprint
from zoo.interop import merged
from zoo.methods.deltas import Delta, by_place, low_rank, plain_state
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose

__all__ = ["kept_encoders", "made"]  # fixtures of the tests here

BA, DC = (([[1.0], [0.0]]), ([[1.0, 0.0]])), (([[0.0], [2.0]]), ([[0.0, 1.0]]))
"""Two updates of a 2 x 2 weight as (B, A): diag(1, 0) and diag(0, 2)."""


class Plane(Backbone):
    """One block, one layer of two inputs and outputs: a diagonal weight."""

    stream = "vision"

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2, bias=False)
        self.layer.weight.data = torch.diag(torch.tensor([5.0, 7.0]))
        self.dims = (2, 2)
        self.fingerprint = fingerprint(self, {})
        self.freeze()

    @property
    def blocks(self) -> list[nn.Module]:
        return [nn.Sequential(self.layer)]


def change(layer: nn.Module, factors: tuple[Any, Any], way: str, scaling: float = 1.0) -> Delta:
    up, down = map(torch.tensor, factors)
    delta = low_rank(layer, down, up, scaling)
    return delta if way == "factors" else Delta(layer, delta.dense)


def summed_weight(*changes: tuple[Any, str], scalings: tuple[float, ...] = (1.0, 1.0)) -> Tensor:
    """The weight by which the sum of changes of the frozen layer acts, without the frozen one."""
    plane = Plane()
    own = [{"vision": {"layer": change(plane.layer, f, way, s)}} for (f, way), s in zip(changes, scalings, strict=True)]
    Summed(own, [{"vision": 0}] * len(own)).attach({"vision": plane})
    return plane.layer(torch.eye(2)).T - torch.diag(torch.tensor([5.0, 7.0]))


@pytest.mark.parametrize(
    "ways", [("factors", "factors"), ("dense", "dense"), ("factors", "dense"), ("dense", "factors")]
)
def test_products_are_added_and_neither_factors_nor_their_means(ways: tuple[str, str]) -> None:
    found = summed_weight((BA, ways[0]), (DC, ways[1]))
    assert found.tolist() == [[1, 0], [0, 2]]
    (b, a), (d, c) = (tuple(map(torch.tensor, pair)) for pair in (BA, DC))
    assert ((b + d) @ (a + c)).tolist() == [[1, 1], [2, 2]]  # what it is not
    assert ((b + d) / 2 @ ((a + c) / 2)).tolist() == [[0.25, 0.25], [0.5, 0.5]]
    half = summed_weight((BA, ways[0]), (DC, ways[1]), scalings=(0.5, 3.0))  # each has its own alpha / r
    assert half.tolist() == [[0.5, 0], [0, 6]]


def test_it_is_what_peft_makes_of_two_active_adapters() -> None:
    torch.manual_seed(0)
    net, plain = nn.Sequential(nn.Linear(6, 5)), nn.Linear(6, 5)
    plain.load_state_dict(net[0].state_dict())
    tuned = LoraModel(net, {"a": LoraConfig(r=2, lora_alpha=3, target_modules=["0"])}, "a")
    tuned.peft_config["b"] = LoraConfig(r=4, lora_alpha=4, target_modules=["0"])
    tuned.inject_adapter(tuned.model, "b")
    layer = net[0]
    for name in ("a", "b"):
        nn.init.normal_(layer.lora_B[name].weight)
    deltas = [low_rank(plain, layer.lora_A[n].weight, layer.lora_B[n].weight, layer.scaling[n]) for n in ("a", "b")]
    method, x = Summed([], [{}]), torch.randn(3, 6)
    method.updates = nn.ModuleList()
    method._add(plain, deltas)
    layer.set_adapter(["a", "b"])
    torch.testing.assert_close(plain(x), layer(x))
    layer.set_adapter("a")
    assert not torch.allclose(plain(x), layer(x), atol=1e-2)


# --- adapters ---------------------------------------------------------------------------------------------------------


def loaded(*folders: Path) -> Pairing:
    return summed.load(folders)[1]


def reference(*folders: Path) -> tuple[Pairing, list[nn.Module]]:
    """A frozen backbone with every adapter's folded weights, their changes added in float64; and the heads."""
    parts = [directory.load(folder)[1] for folder in folders]
    bare = build_pairing(compose("mantis", [*sum_tiny.SMALL, "method=frozen"], smoke=True), parts[0].classes).eval()
    points = bare.backbones["points"]
    frozen = plain_state(points)
    total = {name: tensor.clone() for name, tensor in frozen.items()}
    for part in parts:
        (deltas,) = by_place(part.backbones, part.method.deltas()).values()
        for name, tensor in merged.folded(part.backbones["points"], deltas).items():
            if tensor.is_floating_point():
                total[name] = (total[name].double() + tensor.double() - frozen[name].double()).float()
    for name, tensor in points.state_dict().items():  # the memory of the others is left alone
        path, _, own = name.rpartition(".")
        if not torch.equal(tensor, total[name]):
            setattr(points.get_submodule(path), own, nn.Parameter(total[name], requires_grad=False))
    return bare, [part.task for part in parts]


SUMS = [
    ("lora", "lora_late"),
    ("lora", "matryoshka"),
    ("gpart", "lora"),
    ("bitfit", "ssf"),
    ("peft", "gpart"),
    ("lora", "gpart", "bitfit"),
    ("ssf", "lora_late", "matryoshka"),
]


@pytest.mark.parametrize("names", SUMS, ids=" + ".join)
def test_a_sum_is_a_backbone_whose_weights_have_all_changes_and_a_mean_of_logits(
    made: Made, names: tuple[str, ...]
) -> None:
    folders = [made(name) for name in names]
    model, (plain, heads) = loaded(*folders), reference(*folders)
    expected = features(plain)
    torch.testing.assert_close(features(model), expected, atol=2e-5, rtol=1e-4)
    every = torch.stack([head.logits({"points": expected}, sum_tiny.batch()) for head in heads])
    torch.testing.assert_close(logits(model), every.mean(0), atol=2e-5, rtol=1e-4)
    for folder in folders:
        alone = directory.load(folder)[1]
        assert not torch.allclose(features(alone), features(model), atol=1e-3)
    with model.method.without():
        frozen = build_pairing(compose("mantis", [*sum_tiny.SMALL, "method=frozen"], smoke=True), plain.classes).eval()
        assert torch.equal(features(model), features(frozen))


def test_the_order_does_not_matter(made: Made) -> None:
    folders = [made(name) for name in ("lora", "gpart", "ssf")]
    every = [logits(loaded(*order)) for order in permutations(folders)]
    for other in every[1:]:
        torch.testing.assert_close(other, every[0], atol=1e-6, rtol=1e-5)


def test_a_sum_with_an_adapter_that_learned_nothing_is_the_other_one(made: Made, tmp_path: Path) -> None:
    still = adapter(tmp_path / "still", *METHODS["lora"], spread=0.0)
    model, alone = loaded(made("gpart"), still), directory.load(made("gpart"))[1]
    torch.testing.assert_close(features(model), features(alone), atol=1e-6, rtol=1e-5)


def test_a_sample_is_predicted_alike_alone_and_in_a_batch(made: Made) -> None:
    model = loaded(made("lora"), made("gpart"))
    alone = torch.cat([features(model, sum_tiny.batch(k)) for k in range(4)])
    torch.testing.assert_close(features(model, sum_tiny.batch(*range(4))), alone, atol=1e-6, rtol=1e-5)


def test_its_prefix_ends_where_the_first_change_of_any_adapter_is(made: Made) -> None:
    assert loaded(made("lora_late"), made("lora")).depths == {"points": 0}
    assert directory.load(made("lora_late"))[1].depths == {"points": 1}


def test_its_adapters_stay_as_they_are(made: Made) -> None:
    before = {name: (made(name) / "adapter.safetensors").read_bytes() for name in ("lora", "gpart")}
    loaded(*map(made, before))
    assert before == {name: (made(name) / "adapter.safetensors").read_bytes() for name in before}
