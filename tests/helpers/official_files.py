"""Checkpoints in the layout of Mantis's authors, made up name by name, and a forward pass in that layout."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones.mamba3d import group

C, DEPTH, S, R = 32, 2, 16, 2
SIZES = {"width": C, "depth": DEPTH, "states": S, "groups": 12, "neighbours": 6, "scan": "reference"}
OFFICIAL = {"second_branch": "sequence", "compat": "official"}
CLASSES, PARTS = ["chair", "table", "sofa"], ["Chair/0", "Chair/1", "Table/0", "Table/1", "Table/2"]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
Shapes = dict[str, list[int]]


def norm(name: str, width: int, *, batch_norm: bool = False) -> Shapes:
    running = {"running_mean": [width], "running_var": [width], "num_batches_tracked": []} if batch_norm else {}
    return {f"{name}.{k}": shape for k, shape in {"weight": [width], "bias": [width], **running}.items()}


def layer(name: str, out: int, *fan_in: int) -> Shapes:
    return {f"{name}.weight": [out, *fan_in], f"{name}.bias": [out]}


def backbone(c: int = C, depth: int = DEPTH) -> Shapes:
    shapes = {"cls_token": [1, 1, c], "cls_pos": [1, 1, c]}
    shapes |= layer("encoder.first_conv.0", 128, 3, 1) | norm("encoder.first_conv.1", 128, batch_norm=True)
    shapes |= layer("encoder.first_conv.3", 256, 128, 1) | layer("encoder.second_conv.0", 512, 512, 1)
    shapes |= norm("encoder.second_conv.1", 512, batch_norm=True) | layer("encoder.second_conv.3", c, 512, 1)
    shapes |= layer("pos_embed.0", 128, 3) | layer("pos_embed.2", c, 128)
    for i in range(depth):
        block, mixer, d, r = f"blocks.blocks.{i}", f"blocks.blocks.{i}.mixer", 2 * c, c // 16
        shapes |= norm(f"{block}.norm1", c) | norm(f"{block}.norm2", c) | norm(f"{block}.lfa.pre_norm_ft", 2 * c)
        shapes |= {f"{block}.lfa.lga.affine_{name}_feat": [1, 1, 1, 2 * c] for name in ("alpha", "beta")}
        shapes |= layer(f"{block}.lfa.mlp.share_mlp", c, 2 * c, 1)
        named = {"A_log": [d, S], "A_b_log": [d, S], "D": [d], "D_b": [d], "in_proj.weight": [2 * d, c]}
        shapes |= {f"{mixer}.{name}": shape for name, shape in {**named, "out_proj.weight": [c, d]}.items()}
        for mark in ("", "_b"):
            shapes |= layer(f"{mixer}.conv1d{mark}", d, 1, 4) | layer(f"{mixer}.dt_proj{mark}", d, r)
            shapes[f"{mixer}.x_proj{mark}.weight"] = [r + 2 * S, d]
    return shapes | norm("norm", c)


def saa(c: int = C, blocks: Iterable[int] = (0, 1), pooled: int = 2 * C) -> Shapes:
    shapes = layer("dscd_head.proj_head.0", 128, pooled) | layer("dscd_head.proj_head.2", 128, 128)
    for mixer in (f"blocks.blocks.{i}.mixer.saa" for i in blocks):
        shapes |= layer(f"{mixer}_proj", 64, c) | layer(f"{mixer}_controller", 8, 64)
        bases = {f"{n}{mark}": [8, wide] for n, wide in (("dt", 2 * c), ("B", S), ("C", S)) for mark in ("", "_b")}
        shapes |= {f"{mixer}_basis_{name}": shape for name, shape in bases.items()}
    return shapes


def classifier(c: int = C, classes: int = 3) -> Shapes:
    shapes = layer("cls_head_finetune.0", 256, 2 * c) | norm("cls_head_finetune.1", 256, batch_norm=True)
    shapes |= layer("cls_head_finetune.4", 256, 256) | norm("cls_head_finetune.5", 256, batch_norm=True)
    return shapes | layer("cls_head_finetune.8", classes, 256)


def segmenter(c: int = C, taps: int = 2, categories: int = 2, parts: int = 5) -> Shapes:
    dense, spread = taps * c, "seg_feature_propagation.mlp"
    shapes = {"seg_label_conv.0.weight": [64, categories, 1]} | norm("seg_label_conv.1", 64, batch_norm=True)
    shapes |= layer(f"{spread}_convs.0", 4 * c, dense + 3, 1) | norm(f"{spread}_bns.0", 4 * c, batch_norm=True)
    shapes |= layer(f"{spread}_convs.1", 1024, 4 * c, 1) | norm(f"{spread}_bns.1", 1024, batch_norm=True)
    shapes |= layer("seg_conv1", 512, 1024 + 2 * dense + 64, 1) | norm("seg_bn1", 512, batch_norm=True)
    shapes |= layer("seg_conv2", 256, 512, 1) | norm("seg_bn2", 256, batch_norm=True)
    return shapes | layer("seg_conv3", parts, 256, 1)


KINDS = {
    "backbone": backbone(),
    "fine-tuned": backbone() | classifier(),
    "classification": backbone() | classifier() | saa(),
    "part segmentation": backbone() | segmenter() | saa(pooled=4 * C),
    "paper, classes": backbone(384, 12) | classifier(384, 40) | saa(384, range(12), 768),
    "paper, parts": backbone(384, 12) | segmenter(384, 3, 16, 50) | saa(384, range(12), 2304),
}


def filled(shapes: Shapes) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state |= {name: 0.5 + value.abs() for name, value in state.items() if name.endswith("running_var")}
    return state | {name: torch.tensor(17) for name in state if name.endswith("num_batches_tracked")}


class Official(dict[str, Tensor]):
    """A forward pass in the authors' layout, of one cloud at a time."""

    def at(self, name: str) -> tuple[Tensor, Tensor]:
        return self[f"{name}.weight"], self[f"{name}.bias"]

    def below(self, prefix: str) -> "Official":
        return Official({name.removeprefix(prefix): t for name, t in self.items() if name.startswith(prefix)})

    def bn(self, name: str, x: Tensor) -> Tensor:
        return F.batch_norm(x, self[f"{name}.running_mean"], self[f"{name}.running_var"], *self.at(name))

    def ln(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], *self.at(name))

    def branch(self, mark: str, x: Tensor, z: Tensor, control: Tensor | None) -> Tensor:
        """Of a mixer, [D, L] -> [D, L]; the second one is marked `_b`."""
        x = F.silu(F.conv1d(x[None], *self.at(f"conv1d{mark}"), padding=3, groups=len(x))[0, :, : x.shape[1]])
        low, *more = (self[f"x_proj{mark}.weight"] @ x).split([R, S, S])
        dt, b, c = self[f"dt_proj{mark}.weight"] @ low, *more
        if control is not None:
            dt, b, c = (v + (control @ self[f"saa_basis_{n}{mark}"]).T for n, v in (("dt", dt), ("B", b), ("C", c)))
        dt = F.softplus(dt + self[f"dt_proj{mark}.bias"][:, None])
        a, state, out = -self["A_b_log" if mark else "A_log"].exp(), torch.zeros(len(x), S), []
        for t in range(x.shape[1]):
            state = (dt[:, t, None] * a).exp() * state + dt[:, t, None] * b[:, t] * x[:, t, None]
            out.append(state @ c[:, t] + self[f"D{mark}"] * x[:, t])
        return torch.stack(out, 1) * F.silu(z)

    def mixer(self, h: Tensor) -> Tensor:
        """[L, C] -> [L, C]: the second branch on reversed channels, or with adapters on the reversed sequence."""
        both = self["in_proj.weight"] @ h.T
        if "saa_proj.weight" in self:
            c = F.linear(F.silu(F.linear(h, *self.at("saa_proj"))), *self.at("saa_controller")).sigmoid()
            x, z = both.chunk(2)
            y = self.branch("", x, z, c) + self.branch("_b", x.flip(1), z.flip(1), c.flip(0)).flip(1)
        else:
            y = self.branch("", *both.chunk(2), None) + self.branch("_b", *both.flip(0).chunk(2), None).flip(0)
        return (self["out_proj.weight"] @ y).T

    def lfa(self, tokens: list[Tensor], centres: Tensor) -> list[Tensor]:
        """Local norm pooling of [L, C] each; the deviation is that of the whole batch."""
        near = [x[1:][torch.cdist(c, c).topk(4, largest=False).indices] for x, c in zip(tokens, centres, strict=True)]
        deviation, out = torch.stack([n - x[1:, None] for n, x in zip(near, tokens, strict=True)]).std(), []
        for n, x in zip(near, tokens, strict=True):
            v = torch.cat([(n - x[1:, None]) / (deviation + 1e-5), x[1:, None].expand_as(n)], -1)
            v = self["lga.affine_alpha_feat"][0] * v + self["lga.affine_beta_feat"][0]
            v = self.ln("pre_norm_ft", (v * v.exp()).mean(1) / v.exp().mean(1))
            out.append(torch.cat([x[:1], F.silu(F.conv1d(v.T, *self.at("mlp.share_mlp"))).T]))
        return out

    def head(self, x: Tensor) -> Tensor:
        """[B, 2 C] -> logits [B, K] in training without dropout, where batch norm is by the batch."""
        for linear, norm in (("0", "1"), ("4", "5")):
            x = F.linear(x, *self.at(f"cls_head_finetune.{linear}"))
            x = F.batch_norm(x, None, None, *self.at(f"cls_head_finetune.{norm}"), training=True).relu()
        return F.linear(x, *self.at("cls_head_finetune.8"))

    def projected(self, x: Tensor) -> Tensor:
        """[B, 2 C] -> [B, 128], where features of two orders are compared."""
        return F.linear(F.gelu(F.linear(x, *self.at("dscd_head.proj_head.0"))), *self.at("dscd_head.proj_head.2"))

    def loss(self, points: Tensor, labels: Tensor) -> Tensor:
        """Of a training step: every order of the tokens is a batch by itself."""
        main, a, b = (self.pooled(points, axis) for axis in (None, 0, 1))
        feature = 1 - F.cosine_similarity(self.projected(a), self.projected(b)).mean()
        p, q = (F.log_softmax(self.head(view) / 2, dim=-1) for view in (a, b))
        both = (
            F.kl_div(p, q, reduction="batchmean", log_target=True),
            F.kl_div(q, p, reduction="batchmean", log_target=True),
        )
        return F.cross_entropy(self.head(main), labels) + feature + 0.5 * 2**2 / 2 * sum(both)

    def pooled(self, points: Tensor, axis: int | None = None) -> Tensor:
        """Clouds [B, N, 3] -> [B, 2 C], their groups in the order of an axis or as they are."""
        (neighbourhoods, centres), xs = group(points, 12, 6), []
        if axis is not None:
            order = centres[..., axis].argsort(1)[..., None]
            centres = centres.gather(1, order.expand_as(centres))
            neighbourhoods = neighbourhoods.gather(1, order[..., None].expand_as(neighbourhoods))
        for cloud in neighbourhoods:
            x = self.bn("encoder.first_conv.1", F.conv1d(cloud.mT, *self.at("encoder.first_conv.0"))).relu()
            x = F.conv1d(x, *self.at("encoder.first_conv.3"))
            x = torch.cat([x.amax(2, keepdim=True).expand_as(x), x], 1)
            x = self.bn("encoder.second_conv.1", F.conv1d(x, *self.at("encoder.second_conv.0"))).relu()
            x = F.conv1d(x, *self.at("encoder.second_conv.3"))
            xs.append(torch.cat([self["cls_token"][0], x.amax(2)]))
        places = [F.linear(F.silu(F.linear(c, *self.at("pos_embed.0"))), *self.at("pos_embed.2")) for c in centres]
        for block in (self.below(f"blocks.blocks.{i}.") for i in range(DEPTH)):
            xs = [x + torch.cat([self["cls_pos"][0], p]) for x, p in zip(xs, places, strict=True)]
            local = block.below("lfa.").lfa([block.ln("norm1", x) for x in xs], centres)
            xs = [x + y for x, y in zip(xs, local, strict=True)]
            xs = [x + block.below("mixer.").mixer(block.ln("norm2", x)) for x in xs]
        out = torch.stack([self.ln("norm", x) for x in xs])
        return torch.cat([out[:, 0], out[:, 1:].max(1)[0] + out[:, 1:].mean(1)[0]], dim=-1)
