"""One block of Mamba3D (Han et al., arXiv 2404.14966): local norm pooling, then a bidirectional Mamba mixer.

    x = x + LNP(LN(x), groups near by)
    x = x + Mixer(LN(x))

The equations and both quirks were read in the repositories of Mamba3D and Mantis. What differs: the K-pool is a
softmax, so that it cannot overflow; the half of it that pools K equal values is taken as that value; and the scale of
LNP is the deviation over each cloud, not over the batch, unless `whole_batch` asks for the published behaviour.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.ops.points import gather, nearest
from zoo.ops.selective_scan import Backend, selective_scan

SecondBranch = Literal["channel", "sequence"]


class Modulation(Protocol):
    """What a method may do inside a mixer: turn its input into a control signal, and change dt, B and C by it."""

    def control(self, hidden: Tensor) -> Tensor:
        """Mixer input [B, L, C] -> control signal [B, L, r]."""
        ...

    def modulate(self, branch: int, control: Tensor, dt: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """dt [B, L, D], B and C [B, L, S] of branch 0 or 1, changed."""
        ...


def k_pool(values: Tensor) -> Tensor:
    """sum_k v_k e^{v_k} / sum_k e^{v_k} over the second last dimension: [..., K, C] -> [..., C]."""
    return (values.softmax(-2) * values).sum(-2)


def around(centres: Tensor, count: int) -> Tensor:
    """The groups nearest to each, itself among them: centres [B, G, 3] -> indices [B, G, k] of k = min(count, G)."""
    return nearest(centres, centres, min(count, centres.shape[1]))[1]


class LocalNormPooling(nn.Module):
    """Mix every group token with its nearest groups; the class token passes by.

    Args:
        width: C.
        whole_batch: take the deviation over the whole batch, as published: a cloud then depends on its batch.
    """

    def __init__(self, width: int, *, whole_batch: bool) -> None:
        super().__init__()
        self.whole_batch = whole_batch
        self.alpha = nn.Parameter(torch.ones(2 * width))
        self.beta = nn.Parameter(torch.zeros(2 * width))
        self.norm = nn.LayerNorm(2 * width)
        self.proj = nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor, near: Tensor) -> Tensor:
        """Tokens [B, 1 + G, C], indices [B, G, k] of the groups near to each -> [B, 1 + G, C]."""
        special, features = tokens[:, :1], tokens[:, 1:]
        difference = gather(features, near) - features[:, :, None]  # [B, G, k, C]
        deviation = difference.std() if self.whole_batch else difference.flatten(1).std(1)[:, None, None, None]
        scale, own_scale = self.alpha.chunk(2)
        shift, own_shift = self.beta.chunk(2)
        pooled = k_pool(scale * (difference / (deviation + 1e-5)) + shift)
        mixed = self.proj(self.norm(torch.cat([pooled, own_scale * features + own_shift], dim=-1)))
        return torch.cat([special, F.silu(mixed)], dim=1)


class Branch(nn.Module):
    """One direction of the mixer: causal convolution, then dt, B and C from its output, then the scan.

    Args:
        inner: D, channels.
        states: S.
        rank: of the step size's projection.
    """

    def __init__(self, inner: int, *, states: int, rank: int) -> None:
        super().__init__()
        self.rank, self.states = rank, states
        self.conv1d = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.x_proj = nn.Linear(inner, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        # Step sizes start between 0.001 and 0.1 (Gu and Dao): the bias is their inverse softplus.
        step = torch.exp(torch.empty(inner).uniform_(-6.9078, -2.3026)).clamp(min=1e-4)
        with torch.no_grad():
            self.dt_proj.weight.uniform_(-(rank**-0.5), rank**-0.5)
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))

    def forward(
        self,
        x: Tensor,
        gate: Tensor,
        *,
        index: int,
        modulation: Modulation | None,
        control: Tensor | None,
        scan: Backend,
    ) -> Tensor:
        """Input and gate [B, L, D] -> [B, L, D]."""
        x = F.silu(self.conv1d(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
        low, B, C = self.x_proj(x).split([self.rank, self.states, self.states], dim=-1)
        # The bias belongs behind the modulation; a sum does not mind.
        dt = self.dt_proj(low)
        if modulation is not None and control is not None:
            dt, B, C = modulation.modulate(index, control, dt, B, C)
        return selective_scan(x, dt, -self.A_log.exp(), B, C, D=self.D, z=gate, backend=scan)


class Mixer(nn.Module):
    """Bidirectional Mamba ("v4" of the published code) with one input and one output projection.

    The second branch runs on [x; z] with its channels reversed (`channel`: the reversed gate becomes the input and the
    reversed input the gate), or on the reversed sequence (`sequence`).

    Args:
        width: C.
        states: S.
        second_branch: which of the two.
        scan: backend of the selective scan.
    """

    def __init__(self, width: int, *, states: int, second_branch: SecondBranch, scan: Backend) -> None:
        super().__init__()
        self.second_branch, self.scan = second_branch, scan
        inner, rank = 2 * width, -(-width // 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.branches = nn.ModuleList(Branch(inner, states=states, rank=rank) for _ in range(2))

    def forward(self, hidden: Tensor, modulation: Modulation | None = None) -> Tensor:
        """[B, L, C] -> [B, L, C]."""
        control = None if modulation is None else modulation.control(hidden)
        both = self.in_proj(hidden)  # [B, L, 2 D]
        dim = 2 if self.second_branch == "channel" else 1
        turned = control if control is None or dim == 2 else control.flip(1)
        total = 0.0
        for index, branch in enumerate(self.branches):
            x, gate = both.chunk(2, dim=-1) if index == 0 else self._turned(both)
            y = branch(
                x, gate, index=index, modulation=modulation, control=turned if index else control, scan=self.scan
            )
            total = total + (y.flip(dim) if index else y)
        out: Tensor = self.out_proj(total)
        return out

    def _turned(self, both: Tensor) -> tuple[Tensor, ...]:
        if self.second_branch == "channel":
            return both.flip(2).chunk(2, dim=-1)
        return both.flip(1).chunk(2, dim=-1)


class Block(nn.Module):
    """Local norm pooling and mixer, both residual.

    Args:
        width: C.
        states: S.
        second_branch: of the mixer.
        whole_batch: see `LocalNormPooling`.
        scan: backend of the selective scan.
    """

    def __init__(
        self,
        width: int,
        *,
        states: int,
        second_branch: SecondBranch,
        whole_batch: bool,
        scan: Backend,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.lnp = LocalNormPooling(width, whole_batch=whole_batch)
        self.mixer = Mixer(width, states=states, second_branch=second_branch, scan=scan)

    def forward(
        self, features: Tensor, near: Tensor, modulation: Modulation | None = None, drop_path: float = 0.0
    ) -> Tensor:
        """Features [B, 1 + G, C] with positions added -> features.

        Args:
            features: tokens.
            near: indices [B, G, k] of the groups near to each, from `around`.
            modulation: inside the mixer.
            drop_path: probability that a cloud skips a residual branch (stochastic depth).
        """
        features = features + _dropped(self.lnp(self.norm1(features), near), drop_path)
        return features + _dropped(self.mixer(self.norm2(features), modulation), drop_path)


def _dropped(branch: Tensor, probability: float) -> Tensor:
    """A residual branch [B, L, C], switched off for some samples and scaled up for the others."""
    if not probability:
        return branch
    keep = torch.rand(len(branch), 1, 1, device=branch.device) >= probability
    return branch * keep / (1 - probability)
