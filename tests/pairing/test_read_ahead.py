"""Frozen language blocks read a question once, and nothing of a batch enters what is kept of it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from kept import twin
from torch import Tensor

import zoo
from zoo.backbones.small_llava import SmallLLaVA
from zoo.batch import Batch, Picture, Question
from zoo.methods.base import Ahead, Method
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.projector import Projector
from zoo.methods.scale_earth import ScaleEarth
from zoo.pairing import Pairing
from zoo.prefix import PrefixCache
from zoo.tasks.multiple_choice import MultipleChoice

RANDOM = {"vision": "random:0", "language": "random:0", "projector": "random:0", "image_size": 56}
Q, V = ["self_attn.q_proj"], ["self_attn.v_proj"]
QUESTIONS = [
    Question("How many?", ("one", "two"), "B"),
    Question("What covers most of the ground between the roofs and the road?", answer="water and reeds"),
    Question("Wide?", answer="no"),
]


def scale_earth(**settings) -> ScaleEarth:
    return ScaleEarth(**{"targets": {"language": Q + V}, "last": {"language": 1}, "rank": 6, **settings})


drawn = cache(lambda: SmallLLaVA(**RANDOM))  # once: drawing its weights takes longer than most tests here


def pairing(method: Method, folder: Path | None = None, **settings) -> Pairing:
    torch.manual_seed(0)
    cache = None if folder is None else PrefixCache(folder=str(folder), **settings)
    made = Pairing({"vlm": twin(drawn())}, method, MultipleChoice(max_new_tokens=3), classes=["a"], cache=cache)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # away from the start, where updates are silent
        for name, parameter in made.method.named_parameters():
            if name.endswith(".up"):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return made


def batch(model: Pairing, rows: Sequence[int] = (0, 1, 2), size: tuple[int, int] = (60, 80)) -> Batch:
    backbone = model.backbones["vlm"]
    made = [Picture(f"p{i}", (np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8),)) for i in rows]
    return Batch(
        [sample.id for sample in made],
        {"vlm": backbone.collate([backbone.transform(sample) for sample in made])},
        {},
        keys=[f"tiny/{sample.id}" for sample in made],
        conditions={"gsd": torch.tensor([0.3, 2.0, 10.0])[list(rows)]},
        questions=[QUESTIONS[i] for i in rows],
    )


def step(model: Pairing, samples: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses [B] and gradients of one training step."""
    model.train()
    model.zero_grad()
    torch.manual_seed(0)
    losses = model.task.loss(model(samples), samples)["likelihood"]
    (losses.mean() + sum(model.method.losses(lambda features: features["vlm"]).values())).backward()
    return losses.detach(), {n: p.grad.clone() for n, p in model.method.named_parameters() if p.grad is not None}


def entries(folder: Path) -> set[Path]:
    return set(folder.rglob("*.safetensors"))


def runs_of(model: Pairing, block: int) -> list[int]:
    """Grows by one with every run of a language block."""
    runs: list[int] = []
    model.backbones["vlm"].towers["language"][block].register_forward_hook(lambda *_: runs.append(1))
    return runs


@pytest.mark.parametrize("scale", ["gate", "none"])
def test_losses_and_gradients_are_those_of_reading_from_the_start_and_blocks_run_once(
    tmp_path: Path, scale: str
) -> None:
    plain, model = pairing(scale_earth(scale=scale)), pairing(scale_earth(scale=scale), tmp_path)
    assert model.method.ahead == Ahead("vlm", 1)
    runs = runs_of(model, 0)
    expected, first, kept = step(plain, batch(plain)), step(model, batch(model)), step(model, batch(model))
    assert len(runs) == len(QUESTIONS)  # each alone, in the first step
    torch.testing.assert_close(first[0], expected[0], atol=1e-5, rtol=1e-5)
    assert first[1].keys() == expected[1].keys()
    assert all(gradient.abs().sum() > 0 for name, gradient in first[1].items() if name.endswith(".up"))
    torch.testing.assert_close(first[1], expected[1], atol=1e-5, rtol=1e-4)
    assert torch.equal(first[0], kept[0])
    assert all(torch.equal(first[1][name], gradient) for name, gradient in kept[1].items())
    assert not any(parameter.requires_grad for parameter in model.backbones.parameters())


def test_what_is_kept_is_the_same_whatever_the_batch_the_padding_and_the_precision(tmp_path: Path) -> None:
    together, alone = (pairing(scale_earth(), tmp_path / name) for name in ("together", "alone"))
    losses = step(together, batch(together))[0]
    seen = together.prefix(batch(together))["vlm"]  # the same: vision tokens are rounded by their number
    for row in (2, 0, 1):
        one = replace(batch(alone, [row]), prefix={"vlm": seen[[row]]})
        with torch.autocast("cpu", torch.bfloat16):
            alone(one)
        torch.testing.assert_close(step(alone, one)[0][0], losses[row], atol=1e-5, rtol=1e-5)
    read, found = (
        {path.stem: tokens for path in entries(model.cache.folder) if (tokens := model.cache.read(path.stem)).ndim == 2}
        for model in (together, alone)
    )
    assert len(read) == len({len(rows) for rows in read.values()}) == len(QUESTIONS)  # of three lengths: not padded
    torch.testing.assert_close(found, read, atol=1e-6, rtol=1e-6)
    # From single entries, in another order and with other padding.
    two = replace(batch(alone, [1, 0]), prefix={"vlm": seen[[1, 0]]})
    torch.testing.assert_close(step(alone, two)[0], losses[[1, 0]], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_smaller_type_rounds_the_first_step_as_well(tmp_path: Path, dtype: str) -> None:
    plain, model = pairing(scale_earth()), pairing(scale_earth(), tmp_path, dtype=dtype)
    expected, first, kept = step(plain, batch(plain))[0], step(model, batch(model))[0], step(model, batch(model))[0]
    assert torch.equal(first, kept)
    assert not torch.equal(first, expected)


def test_an_entry_is_of_one_sample_question_answer_model_and_number_of_blocks(tmp_path: Path) -> None:
    model = pairing(scale_earth(), tmp_path)
    rows = batch(model, [0])
    question = rows.questions[0]
    others = [
        replace(rows, questions=[question._replace(text="How few?")]),
        replace(rows, questions=[question._replace(choices=("two", "one"))]),
        replace(rows, questions=[question._replace(answer="A B")]),
        replace(rows, keys=["tiny/other"]),
    ]
    counts = []
    for each in [rows, *others, rows]:
        model(each)
        counts.append(sum(model.cache.read(path.stem).ndim == 2 for path in entries(tmp_path)))
    assert counts == [1, 2, 3, 4, 5, 5]
    backbone, key = model.backbones["vlm"], model.cache.key
    assert len({key(backbone.fingerprint, blocks, "x") for blocks in (1, 2)} | {key("other", 1, "x")}) == 3


def test_answers_are_written_from_the_start_and_as_without_a_cache(tmp_path: Path) -> None:
    plain, model = pairing(scale_earth()).eval(), pairing(scale_earth(), tmp_path).eval()
    model(batch(model))
    runs = runs_of(model, 0)
    assert torch.equal(model.predict(batch(model))["written"], plain.predict(batch(plain))["written"])
    assert runs


def test_a_batch_without_keys_and_a_pairing_without_a_cache_read_from_the_start(tmp_path: Path) -> None:
    for model in (pairing(scale_earth()), pairing(scale_earth(), tmp_path)):
        runs = runs_of(model, 0)
        step(model, replace(batch(model), keys=[]))
        assert len(runs) == 1
    assert not entries(tmp_path)


@pytest.mark.slow
def test_only_frozen_blocks_that_read_the_same_at_every_step_are_run_ahead(tmp_path: Path) -> None:
    told = pairing(scale_earth(scale="token"), tmp_path)
    assert told.method.ahead is None
    assert told.method.describe().endswith("; all language blocks run at every step")
    for method in (
        Frozen(),
        Projector(),
        scale_earth(last={"language": 2}),
        scale_earth(targets={"vision": ["attn.qkv"], "language": Q}, last={"vision": 1, "language": 1}),
        LoRA(targets={"language": Q}),
    ):
        assert pairing(method).method.ahead is None


def test_lora_reads_ahead_as_well(tmp_path: Path) -> None:
    settings = {"targets": {"language": Q}, "last": {"language": 1}}
    plain, model = pairing(LoRA(**settings)), pairing(LoRA(**settings), tmp_path)
    assert model.method.ahead == Ahead("vlm", 1)
    for each in (plain, model):
        with torch.no_grad():
            for name, parameter in each.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.1)
    torch.testing.assert_close(step(model, batch(model))[0], step(plain, batch(plain))[0], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "blocks"), [("scale_earth-scenes", 18), ("small_llava-rsscn7", None)])
def test_shipped_adapters_think_the_same_of_answers_with_and_without(
    name: str, blocks: int | None, tmp_path: Path
) -> None:
    model = zoo.load(name).pairing
    assert (model.method.ahead and model.method.ahead.blocks) == blocks
    (stream,) = model.depths
    rows = batch(model, [0, 1], (112, 112))
    rows = replace(rows, inputs={stream: rows.inputs["vlm"]})
    with torch.no_grad():
        expected = model(rows)[stream]
        written = model.predict(rows)["written"]
        model.cache = PrefixCache(folder=str(tmp_path))
        torch.testing.assert_close(model(rows)[stream], expected, atol=1e-5, rtol=1e-5, equal_nan=True)
        assert torch.equal(model.predict(rows)["written"], written)
    assert len(entries(tmp_path)) == (2 if blocks is None else 4)
