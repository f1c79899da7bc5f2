"""Masked autoencoding of point clouds (Point-MAE, Pang et al. 2022, arXiv 2203.06604) for Mamba3D.

It makes a backbone rather than adapting one: a copy of the recipe's Mamba3D (random at the start) is trained here, and
`zoo.convert` turns the result into a weights file. As in Mamba3D's pre-training, the encoder sees the visible groups
alone, and a shallow decoder of the same blocks sees them followed by mask tokens at the centres of the masked ones.
What differs: the class token takes part, because fine-tuning puts it in front.
"""

import copy
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from zoo.backbones.draws import trunc_normal_
from zoo.backbones.mamba3d import Mamba3D, group
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones, Features, Method

STREAM = "points"


class PointMAE(Method):
    """A trainable copy of Mamba3D, a decoder, and masks drawn anew for every training batch.

    Args:
        mask: share of groups that are hidden.
        decoder_depth: blocks of the decoder.
    """

    dense = False

    def __init__(self, *, mask: Annotated[float, "> 0"] = 0.6, decoder_depth: Annotated[int, ">= 1"] = 4) -> None:
        super().__init__()
        if mask >= 1:
            raise SettingError(f"method.mask = {mask}: expected less than 1, so that something is visible")
        self.mask, self.depth = mask, decoder_depth

    def attach(self, backbones: Backbones) -> None:
        """Copy the backbone's network and create the decoder.

        Raises:
            SettingError: the recipe's backbones are not one Mamba3D called `points`.
        """
        backbone = backbones.get(STREAM)
        if not isinstance(backbone, Mamba3D):
            raise SettingError(f"Point-MAE trains backbones.points, a Mamba3D; the recipe's are {sorted(backbones)}")
        self.groups, self.neighbours = backbone.groups, backbone.neighbours
        self.student = copy.deepcopy(backbone.net).requires_grad_(True)
        self.student.train()
        width = backbone.net.width
        self.positions = nn.Sequential(nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, width))
        self.mask_token = nn.Parameter(torch.zeros(width))
        trunc_normal_(self.mask_token, std=0.02)
        self.decoder = nn.ModuleList(backbone.net.make_block() for _ in range(self.depth))
        self.norm = nn.LayerNorm(width)
        self.rebuild = nn.Linear(width, 3 * self.neighbours)
        self.feature_dims = {"prediction": 3, "truth": 3}
        self.depths = {STREAM: None}  # nothing is frozen: the method takes the clouds themselves

    def forward(self, backbones: Backbones, prefix: Mapping[str, Tensor], batch: Batch) -> Features:
        """Clouds {points: [B, 1, N, 3]} -> `prediction` and `truth` of the masked groups, [B, 1, M, K, 3]."""
        neighbourhoods, centres = group(prefix[STREAM][:, 0], self.groups, self.neighbours)
        hidden, shown = self._split(len(centres), centres.device)
        seen, at = _pick(neighbourhoods, shown), _pick(centres, shown)
        width = self.student.width
        features = self.student.tokens(seen, at)[..., :width]
        places, near = self.student.positions(at), self.student.near(at)
        for block in self.student.blocks:
            features = block(features + places, near)
        features = self.student.norm(features)
        masked = self.mask_token.expand(*hidden.shape, width)
        everywhere = torch.cat([at, _pick(centres, hidden)], dim=1)
        tokens = torch.cat([features, masked], dim=1)
        places = torch.cat([torch.zeros_like(features[:, :1]), self.positions(everywhere)], dim=1)
        near = self.student.near(everywhere)
        for block in self.decoder:
            tokens = block(tokens + places, near)
        said = self.rebuild(self.norm(tokens[:, -hidden.shape[1] :])).unflatten(-1, (self.neighbours, 3))
        return {"prediction": said[:, None], "truth": _pick(neighbourhoods, hidden)[:, None]}

    def _split(self, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Indices of hidden and of visible groups, [B, M] and [B, G - M]; in evaluation the same for every cloud."""
        count = max(1, min(self.groups - 1, round(self.mask * self.groups)))
        if self.training:
            ranks = torch.rand(size, self.groups)
        else:
            ranks = torch.rand(1, self.groups, generator=torch.Generator().manual_seed(0)).expand(size, -1)
        order = ranks.argsort(1).to(device)
        # Within each part the groups keep their order: the scan reads them in it.
        return order[:, :count].sort(1).values, order[:, count:].sort(1).values


def _pick(values: Tensor, index: Tensor) -> Tensor:
    """Rows [B, M] of [B, G, ...]."""
    return values[torch.arange(len(values), device=values.device)[:, None], index]
