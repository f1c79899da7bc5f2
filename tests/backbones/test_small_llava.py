"""The embedded LLaVA: real ends, a projector between them, and the first stage that trains it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data_modules.synthetic_scenes import SyntheticScenes
from zoo import convert
from zoo.backbones.small_llava import SmallLLaVA
from zoo.backbones.vision_language import decode
from zoo.backbones.weights import WeightsError
from zoo.batch import Batch, Picture, Question
from zoo.errors import SettingError
from zoo.methods.frozen import Frozen
from zoo.methods.projector import Projector
from zoo.pairing import Pairing
from zoo.tasks.multiple_choice import MultipleChoice

RANDOM = {"vision": "random:0", "language": "random:0", "projector": "random:0", "image_size": 56}


@pytest.fixture(scope="module")
def real() -> SmallLLaVA:
    return SmallLLaVA()


def pictures(*seeds: int) -> list[Picture]:
    return [Picture(f"p{s}", (np.random.default_rng(s).integers(0, 256, (60, 80, 3), dtype=np.uint8),)) for s in seeds]


def questions() -> list[Question]:
    return [Question("How many?", ("one", "two"), "B"), Question("What covers the ground?", answer="water")]


def shown(model: SmallLLaVA, *seeds: int) -> torch.Tensor:
    return model.look(model.collate([model.transform(picture) for picture in pictures(*seeds)]))


@pytest.mark.slow
def test_its_language_model_knows_a_capital_from_words_alone(real: SmallLLaVA) -> None:
    """Real weights, de-quantised and kept: random ones would not do this."""
    tokens = torch.tensor([real.chat.tokenizer("The capital of France is").input_ids])
    assert real.chat.tokenizer.decode(real.net(tokens).logits[0, -1].argmax()) == " Paris"


@pytest.mark.slow
def test_a_picture_becomes_sixteen_tokens_of_four_patches_each(real: SmallLLaVA) -> None:
    seen = shown(real, 0)
    assert seen.shape == (1, 1, 16, 4 * 384)
    tokens = real.vision.embed(real.vision.transform(pictures(0)[0]))
    for block in real.vision.blocks[: real.vision_block]:
        tokens = block(tokens)
    grid = tokens[0, 1:].view(8, 8, 384)
    expected = torch.cat([grid[2, 4], grid[2, 5], grid[3, 4], grid[3, 5]])  # second row of squares, third in it
    # Twice the same pass: with AVX2 MKL rounds by where in memory its operands lie.
    torch.testing.assert_close(seen[0, 0, 4 + 2], expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(seen[0, 0, 4 + 1], expected, atol=1e-2)
    torch.testing.assert_close(real.pooled(seen)[0], seen[0, 0].mean(0))


@pytest.mark.slow
def test_it_answers_the_scenes_it_was_aligned_on_better_than_chance(real: SmallLLaVA) -> None:
    data = SyntheticScenes(train_questions=1, val_questions=1, test_questions=24, kinds=("pixels",))
    data.setup()
    samples = [data.sets["test"][i] for i in range(24)]
    seen = real.look(real.collate([real.transform(sample) for sample in samples]))
    written = real.write(seen, [sample.question for sample in samples], 2)
    right = sum(text == sample.question.answer for text, sample in zip(written, samples, strict=True))
    assert right >= 12  # a quarter by chance


@pytest.mark.parametrize("what", ["likelihood", "write"])
def test_every_sample_alone_equals_itself_in_a_batch(what: str) -> None:
    model = SmallLLaVA(**RANDOM)
    seen = shown(model, 0, 1)
    if what == "write":
        together = model.write(seen, questions(), 5)
        alone = [model.write(seen[i : i + 1], questions()[i : i + 1], 5)[0] for i in (0, 1)]
        assert alone == together == model.write(seen, questions(), 5, use_cache=False)
    else:
        together = model.likelihood(seen, questions())
        for i, question in enumerate(questions()):
            alone = model.likelihood(seen[i : i + 1], [question])[0]
            torch.testing.assert_close(alone, together[i, : len(alone)], atol=1e-5, rtol=1e-5)


def test_the_projector_alone_trains_from_where_it_was() -> None:
    model = SmallLLaVA(**RANDOM)
    seen = shown(model, 0, 1)
    expected = model.likelihood(seen, questions())
    pairing = Pairing({"vlm": model}, Projector(), MultipleChoice(), classes=["a"])
    assert {name.partition(".")[2] for name in pairing.trainable} == {
        f"projector.{name}" for name in model.projector.state_dict()
    }
    batch = Batch(["p0", "p1"], {}, {}, prefix={"vlm": seen}, questions=questions())
    found = pairing(batch)["vlm"]
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())
    optimizer = torch.optim.SGD([p for p in pairing.parameters() if p.requires_grad], lr=0.5)
    before = -found.nansum()
    before.backward()
    optimizer.step()
    assert -pairing(batch)["vlm"].nansum() < before
    assert torch.equal(model.likelihood(seen, questions()).nan_to_num(), pairing(batch)["vlm"].nan_to_num())


@pytest.mark.slow
def test_a_trained_projector_is_converted_to_a_weights_file_and_read_back(tmp_path: Path, monkeypatch) -> None:
    model = SmallLLaVA(**RANDOM)
    state = {f"method.projector.{n}": t.clone() + 1 for n, t in model.projector.state_dict().items()}
    (tmp_path / "adapter").mkdir()
    save_file(state, tmp_path / "adapter" / "adapter.safetensors", metadata={"format": "3"})
    monkeypatch.setattr("zoo.adapter.directory.verify", lambda folder: None)
    file = tmp_path / "projector.safetensors"
    assert convert.main([f"adapter={tmp_path / 'adapter'}", f"output={file}"]) == 0
    read = SmallLLaVA(**{**RANDOM, "projector": f"file:{file}"})
    assert all(torch.equal(t, state[f"method.projector.{n}"]) for n, t in read.projector.state_dict().items())
    assert read.fingerprint != model.fingerprint
    with pytest.raises(WeightsError, match="does not fit"):
        SmallLLaVA(**{**RANDOM, "projector": f"file:{tmp_path / 'adapter' / 'adapter.safetensors'}"})


def test_a_frozen_one_answers_too() -> None:
    model = SmallLLaVA(**RANDOM)
    pairing = Pairing({"vlm": model}, Frozen(), MultipleChoice(max_new_tokens=3), classes=["a"])
    batch = Batch(["p0", "p1"], {}, {}, prefix={"vlm": shown(model, 0, 1)}, questions=questions())
    written = decode(pairing.predict(batch)["written"])
    assert written == model.write(batch.prefix["vlm"], questions(), 3)


def test_without_a_projector_the_first_stage_is_refused() -> None:
    from tiny import TinyVision

    with pytest.raises(SettingError, match="needs one backbone with a projector"):
        Projector().attach({"vision": TinyVision()})
