"""Visual prompts: their equations, that nothing else sees them, and to whose blocks they are given."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import sam_tiny
import tiny
import torch
import vlm_tiny
from makers import MAKERS
from test_dense_methods import batch, kept, moved, steps
from test_sites import inputs, tied

from zoo.backbones.base import Backbone, tap
from zoo.backbones.mamba3d import Mamba3D
from zoo.backbones.timm_encoder import TimmEncoder
from zoo.errors import SettingError
from zoo.interop.graph import compare, run_torch, to_torch
from zoo.interop.language_graph import graph_of
from zoo.methods.base import Method
from zoo.methods.frozen import Frozen
from zoo.methods.vpt import VPT, noise, suits
from zoo.pairing import Pairing
from zoo.prefix import PrefixCache
from zoo.tasks.classification import Classification
from zoo.tasks.segmentation import Segmentation


def pairing(chosen: Method, cache: PrefixCache | None = None, *, dense: bool = False) -> Pairing:
    """On a plain transformer of four blocks, a class token and sixteen patches."""
    torch.manual_seed(0)
    task = Segmentation(width=4) if dense else Classification(hidden=())
    backbone = copy.deepcopy(kept("vit"))
    return Pairing({"vision": backbone}, chosen, task, classes=["a", "b"], cache=cache).eval()


def vpt(*, deep: bool = True, last: int = 3) -> VPT:
    return VPT(tokens=2, deep=deep, last={"vision": last})


def written_out(model: Pairing, tokens: torch.Tensor, *, deep: bool, first: int = 1) -> torch.Tensor:
    """Tokens behind the last block; prompts stay among them where they go on, as in the paper's own code."""
    backbone, prompts = model.backbones["vision"], model.method.prompts["vision"]
    for index in range(first, 4):
        fresh = deep or index == first
        own = prompts[index - first if deep else 0].expand(len(tokens), -1, -1) if fresh else tokens[:, 1:3]
        rest = tokens[:, 1:] if index == first else tokens[:, 3:]
        tokens = backbone.blocks[index](torch.cat([tokens[:, :1], own, rest], 1))
    return torch.cat([tokens[:, :1], tokens[:, 3:]], 1)


@pytest.mark.parametrize("deep", [True, False])
@torch.no_grad()
def test_prompts_follow_their_equations_and_step_0_says_how_far_off_it_is(deep: bool) -> None:
    model, data = pairing(vpt(deep=deep)), batch("vit", 3)
    backbone, method = model.backbones["vision"], model.method
    before = backbone.through(backbone.embed(data.inputs["vision"][:, 0]), 0, 1)
    behind = written_out(model, before, deep=deep)
    found = model(data)["vision"][:, 0]
    torch.testing.assert_close(found, backbone.pool(backbone.finish(behind)), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(found, pairing(Frozen())(data)["vision"][:, 0], atol=1e-3)
    bound = (6 / (3 * 8**2 + 16)) ** 0.5  # patches of 8, width 16
    assert method.prompts["vision"].shape == ((3, 2, 16) if deep else (1, 2, 16))
    assert 0.8 * bound < method.prompts["vision"].abs().max() <= bound
    given = noise(backbone, 1)
    frozen = backbone.through(given, 1)
    share = 100 * float((written_out(model, given, deep=deep) - frozen).abs().max() / frozen.abs().max())
    where = "blocks 1 to 3" if deep else "block 1, for all later ones"
    away = f"starts elsewhere: the last tokens are changed by up to {share:.2g} %"
    assert method.describe() == f"2 prompts before vision {where}; {away}"
    assert share > 0.005  # little: random weights of the usual deviation hardly attend


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("dense", [False, True])
@torch.no_grad()
def test_nothing_but_blocks_sees_them_and_they_can_be_taken_away(dense: bool, deep: bool) -> None:
    model, data = pairing(vpt(deep=deep), dense=dense), batch("vit", 3)
    expected = pairing(Frozen(), dense=dense)(data)
    seen: list[int] = []
    backbone = model.backbones["vision"]
    backbone.net.norm.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    moved(model.method)
    after = model(data)
    assert set(seen) == {17}
    assert {key: value.shape for key, value in after.items()} == {key: value.shape for key, value in expected.items()}
    if dense:  # what lies before the first prompt stays
        same = {level: torch.equal(after[tap("vision", level)], expected[tap("vision", level)]) for level in (1, 2, 4)}
        assert same == {1: True, 2: False, 4: False}
    alone = model(batch("vit", 1))
    torch.testing.assert_close(alone, {key: value[:1] for key, value in after.items()}, atol=1e-5, rtol=1e-5)
    with model.method.without():
        assert all(torch.equal(value, expected[key]) for key, value in model(data).items())


@pytest.mark.parametrize("deep", [True, False])
def test_nothing_else_learns_and_every_prompt_has_a_gradient_at_once(deep: bool) -> None:
    model, data = pairing(vpt(deep=deep), dense=True), batch("vit")
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    first, _ = steps(model, data)
    assert (first["method.prompts.vision"].abs().sum(-1) > 0).all()
    trained, after = set(model.trainable), model.state_dict()
    assert [key for key in trained if key.startswith("method.")] == ["method.prompts.vision"]
    assert all(torch.equal(before[key], after[key]) for key in before if key not in trained)
    assert not torch.equal(before["method.prompts.vision"], after["method.prompts.vision"])


@torch.no_grad()
def test_what_was_learned_is_loaded_and_cached_tokens_give_the_same(tmp_path: Path) -> None:
    model, cached = pairing(vpt(last=2)), pairing(vpt(last=2), PrefixCache(folder=str(tmp_path)))
    moved(model.method)
    cached.load_trainable(model.trainable_state())
    data = batch("vit", 3)
    expected = model.predict(data)["probabilities"]
    data.keys = data.ids
    data.prefix = cached.prefix(data)
    assert cached.cache is not None
    assert torch.equal(
        cached.cache.read(cached.cache.key(cached.fingerprints["vision"], 2, "a")), data.prefix["vision"][0]
    )
    torch.testing.assert_close(cached.predict(data)["probabilities"], expected, atol=1e-6, rtol=1e-6)


def test_every_use_of_a_block_has_prompts_of_its_own() -> None:
    backbone, method = tied(), VPT(tokens=2, last={"vision": 4})
    before = backbone.through(backbone.embed(inputs()[:, 0]), 0, 8)
    method.attach({"vision": backbone})
    assert method.prompts["vision"].shape == (4, 2, 192)
    assert method.prefix_depths() == {"vision": 8}
    assert torch.equal(backbone.through(backbone.embed(inputs()[:, 0]), 0, 8), before)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_plain_transformers_take_them(name: str) -> None:
    backbone, method = MAKERS[name](), VPT(tokens=2, last={"vision": 2})
    method.attach({"vision": backbone})
    assert method.describe().startswith("2 prompts before vision blocks 1 to 2; starts elsewhere")


REFUSED: dict[str, tuple[Callable[[], Backbone], str]] = {
    "positions that turn": (MAKERS["dinov3"], r"block 11 of TimmViT does not take tokens of any number \(.*\)"),
    "positions as a bias": (MAKERS["beats"], "block 2 of BEATs sees in which order tokens stand"),
    "windows of a SAM": (lambda: sam_tiny.kept("sam2"), "block 5 of SAM2 does not take tokens of any number"),
    "shifted windows": (
        lambda: TimmEncoder(model="tiny_swin", source="random:0"),
        "block 3 of TimmEncoder does not take tokens of any number",
    ),
    "convolutions": (tiny.TinyAudio, r"block 1 of TinyAudio does not take tokens of any number \(it makes 32 of 64\)"),
    "one token at a time": (tiny.TinyVision, "block 2 of TinyVision lets no token see another"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_blocks_that_they_do_not_suit_are_refused_before_training(case: str) -> None:
    make, told = REFUSED[case]
    backbone = make()
    plain = r"backbones.it: method VPT needs plain transformers \(dinov2, timm_vit without rotary positions, .*; "
    with pytest.raises(SettingError, match=plain + told):
        VPT(last={"it": 1}).attach({"it": backbone})


def test_a_scan_sees_an_order() -> None:
    backbone = Mamba3D(source="random:0", width=16, depth=1, groups=8, neighbours=4, scan="reference")
    with pytest.raises(SettingError, match=r"block 0 of Mamba3D sees in which order"):
        suits(backbone, 0, where="backbones.points")


def test_a_rotary_block_that_takes_the_number_is_refused_for_its_order() -> None:
    """Without its table the same block is a plain one: it is the positions that are noticed."""
    backbone = MAKERS["dinov3"]()
    block = backbone.net.blocks[11]
    table = backbone.net.rope.get_embed(shape=(1, 59))  # 64 tokens, five of which come first
    block.register_forward_pre_hook(
        lambda _, given, more: (given, {"rope": table[: given[0].shape[1] - 5]}), with_kwargs=True
    )
    with pytest.raises(SettingError, match="block 11 of TimmViT sees in which order tokens stand"):
        suits(backbone, 11, where="backbones.vision")
    block.register_forward_pre_hook(lambda _, given, more: (given, {"rope": None}), with_kwargs=True)
    suits(backbone, 11, where="backbones.vision")


def test_settings_that_name_nothing_are_refused() -> None:
    with pytest.raises(SettingError, match=r"method.last.vision = 5: expected 1 to 4, the blocks of the encoder"):
        pairing(VPT(last={"vision": 5}))
    with pytest.raises(SettingError, match=r"method.last: audio are no backbones"):
        pairing(VPT(last={"audio": 1}))
    with pytest.raises(SettingError, match=r"backbones.vlm: method VPT needs a plain encoder, got"):
        VPT().attach({"vlm": vlm_tiny.model(vlm_tiny.NAMES[0])})
    assert VPT().unmergeable == "its prompts are tokens between the blocks"


@pytest.mark.slow
def test_an_exported_program_takes_any_batch_size(tmp_path: Path) -> None:
    graph = graph_of(pairing(vpt(last=1)))
    inputs = [graph.inputs(batch("vit", size)) for size in (1, 3)]
    with torch.no_grad():
        expected = [graph(each) for each in inputs]
    to_torch(graph, inputs[-1], tmp_path / "model.pt2")
    assert compare(expected, run_torch(tmp_path / "model.pt2", inputs)).max_abs < 1e-5
