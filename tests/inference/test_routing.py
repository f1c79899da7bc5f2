"""Samples of one batch by adapters of their own: frozen blocks run once, and nobody is told anything else for it."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import small_vit
import tiny
import torch
from torch import Tensor

from zoo.batch import Batch
from zoo.inference.routing import predict_routed, shared_prefixes
from zoo.methods.base import Method
from zoo.methods.bottleneck import Bottleneck
from zoo.methods.frozen import Frozen
from zoo.methods.gpart import GPart
from zoo.methods.lora import LoRA
from zoo.methods.side import Side
from zoo.methods.tb_ava import TBAVA
from zoo.pairing import Pairing

VIT: Mapping[str, Callable[[], Method]] = {
    "frozen": Frozen,
    "late": lambda: LoRA(rank=2, targets={"vision": ["attn.qkv"]}, last={"vision": 1}),
    "early": lambda: LoRA(rank=2, targets={"vision": ["attn.qkv"]}, last={"vision": 5}),
    "gpart": lambda: GPart(dim=50, targets={"vision": ["mlp.fc1"]}, last={"vision": 3}),
    "side": lambda: Side(rungs=4, reduction=4),
}
CLIPS: Mapping[str, Callable[[], Method]] = {
    "tb_ava": lambda: TBAVA(rank=4, last=1),
    "lora": lambda: LoRA(rank=2, targets={"vision": ["1"], "audio": ["conv1"]}, last={"vision": 2, "audio": 1}),
    "frozen": Frozen,
    "audio alone": lambda: Frozen(streams=("audio",)),
    "bottleneck": lambda: Bottleneck(width=4),
}


def trained(model: Pairing, seed: int) -> Pairing:
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.trainable_state().values():
        tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def pictures() -> dict[str, Pairing]:
    return {name: trained(small_vit.pairing(make()), seed) for seed, (name, make) in enumerate(VIT.items())}


@pytest.fixture(scope="module")
def clips() -> dict[str, Pairing]:
    return {name: trained(tiny.pairing(make()), seed) for seed, (name, make) in enumerate(CLIPS.items())}


def require_same(pairings: Mapping[str, Pairing], batches: Mapping[str, Batch]) -> None:
    """Shared prefixes are those that every pairing makes alone, key by key."""
    found = shared_prefixes(pairings, batches)
    for name, pairing in pairings.items():
        alone = pairing.prefix(batches[name])
        assert found[name].keys() == alone.keys(), name
        for key, tokens in alone.items():
            torch.testing.assert_close(found[name][key], tokens, atol=1e-5, rtol=1e-5, msg=f"{name}, {key}")


def test_shared_prefixes_are_those_of_every_pairing_whatever_their_depths_and_taps(
    pictures: dict[str, Pairing],
) -> None:
    depths = {name: model.depths["vision"] for name, model in pictures.items()}
    assert depths == {"frozen": 12, "late": 11, "early": 7, "gpart": 9, "side": 12}
    assert pictures["side"].taps("vision") == (3, 6, 9)
    rows = {"frozen": [0], "late": [1, 2], "early": [0, 2], "gpart": [1], "side": [2, 1, 0]}
    batches = {name: small_vit.batch(own) for name, own in rows.items()}
    require_same(pictures, batches)
    for one in pictures:
        for other in pictures:
            require_same({n: pictures[n] for n in (one, other)}, {n: batches[n] for n in (one, other)})


def test_shared_prefixes_of_two_streams_of_which_one_method_reads_one(clips: dict[str, Pairing]) -> None:
    batches = {name: tiny.batch(k, k + 1) for k, name in enumerate(CLIPS)}
    assert "vision" not in clips["audio alone"].depths
    require_same(clips, batches)


def test_clips_of_other_lengths_pass_apart(clips: dict[str, Pairing]) -> None:
    short = tiny.batch(3)
    batches = {
        "lora": tiny.batch(0, 1),
        "frozen": replace(short, inputs={name: segments[:, :2] for name, segments in short.inputs.items()}),
    }
    require_same({name: clips[name] for name in batches}, batches)


def counted(model: Pairing, call: Callable[[], object]) -> list[int]:
    """Rows of every pass through the embedding of pictures."""
    seen: list[int] = []
    embed = model.backbones["vision"].embed

    def counting(inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        return embed(inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.backbones["vision"], "embed", counting)
        call()
    return seen


def test_an_input_that_stands_several_times_is_embedded_once(pictures: dict[str, Pairing]) -> None:
    some = {name: pictures[name] for name in ("late", "early", "gpart")}
    same = {name: small_vit.batch([0, 1]) for name in some}
    assert counted(some["late"], lambda: shared_prefixes(some, same)) == [2]
    assert counted(some["early"], lambda: shared_prefixes(some, same)) == []
    other = {**same, "early": small_vit.batch([2, 0])}
    assert counted(some["late"], lambda: shared_prefixes(some, other)) == [3]


def test_every_clip_is_told_what_its_own_pairing_says_of_it_alone(clips: dict[str, Pairing]) -> None:
    names = [*CLIPS, "frozen", "lora", "tb_ava", "lora"]
    samples = [tiny.clip(k % 6) for k in range(len(names))]
    found = predict_routed(clips, samples, names)
    assert [one.id for one in found] == [sample.id for sample in samples]
    for sample, name, one in zip(samples, names, found, strict=True):
        (alone,) = predict_routed({name: clips[name]}, [sample], [name])
        expected = clips[name].predict(clips[name].batch([sample]))["probabilities"][0]
        torch.testing.assert_close(alone.output["probabilities"], expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(one.output["probabilities"], expected, atol=1e-6, rtol=1e-5)
    other = [predict_routed(clips, [samples[0]], [name])[0].output["probabilities"] for name in CLIPS]
    assert all(not torch.allclose(each, other[0], atol=1e-3) for each in other[1:])
