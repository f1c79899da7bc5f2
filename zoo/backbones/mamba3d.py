"""Mamba3D: a state-space encoder of point clouds (Han et al., arXiv 2404.14966), pretrained as Point-MAE is.

Farthest points become group centres, each with its nearest neighbours; a mini-PointNet turns every group into a token;
a class token stands in front; positions are added again before every block. Read in the repositories of Mamba3D and
Mantis; the names of tensors differ (see `zoo.convert`).

Tokens carry the centre of their group as three further columns, [N, 1 + G, C + 3] with zeros for the class token, so
that a block stays a map from tokens to tokens, a kept prefix is complete, and reordering tokens moves their centres
along. With `taps`, a copy of the features after each named block is carried as C more columns.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import weights
from zoo.backbones.base import Backbone
from zoo.backbones.draws import initialising, trunc_normal_
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.mamba3d_block import Block, Modulation, SecondBranch, around
from zoo.batch import Cloud, tensor_of
from zoo.errors import SettingError
from zoo.ops.batch_norm import BatchNorm1d
from zoo.ops.points import farthest_points, gather, nearest
from zoo.ops.selective_scan import Backend, choose

EMBEDDED = "zoo:mamba3d_small.safetensors"


def group(points: Tensor, groups: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Neighbourhoods minus their centre [B, G, K, 3], and centres [B, G, 3], of clouds [B, N, 3]."""
    centres = gather(points, farthest_points(points, groups))
    _, indices = nearest(points, centres, neighbours)
    return gather(points, indices) - centres[:, :, None], centres


class PatchEncoder(nn.Module):
    """Mini-PointNet: K points of a group -> one token.

    Args:
        width: C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 128), BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 256))
        self.second = nn.Sequential(nn.Linear(512, 512), BatchNorm1d(512), nn.ReLU(), nn.Linear(512, width))

    def forward(self, neighbourhoods: Tensor) -> Tensor:
        """[B, G, K, 3] -> [B, G, C]."""
        batch, groups, size, _ = neighbourhoods.shape
        local = self.first(neighbourhoods.flatten(0, 2)).unflatten(0, (batch * groups, size))
        # The first layer on [global, local], its global half computed once a group instead of once a point.
        layer: nn.Linear = self.second[0]  # type: ignore[assignment]
        shared = F.linear(local.amax(1), layer.weight[:, :256], layer.bias)
        hidden = F.linear(local, layer.weight[:, 256:]) + shared[:, None]
        points: Tensor = self.second[1:](hidden.flatten(0, 1))
        tokens: Tensor = points.unflatten(0, (batch, groups, size)).amax(2)
        return tokens


class Net(nn.Module):
    """The parameters of Mamba3D, frozen in `Mamba3D` and trained in pre-training.

    Args:
        width: C.
        depth: blocks.
        states: S of every scan.
        local_neighbours: k of local norm pooling.
        second_branch: see `zoo.backbones.mamba3d_block.Mixer`.
        whole_batch: LNP's published, batch-dependent scale.
        scan: backend of the selective scan.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        states: int = 16,
        local_neighbours: int = 4,
        second_branch: SecondBranch = "channel",
        whole_batch: bool = False,
        scan: Backend = "auto",
    ) -> None:
        super().__init__()
        self.width, self.inner, self.states, self.local_neighbours = width, 2 * width, states, local_neighbours
        self.make_block = partial(
            Block, width, states=states, second_branch=second_branch, whole_batch=whole_batch, scan=scan
        )
        self.encoder = PatchEncoder(width)
        self.cls_token, self.cls_pos = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, width))
        self.blocks = nn.ModuleList(self.make_block() for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        for token in (self.cls_token, self.cls_pos):
            trunc_normal_(token, std=0.02)

    def tokens(self, neighbourhoods: Tensor, centres: Tensor) -> Tensor:
        """Groups [B, G, K, 3] and centres [B, G, 3] -> tokens [B, 1 + G, C + 3] before the first block."""
        groups = torch.cat([self.encoder(neighbourhoods), centres], dim=-1)
        # Not `len`, here and below: it would fix the batch size of an exported graph.
        special = torch.cat([self.cls_token, self.cls_token.new_zeros(3)]).expand(groups.shape[0], 1, -1)
        return torch.cat([special, groups], dim=1)

    def positions(self, centres: Tensor) -> Tensor:
        """Centres [B, G, 3] -> positions [B, 1 + G, C]."""
        return torch.cat([self.cls_pos.expand(centres.shape[0], 1, -1), self.pos_embed(centres)], dim=1)

    def near(self, centres: Tensor) -> Tensor:
        """Centres [B, G, 3] -> indices [B, G, k] of the groups that local norm pooling mixes, for all blocks."""
        return around(centres, self.local_neighbours)


class Step(nn.Module):
    """One block as a map from tokens to tokens: it adds positions, and keeps the columns that are not its own.

    Args:
        net: the block's network.
        index: of the block.
        tap: carry a copy of the outcome.
    """

    def __init__(self, net: Net, index: int, *, tap: bool) -> None:
        super().__init__()
        # Of the network the step registers its block alone, so that what wraps a step's layers wraps no other block's.
        self.block, self.tap = net.blocks[index], tap
        self.width, self.positions, self.near = net.width, net.positions, net.near

    def forward(
        self,
        tokens: Tensor,
        modulation: Modulation | None = None,
        drop_path: float = 0.0,
        near: Tensor | None = None,
    ) -> Tensor:
        """[N, 1 + G, C + 3 + more] -> the same width, or C wider with a tap.

        Args:
            tokens: with centres.
            modulation: inside the mixer.
            drop_path: see `Block`.
            near: see `Block`; sought where it is not given.
        """
        width = self.width
        features, rest = tokens[..., :width], tokens[..., width:]
        centres = tokens[:, 1:, width : width + 3]
        near = self.near(centres) if near is None else near
        features = self.block(features + self.positions(centres), near, modulation, drop_path)
        return torch.cat([features, rest, features] if self.tap else [features, rest], dim=-1)


class Mamba3D(Backbone):
    """Mamba3D on clouds of N points.

    A cloud is one segment. Pooled features are the class token beside max plus mean over groups [2 C], or those of the
    groups alone; with `taps` they are instead one row per group, the normalised tapped features and the centre
    [G, len(taps) C + 3].

    Args:
        source: `zoo:FILE` (shipped), `file:PATH` of converted weights, or `random:SEED`.
        width: C; 384 in the paper.
        depth: blocks; 12 in the paper.
        groups: G; 128 in the paper.
        neighbours: K points of a group; 32 in the paper.
        local_neighbours: k of local norm pooling.
        states: S of every scan.
        second_branch: `channel` is how Mamba3D was pretrained; `sequence` is what published Mantis checkpoints need.
        compat: `official` reproduces two defects of the published code, by which a prediction depends on its batch.
        pooled: `class` token and groups, or `groups` alone, mean beside maximum: where `second_branch` is `channel`
            both scans are causal, so that a class token in front sees no group and is the same for every cloud.
        taps: blocks (from 0) whose features a dense task reads; 3, 7 and 11 in the paper.
        scan: backend of the selective scan.
    """

    stream = "points"
    file_prefix = ""

    def __init__(
        self,
        *,
        source: str = EMBEDDED,
        width: Annotated[int, ">= 1"] = 384,
        depth: Annotated[int, ">= 1"] = 12,
        groups: Annotated[int, ">= 1"] = 128,
        neighbours: Annotated[int, ">= 1"] = 32,
        local_neighbours: Annotated[int, ">= 1"] = 4,
        states: Annotated[int, ">= 1"] = 16,
        second_branch: SecondBranch = "channel",
        compat: Literal["none", "official"] = "none",
        pooled: Literal["class", "groups"] = "class",
        taps: tuple[int, ...] = (),
        scan: Backend = "auto",
    ) -> None:
        super().__init__()
        self.pooled = pooled
        self.groups, self.neighbours, self.compat, self.taps = groups, neighbours, compat, tuple(taps)
        self.scan = scan
        if wrong := [tap for tap in self.taps if not 0 <= tap < depth]:
            raise SettingError(f"backbones.points.taps: {wrong} are none of the blocks 0 to {depth - 1}")
        with initialising(source, "Mamba3D"):
            self.net = Net(
                width=width,
                depth=depth,
                states=states,
                local_neighbours=local_neighbours,
                second_branch=second_branch,
                whole_batch=compat == "official",
                scan=scan,
            )
        if weights.parse(source).kind != "random":
            weights.load_exactly(self.net, weights.resolve(source), source)
        tapped = [width * sum(tap < index for tap in self.taps) for index in range(depth + 1)]
        self.dims = tuple(width + 3 + more for more in tapped)
        settings = {
            "groups": groups,
            "neighbours": neighbours,
            "local_neighbours": local_neighbours,
            "second_branch": second_branch,
            "compat": compat,
            "taps": self.taps,
            **({} if pooled == "class" else {"pooled": pooled}),  # as adapters of before there was a choice know it
        }
        self.fingerprint = fingerprint(self.net, settings, of=weights.files_of(source))
        self.freeze()

    @property
    def dim(self) -> int:
        """2 C pooled, or one group's width with taps."""
        return len(self.taps) * self.net.width + 3 if self.taps else 2 * self.net.width

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """`depth` maps from tokens to tokens."""
        return [Step(self.net, index, tap=index in self.taps) for index in range(len(self.net.blocks))]

    def near(self, tokens: Tensor) -> Tensor:
        """What the blocks take as `near`, of tokens [N, 1 + G, C + 3 + more]: it depends on their centres alone."""
        return self.net.near(tokens[:, 1:, self.net.width : self.net.width + 3])

    def through(self, tokens: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """As every backbone's, the groups near to each other sought once."""
        steps = self.blocks[start:stop]
        near = self.near(tokens) if steps else None
        for step in steps:
            tokens = step(tokens, near=near)
        return tokens

    def describe(self, device: torch.device) -> str:
        """Which selective scan runs."""
        return f"selective scan: {choose(device, torch.float32) if self.scan == 'auto' else self.scan}"

    def transform(self, sample: Cloud) -> Tensor:
        """A prepared cloud as one segment: float32 [1, N, 3]."""
        return tensor_of(sample.points)[None]

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, P, 3] -> [N, 1 + G, C + 3].

        Raises:
            SettingError: fewer points than groups or neighbours.
        """
        if inputs.shape[1] < max(self.groups, self.neighbours):
            raise SettingError(
                f"clouds of {inputs.shape[1]} points for {self.groups} groups of {self.neighbours}: raise data.points, "
                "or lower backbones.points.groups and neighbours"
            )
        return self.net.tokens(*group(inputs, self.groups, self.neighbours))

    def finish(self, tokens: Tensor) -> Tensor:
        """Normalise the features and every tap; centres stay: [N, 1 + G, ...] of the same shape."""
        width = self.net.width
        features, centres, taps = tokens[..., :width], tokens[..., width : width + 3], tokens[..., width + 3 :]
        parts = [
            self.net.norm(features),
            centres,
            *(self.net.norm(tap) for tap in (taps.split(width, dim=-1) if self.taps else ())),
        ]
        return torch.cat(parts, dim=-1)

    def pool(self, tokens: Tensor) -> Tensor:
        """[N, 1 + G, ...] -> [N, 2 C], or with taps [N, G, len(taps) C + 3] with the centre last."""
        width = self.net.width
        if self.taps:
            return torch.cat([tokens[:, 1:, width + 3 :], tokens[:, 1:, width : width + 3]], dim=-1)
        features = tokens[..., :width]
        groups = features[:, 1:]
        if self.pooled == "groups":
            return torch.cat([groups.mean(1), groups.amax(1)], dim=-1)
        # `x.mean(1)[0]` of the published code is the first sample's mean, given to every sample.
        mean = groups.mean(1)[0] if self.compat == "official" else groups.mean(1)
        return torch.cat([features[:, 0], groups.amax(1) + mean], dim=-1)
