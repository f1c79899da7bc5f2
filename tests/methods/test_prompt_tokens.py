"""Learned prompts: silent where taken away, at the start the clicks that they embed, and all that learns."""

import pytest
import sam_tiny
import tiny
import torch

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.prompt_tokens import PromptTokens
from zoo.pairing import Pairing
from zoo.tasks.promptable import PromptableSegmentation

SIDE = sam_tiny.SIDE

NAMES = ["sam", "sam2"]


def pairing(name: str = "sam", tokens: int = 4, prompts: str = "none") -> Pairing:
    torch.manual_seed(0)
    task = PromptableSegmentation(prompts=prompts, objects=2, least=10)
    return Pairing({"vision": sam_tiny.made(name)}, PromptTokens(tokens=tokens), task, classes=["a", "b"]).eval()


def batch(count: int = 2) -> Batch:
    mask = torch.zeros(count, SIDE, SIDE, dtype=torch.uint8)
    for i in range(count):
        mask[i, 4 + i : 20 + i, 6:30] = 1
    place = torch.tensor([[i, 0, 0, SIDE, SIDE, 1, SIDE, SIDE] for i in range(count)])
    inputs = sam_tiny.pictures(3)[:count, None]
    return Batch([f"p{i}#0" for i in range(count)], {"vision": inputs}, {"mask": mask}, conditions={"place": place})


@torch.no_grad()
def logits(model: Pairing, data: Batch) -> torch.Tensor:
    return model.task.logits(model(data), data)


@pytest.mark.parametrize("name", NAMES)
def test_step_0_is_the_frozen_decoder_asked_with_clicks_spread_over_the_picture(name: str) -> None:
    model, plain = pairing(name), sam_tiny.kept(name)
    maps = sam_tiny.mapped(plain, sam_tiny.pictures(3)[:2])
    # Four clicks, and as many marks of no point as a decoder without prompts has: the order of tokens means nothing.
    clicks = torch.tensor([[16.0, 16.0], [48.0, 16.0], [16.0, 48.0], [48.0, 48.0]]) - 0.5
    with torch.no_grad():
        embedded = plain.embedding(maps)
        sparse, dense = plain.net.prompt_encoder(clicks.expand(2, 1, 4, 2), torch.ones(2, 1, 4).long(), None, None)
        none = [] if name == "sam" else [sparse[:, :, 4:]] * 2
        image, *finer = embedded
        more = {"high_resolution_features": finer} if finer else {}
        tokens = torch.cat([sparse[:, :, :4], *none], dim=2)
        found = plain.net.mask_decoder(image, plain.places(image), tokens, dense, multimask_output=False, **more)[0]
    torch.testing.assert_close(logits(model, batch()), found[:, :, 0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("prompts", ["none", "box"])
def test_taken_away_they_leave_the_frozen_decoder(name: str, prompts: str) -> None:
    model, data = pairing(name, prompts=prompts), batch()
    plain = sam_tiny.kept(name)
    maps = sam_tiny.mapped(plain, sam_tiny.pictures(3)[:2])
    boxes = None if prompts == "none" else model.task.drawn(data).boxes
    with torch.no_grad(), model.method.without():
        expected = plain.masks({after: maps[after] for after in plain.asked}, boxes=boxes)[0][:, :, 0]
        found = model.task.logits(model(data), data)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(logits(model, data), expected, atol=1e-4)


def test_nothing_else_learns_and_the_loss_falls() -> None:
    model, data = pairing(tokens=8), batch()
    assert model.trainable == ["method.tokens"]
    assert model.method.tokens.shape == (8, 32)
    assert PromptTokens().count * 256 == 2048
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.method.parameters(), lr=0.05)
    data.prefix = model.prefix(data)
    losses = []
    for _ in range(8):
        loss = model.losses(data)["task"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["method.tokens"]
    assert torch.pdist(model.method.tokens.detach()).min() > 0.01  # they do not move as one
    other = pairing(tokens=8)
    other.load_trainable(model.trainable_state())
    assert torch.equal(logits(other, data), logits(model, data))
    one = Batch(data.ids[:1], {"vision": data.inputs["vision"][:1]}, {}, conditions={})
    torch.testing.assert_close(logits(model, one), logits(model, data)[:1], atol=1e-5, rtol=1e-5)


def test_a_backbone_without_decoder_is_refused() -> None:
    with pytest.raises(SettingError, match=r"PromptTokens needs one SAM"):
        tiny.pairing(PromptTokens())
    with pytest.raises(SettingError, match="its tokens are an input of the decoder"):
        PromptTokens().deltas()
