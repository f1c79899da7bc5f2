"""Vision-language models of transformers: whole and tiny, with random weights."""

import contextlib

import pytest
import torch
import vlm_tiny as tiny
from torch import nn

from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.batch import Batch, Picture
from zoo.errors import SettingError
from zoo.methods.lora import LoRA

names = pytest.mark.parametrize("name", tiny.NAMES)


@pytest.fixture(scope="module")
def models() -> dict[str, HFVisionLanguage]:
    """Shared by the tests that change nothing."""
    return {name: tiny.model(name) for name in tiny.NAMES}


def batch(model: HFVisionLanguage, samples: list[Picture], write: int = 0) -> Batch:
    return Batch(
        ids=[s.id for s in samples],
        inputs={"scene": tiny.inputs(model, samples)},
        target={},
        questions=[s.question for s in samples],
        write=write,
    )


def loss(values: torch.Tensor) -> torch.Tensor:
    return -values[~values.isnan()].mean()


@names
def test_towers_are_disjoint_and_hold_every_block_that_matters(models, name):
    model = models[name]
    towers = model.towers
    assert {tower: len(blocks) for tower, blocks in towers.items()} == {"vision": 2, "language": 2}
    layers = {tower: {id(m) for block in blocks for m in block.modules()} for tower, blocks in towers.items()}
    assert not layers["vision"] & layers["language"]
    blocks = {
        id(m) for m in model.net.modules() if type(m).__name__.endswith(("Block", "EncoderLayer", "DecoderLayer"))
    }
    missing = blocks - layers["vision"] - layers["language"]
    assert len(missing) == name.startswith("llava"), "LLaVA never reads its last vision block"


def test_what_a_cut_vision_block_computes_has_no_effect():
    model = tiny.model("llava")
    before = tiny.likelihood(model, tiny.pictures())
    unread = next(m for path, m in model.net.named_modules() if path.endswith("vision_tower.encoder.layers.2"))
    unread.register_forward_hook(lambda module, args, out: out + 1)
    torch.testing.assert_close(tiny.likelihood(model, tiny.pictures()), before, equal_nan=True, rtol=0, atol=0)


@names
def test_every_sample_alone_equals_itself_in_a_batch(models, name):
    model, samples = models[name], tiny.pictures()
    seen, questions = model.look(tiny.inputs(model, samples)), [s.question for s in samples]
    together, written, pooled = model.likelihood(seen, questions), model.write(seen, questions, 6), model.pooled(seen)
    assert pooled.shape == (3, model.image_dim)
    assert pooled.dtype == torch.float32
    assert len(set(written)) == 3
    for row, sample in enumerate(samples):
        alone = model.look(tiny.inputs(model, [sample]))
        values = model.likelihood(alone, [sample.question])
        length = len(sample.question.answer) + 1
        assert values.shape == (1, length)
        torch.testing.assert_close(together[row, :length], values[0], rtol=1e-4, atol=1e-5)
        assert together[row, length:].isnan().all()
        torch.testing.assert_close(pooled[row], model.pooled(alone)[0], rtol=1e-4, atol=1e-6)
        assert model.write(alone, [sample.question], 6) == [written[row]]


@names
def test_the_cache_changes_no_word(models, name):
    model, samples = models[name], tiny.pictures()
    seen, questions = model.look(tiny.inputs(model, samples)), [s.question for s in samples]
    assert model.write(seen, questions, 8) == model.write(seen, questions, 8, use_cache=False)


@names
def test_the_likelihood_is_that_of_the_models_own_forward(models, name):
    model = models[name]
    for sample in tiny.pictures():
        expected = tiny.reference(model, name, sample)
        torch.testing.assert_close(tiny.likelihood(model, [sample])[0], expected, rtol=1e-4, atol=1e-4)


@names
def test_what_is_written_is_what_the_models_own_forward_finds_likeliest(models, name):
    model, samples = models[name], tiny.pictures()
    written = model.write(model.look(tiny.inputs(model, samples)), [s.question for s in samples], 6)
    for sample, text in zip(samples, written, strict=True):
        tokens: list[int] = []
        while len(tokens) < 6 and not model.chat.stops & set(tokens):
            tokens.append(int(tiny.own_forward(model, name, sample, tokens)[-1].argmax()))
        assert text == model.chat.text([t for t in tokens if t not in model.chat.stops])
        assert text


@names
def test_writing_ends_with_the_turn(models, name, monkeypatch):
    model, samples = models[name], tiny.pictures()
    monkeypatch.setattr(model.chat, "stops", frozenset(range(model.net.config.text_config.vocab_size)))
    steps = []
    handle = model.towers["language"][0].register_forward_hook(lambda *_: steps.append(1))
    assert model.write(model.look(tiny.inputs(model, samples)), [s.question for s in samples], 5) == ["", "", ""]
    handle.remove()
    assert len(steps) == 1


@names
def test_pooled_is_the_mean_of_what_the_vision_tower_gives(models, name):
    model, sample, seen = models[name], tiny.picture(1, (70, 33), (64, 64)), []
    if name in tiny.QWENS:
        handle = model.net.model.visual.merger.register_forward_hook(lambda module, args, out: seen.append(out))
    else:
        handle = model.projectors[0].register_forward_hook(lambda module, args, out: seen.append(args[0]))
    pooled = model.pooled(model.look(tiny.inputs(model, [sample])))
    handle.remove()
    torch.testing.assert_close(pooled[0], seen[0].flatten(0, -2).mean(0))


@names
def test_owners_name_the_sample_of_every_row_of_the_vision_tower(models, name):
    model, samples = models[name], tiny.pictures()
    rows = tiny.inputs(model, samples)
    shapes = []
    handle = model.towers["vision"][0].register_forward_hook(lambda module, args, out: shapes.append(out.shape))
    model.look(rows)
    handle.remove()
    owners = model.owners(rows, "vision")
    assert len(owners) == shapes[0][0]
    assert owners.tolist() == sorted(owners.tolist())
    assert torch.bincount(owners).tolist() == [len(model.transform(s)["pixel_values"]) for s in samples]
    assert model.owners(rows, "language") is None


@names
def test_an_image_of_any_size_has_few_tokens(models, name):
    rows = models[name].transform(tiny.picture(0, (1500, 1700)))
    assert int(models[name].look(models[name].collate([rows]))["tokens"]) <= 16 * 5 + 8


def scaled(name: str, *, checkpointing: bool):
    """A model whose second language layer has a trainable scale inside, where a checkpoint runs it twice."""
    model = tiny.model(name, checkpointing=checkpointing)
    scale = nn.Parameter(torch.linspace(0.5, 1.5, model.dims[0]))
    calls = []

    def multiply(module, args, out):
        calls.append(len(calls))
        return out * scale

    model.towers["language"][1].get_submodule("mlp").register_forward_hook(multiply)
    return model, scale, calls


@names
def test_checkpointing_changes_no_gradient_and_replays_a_methods_contexts(name):
    entered = []

    @contextlib.contextmanager
    def told(where):
        entered.append(where)
        yield

    plain, expected, once = scaled(name, checkpointing=False)
    replayed, scale, twice = scaled(name, checkpointing=True)
    replayed.recompute = lambda: (told("forward"), told("again"))
    loss(tiny.likelihood(plain, tiny.pictures())).backward()
    loss(tiny.likelihood(replayed, tiny.pictures())).backward()
    torch.testing.assert_close(scale.grad, expected.grad)
    assert scale.grad.abs().max() > 0
    assert (len(once), len(twice)) == (1, 2)
    assert entered.count("forward") >= 4, "every block of both towers"
    assert entered.count("again") >= 1


@names
def test_nothing_is_replayed_while_writing_or_evaluating(name):
    model, *_ = scaled(name, checkpointing=True)
    samples = tiny.pictures()[:1]
    seen, questions = model.look(tiny.inputs(model, samples)), [s.question for s in samples]
    expected = tiny.model(name).likelihood(seen, questions)
    entered = []
    model.recompute = lambda: entered.append(1) or (contextlib.nullcontext(), contextlib.nullcontext())
    with torch.enable_grad():
        model.write(seen, questions, 2)
    assert not entered
    model.eval()
    model.likelihood(seen, questions)
    assert not entered
    model.train()
    assert model.likelihood(seen, questions).shape == expected.shape
    assert entered


def test_only_checkpointed_blocks_themselves_know_of_the_training():
    model = tiny.model("llava", checkpointing=True)
    training = [type(m).__name__ for m in model.modules() if m.training]
    assert sorted(set(training)) == ["CLIPEncoderLayer", "LlamaDecoderLayer"]
    assert not any(m.training for m in model.eval().modules())
    assert not any(m.training for m in tiny.model("llava").train().modules())


@names
@pytest.mark.parametrize(("tower", "other"), [("language", "vision"), ("vision", "language")])
def test_lora_in_one_tower_trains_that_tower_and_nothing_else(name, tower, other):
    model, samples = tiny.model(name, checkpointing=True), tiny.pictures()[:2]
    frozen = {key: value.clone() for key, value in model.state_dict().items()}
    before = tiny.likelihood(model, samples)
    qkv = name in tiny.QWENS and tower == "vision"
    lora = LoRA(rank=2, alpha=4.0, targets={tower: ["attn.qkv"] if qkv else ["q_proj", "v_proj"]})
    lora.attach({"scene": model})
    data = batch(model, samples)
    features = lora({"scene": model}, data.inputs, data)["scene"]
    torch.testing.assert_close(features, before, equal_nan=True, rtol=1e-5, atol=1e-6)
    trained = {key: p for key, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in key for key in trained)
    inside = {id(p) for block in model.towers[tower] for p in block.parameters()}
    outside = {id(p) for block in model.towers[other] for p in block.parameters()}
    assert {id(p) for p in trained.values()} <= inside - outside
    optimizer = torch.optim.AdamW(trained.values(), lr=0.05)
    losses = []
    for step in range(3):
        model.train()
        value = loss(lora({"scene": model}, data.inputs, data)["scene"])
        optimizer.zero_grad()
        value.backward()
        if step:  # B is zero at first, so A has no gradient yet
            assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trained.values())
        optimizer.step()
        losses.append(value.item())
    assert losses[2] < losses[0]
    after = {key.replace("base_layer.", ""): value for key, value in model.state_dict().items() if "lora_" not in key}
    assert all(torch.equal(value, frozen[key]) for key, value in after.items())
    assert after.keys() == frozen.keys()
    model.eval()
    with torch.inference_mode():
        answers = lora({"scene": model}, data.inputs, batch(model, samples, write=3))["scene"]
    assert answers.dtype == torch.uint8
    assert len(answers) == 2


def test_a_target_of_the_other_tower_is_refused():
    lora = LoRA(targets={"language": ["attn.qkv"]})
    with pytest.raises(SettingError, match=r"language, block 0: 'attn.qkv' matches no layer; it has \['mlp"):
        lora.attach({"scene": tiny.model("qwen3_vl")})
