"""Every frozen encoder: stepping equals its own forward, it stays frozen, and samples do not meet."""

from pathlib import Path

import numpy as np
import pytest
import torch
from makers import CLIP, MAKERS, SIGLIP, clip

from zoo.backbones import weights
from zoo.backbones.aisfx import AiSFX
from zoo.backbones.base import Backbone
from zoo.backbones.clip import CLIPText, CLIPVision
from zoo.backbones.dinov2 import EMBEDDED, DINOv2
from zoo.backbones.minilm import MiniLM
from zoo.backbones.siglip import SigLIPText, SigLIPVision
from zoo.backbones.weights import WeightsError
from zoo.batch import Clip
from zoo.errors import SettingError


@pytest.fixture(params=MAKERS, scope="module")
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return MAKERS[request.param]()


def test_shapes_are_those_it_declares(backbone: Backbone) -> None:
    inputs = backbone.transform(clip())
    assert inputs.dtype == torch.float32
    tokens = backbone.embed(inputs)
    for block, width in zip([None, *backbone.blocks], backbone.dims, strict=True):
        tokens = tokens if block is None else block(tokens)
        assert tokens.ndim == 3
        assert tokens.shape[-1] == width
    assert backbone.pool(backbone.finish(tokens)).shape == (3, backbone.dim)


def test_it_is_frozen_and_stays_in_eval_mode(backbone: Backbone) -> None:
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())


def test_a_segments_features_do_not_depend_on_its_neighbours(backbone: Backbone) -> None:
    inputs = backbone.transform(clip())
    whole, alone = backbone(inputs), backbone(inputs[1:2])
    torch.testing.assert_close(whole[1:2], alone, atol=2e-5, rtol=1e-4)


def test_gradients_flow_through_it_to_what_comes_before(backbone: Backbone) -> None:
    tokens = backbone.embed(backbone.transform(clip())).detach().requires_grad_()
    out = tokens
    for block in backbone.blocks:
        out = block(out)
    backbone.pool(backbone.finish(out)).sum().backward()
    assert tokens.grad is not None
    assert torch.isfinite(tokens.grad).all()
    assert tokens.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["dinov3", "vit"])
def test_stepping_equals_timms_own_forward(name: str) -> None:
    model = MAKERS[name]()
    inputs = model.transform(clip())
    torch.testing.assert_close(model(inputs), model.net.forward_features(inputs), atol=1e-6, rtol=0)


def test_stepping_equals_transformers_own_forward() -> None:
    model = MAKERS["siglip"]()
    inputs = model.transform(clip())
    own = model.net(inputs)
    assert torch.equal(model(inputs), own.last_hidden_state)
    assert torch.equal(model.pool(model(inputs)), own.pooler_output)


def test_stepping_equals_open_clips_own_forward_and_shares_the_space_of_its_text() -> None:
    model, text = MAKERS["clip"](), CLIPText(source="random:0", config=CLIP)
    inputs = model.transform(clip())
    assert torch.equal(model.pool(model(inputs)), model.net(inputs))
    rows = text.encode(["a dog", "a violin"])
    assert rows.shape == (2, model.dim) == (2, text.dim)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2))
    assert not torch.allclose(rows[0], rows[1])


@pytest.mark.parametrize(
    ("source", "config", "message"),
    [
        ("open_clip:ViT-B-16:nope", None, "ViT-B-16 has the tags openai"),
        ("open_clip:ViT-Q:openai", None, "open_clip has no model 'ViT-Q'"),
        ("open_clip:ViT-B-16:openai", CLIP, "config belongs to random: sources"),
        ("random:0", None, "needs config with embed_dim"),
        ("hf:a/b", None, "CLIP expects open_clip:NAME:TAG"),
    ],
)
def test_a_clip_source_that_cannot_be_is_refused_before_any_download(
    source: str, config: dict | None, message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        CLIPVision(source=source, config=config)


def test_a_side_that_cuts_patches_is_refused() -> None:
    with pytest.raises(SettingError, match="image_size = 100: expected a multiple of 14"):
        DINOv2(source="random:0", image_size=100)


def test_equal_weights_have_equal_fingerprints_and_others_do_not() -> None:
    one, two = (SigLIPVision(source="random:0", config=SIGLIP).fingerprint for _ in range(2))
    assert one == two
    assert SigLIPVision(source="random:1", config=SIGLIP).fingerprint != one


def test_siglip_text_is_unit_norm_and_tells_texts_apart() -> None:
    text = SigLIPText(
        source="random:0", config={**{k: v for k, v in SIGLIP.items() if k != "image_size"}, "projection_size": 24}
    )
    rows = text.encode(["a dog", "a violin"])
    assert rows.shape == (2, 24) == (2, text.dim)
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(2))
    assert not torch.allclose(rows[0], rows[1])


def test_the_embedded_encoders_load_their_pinned_weights_and_dinov2_equals_onnx_runtime() -> None:
    import onnx
    import onnxruntime

    model = DINOv2(image_size=224)
    graph = onnx.load(str(weights.resolve(EMBEDDED)))
    session_input = graph.graph.input[0].name
    # The exporter wrote layer norms out; each ends in an addition of the bias. One of them is the encoder's last norm.
    finals = [n.output[0] for n in graph.graph.node if n.op_type in ("Add", "LayerNormalization")]
    graph.graph.output.extend(onnx.helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None) for o in finals)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    picture = model.transform(clip(segments=1))
    outputs = session.run(finals, {session_input: picture.numpy()})
    ours = model(picture).detach().numpy()
    distance = min(np.abs(o - ours).max() for o in outputs if o.shape == ours.shape)
    assert distance < 1e-4
    assert AiSFX().fingerprint != AiSFX(source="random:0").fingerprint
    near = MiniLM().encode(["a dog barks", "a puppy is barking", "stock market report"])
    assert float(near[0] @ near[1]) > 0.6 > 0.3 > float(near[0] @ near[2])


def test_aisfx_reads_the_published_layout_and_computes_its_four_stages(tmp_path: Path) -> None:
    """An independent forward pass over a made-up checkpoint: a tuple whose tensors bear the published names."""
    random = MAKERS["aisfx"]()
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, tensor in random.net.state_dict().items():
        values = torch.rand(tensor.shape, generator=generator)
        state[f"embedding_net.{name}"] = values if values.ndim < 4 else (values - 0.5) / values[0].numel() ** 0.5
    torch.save((state | {"head.weight": torch.zeros(2)}, {"epoch": 3}), tmp_path / "aisfx.pth")
    model = AiSFX(source=f"file:{tmp_path / 'aisfx.pth'}")
    inputs = model.transform(clip())
    grid = inputs[:, None]
    for stage in range(1, 5):
        for k in (1, 2):
            at = f"embedding_net.conv_block{stage}."
            grid = torch.nn.functional.conv2d(grid, state[f"{at}conv{k}.weight"], padding=1)
            mean, var, weight, bias = (
                state[f"{at}bn{k}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
            )
            grid = ((grid - mean) / (var + 1e-5).sqrt() * weight + bias).relu()
        if stage < 4:
            grid = torch.nn.functional.max_pool2d(grid, 2)
    torch.testing.assert_close(model.pool(model(inputs)), grid.mean(2).amax(2), atol=1e-4, rtol=1e-4)
    del state["embedding_net.conv_block3.conv2.weight"]
    torch.save((state, {}), tmp_path / "holes.pth")
    with pytest.raises(WeightsError, match=r"missing \['conv_block3\.conv2\.weight'\], left over nothing"):
        AiSFX(source=f"file:{tmp_path / 'holes.pth'}")


def test_aisfx_front_end_keeps_silence_silent_and_scales_the_peak() -> None:
    model = MAKERS["aisfx"]()
    base = clip()
    loud = Clip("c", base.frames, base.audio * 0.25, 16_000, {})
    torch.testing.assert_close(model.transform(base), model.transform(loud), atol=1e-5, rtol=1e-4)
    silent = Clip("c", base.frames, np.zeros_like(base.audio), 16_000, {})
    assert not model.transform(silent).any()


def _unfolded(stage: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """A stage of aiSFX layer by layer."""
    grid = tokens.transpose(1, 2).unflatten(2, (stage.bins, -1))
    for k in (1, 2):
        grid = getattr(stage, f"bn{k}")(getattr(stage, f"conv{k}")(grid)).relu()
    if stage.pool:
        grid = torch.nn.functional.max_pool2d(grid, 2)
    return grid.flatten(2).transpose(1, 2)


def _close(one: torch.Tensor, two: torch.Tensor) -> None:
    """Within rounding of the largest value."""
    assert float((one - two).detach().abs().max() / two.detach().abs().max()) < 5e-6


def test_aisfx_with_its_norms_folded_is_aisfx() -> None:
    model = AiSFX()
    tokens = model.embed(model.transform(clip()))
    for stage in model.blocks:
        expected = _unfolded(stage, tokens)
        _close(stage(tokens), expected)
        tokens = expected


def test_folded_norms_follow_weights_that_change_however_they_do() -> None:
    model = MAKERS["aisfx"]()
    stage, tokens = model.blocks[0], model.embed(model.transform(clip()))
    before = stage(tokens)
    stage.conv1.weight.data += 0.1  # in place, past every version counter
    stage.bn1.running_mean.add_(0.5)
    assert not torch.allclose(stage(tokens), before)
    _close(stage(tokens), _unfolded(stage, tokens))


def test_what_wraps_or_hooks_a_layer_of_aisfx_is_called() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    model = MAKERS["aisfx"]()
    stage, tokens = model.blocks[1], torch.rand(2, 48 * 4, 64)
    called: list[str] = []
    handle = stage.bn2.register_forward_hook(lambda *_: called.append("bn2"))
    _close(stage(tokens), _unfolded(stage, tokens))
    assert called[0] == "bn2"
    handle.remove()
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["conv1"], init_lora_weights=False), stage)
    plain = stage.conv1.base_layer
    adapted = stage(tokens)
    _close(adapted, _unfolded(stage, tokens))
    stage.conv1 = plain
    assert not torch.allclose(stage(tokens), adapted)
