"""Mamba3D steps as its equations say, and a cloud does not depend on its batch."""

import pytest
import torch
from point_tiny import DEPTH, GROUPS, WIDTH, clouds, mamba3d
from torch.nn import functional as F

from zoo.backbones.mamba3d import Mamba3D, group
from zoo.backbones.mamba3d_block import k_pool
from zoo.batch import Cloud
from zoo.errors import SettingError


def features(backbone: Mamba3D, points: torch.Tensor) -> torch.Tensor:
    return backbone.pool(backbone(points))


def test_stepping_equals_the_equations_of_the_facts() -> None:
    """An independent forward pass, cloud by cloud and branch by branch."""
    backbone, points = mamba3d(), clouds(0, 1)[:, 0]
    net, found = backbone.net, features(mamba3d(), clouds(0, 1)[:, 0])
    for b in range(2):
        neighbourhoods, centres = (part[0] for part in group(points[b : b + 1], GROUPS, 6))
        tokens = []
        for patch in neighbourhoods:
            local = net.encoder.first(patch)
            wide = torch.cat([local.amax(0).expand_as(local), local], dim=-1)
            tokens.append(net.encoder.second(wide).amax(0))
        x = torch.stack([net.cls_token, *tokens])
        pos = torch.cat([net.cls_pos[None], net.pos_embed(centres)])
        for block in net.blocks:
            x = x + pos
            f, pooled = block.norm1(x)[1:], []
            near = torch.cdist(centres, centres).topk(4, largest=False).indices
            d = torch.stack([f[near[i]] - f[i] for i in range(GROUPS)])
            v = torch.cat([d / (d.std() + 1e-5), f[:, None].expand_as(d)], dim=-1) * block.lnp.alpha + block.lnp.beta
            pooled = (v * v.exp()).sum(1) / v.exp().sum(1)
            mixed = F.silu(block.lnp.proj(block.lnp.norm(pooled)))
            x = x + torch.cat([block.norm1(x)[:1], mixed])
            both, y = block.norm2(x) @ block.mixer.in_proj.weight.T, 0
            for branch, flipped in zip(block.mixer.branches, (False, True), strict=True):
                u, z = (both.flip(1) if flipped else both).chunk(2, dim=1)
                w = branch.conv1d.weight[:, 0]
                u = F.silu(
                    torch.stack([(F.pad(u.T, (3, 0))[:, t : t + 4] * w).sum(1) for t in range(len(u))])
                    + branch.conv1d.bias
                )
                low, B, C = (u @ branch.x_proj.weight.T).split([branch.rank, branch.states, branch.states], dim=1)
                delta = F.softplus(low @ branch.dt_proj.weight.T + branch.dt_proj.bias)
                h, rows = torch.zeros(u.shape[1], branch.states), []
                for t in range(len(u)):
                    h = (-branch.A_log.exp() * delta[t][:, None]).exp() * h + (delta[t] * u[t])[:, None] * B[t]
                    rows.append(h @ C[t] + branch.D * u[t])
                out = torch.stack(rows) * F.silu(z)
                y = y + (out.flip(1) if flipped else out)
            x = x + y @ block.mixer.out_proj.weight.T
        x = net.norm(x)
        expected = torch.cat([x[0], x[1:].amax(0) + x[1:].mean(0)])
        torch.testing.assert_close(found[b], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("second_branch", ["channel", "sequence"])
@pytest.mark.parametrize("taps", [(), (0, 2)])
def test_a_cloud_does_not_depend_on_its_batch(second_branch: str, taps: tuple[int, ...]) -> None:
    backbone = mamba3d(second_branch=second_branch, taps=taps)
    together = features(backbone, clouds(0, 1, 2)[:, 0])
    for i in range(3):
        torch.testing.assert_close(features(backbone, clouds(i)[:, 0])[0], together[i], rtol=0, atol=2e-5)


def test_official_compatibility_reproduces_both_batch_defects() -> None:
    ours, theirs = mamba3d(), mamba3d(compat="official")
    points = clouds(0, 1, 2)[:, 0]
    assert not torch.allclose(features(theirs, points)[1], features(theirs, points[1:2])[0], atol=1e-3)
    # Alone in its batch a cloud shows neither defect.
    torch.testing.assert_close(features(theirs, points[:1]), features(ours, points[:1]))
    tokens = ours(points)
    expected = tokens[:, 1:, :WIDTH].amax(1) + tokens[0, 1:, :WIDTH].mean(0)
    torch.testing.assert_close(theirs.pool(tokens)[:, WIDTH:], expected)


def test_the_safe_pool_equals_the_published_one_where_that_does_not_overflow() -> None:
    values = torch.randn(5, 4, 7) * 5
    torch.testing.assert_close(k_pool(values), (values * values.exp()).mean(-2) / values.exp().mean(-2))
    huge = values * 100
    assert not torch.isfinite((huge * huge.exp()).mean(-2) / huge.exp().mean(-2)).all()
    assert torch.isfinite(k_pool(huge)).all()


def test_in_channel_mode_a_token_sees_only_those_before_it_and_the_class_token_nothing() -> None:
    """Both scans run forward in channel mode: what stands last in the order is heard by nobody else in the mixer."""
    for second_branch, deaf in (("channel", True), ("sequence", False)):
        mixer = mamba3d(second_branch=second_branch).net.blocks[0].mixer
        hidden = torch.randn(1, 9, WIDTH)
        changed = hidden.clone()
        changed[:, -1] += 1
        same = torch.equal(mixer(hidden)[:, :-1], mixer(changed)[:, :-1])
        assert same == deaf


def test_taps_carry_the_named_blocks_outcomes_and_change_nothing_else() -> None:
    plain, tapped = mamba3d(), mamba3d(taps=(0, 2))
    points = clouds(0, 1)[:, 0]
    tokens, wanted = plain.embed(points), []
    for i, block in enumerate(plain.blocks):
        tokens = block(tokens)
        if i in (0, 2):
            wanted.append(plain.net.norm(tokens[:, 1:, :WIDTH]))
    found = features(tapped, points)
    assert found.shape == (2, GROUPS, 2 * WIDTH + 3) == (2, GROUPS, tapped.dim)
    assert torch.equal(found[..., :-3], torch.cat(wanted, dim=-1))
    assert torch.equal(found[..., -3:], group(points, GROUPS, 6)[1])
    assert tapped.dims == (WIDTH + 3, 2 * WIDTH + 3, 2 * WIDTH + 3, 3 * WIDTH + 3)


def test_training_mode_and_steps_move_nothing_of_the_frozen_encoder() -> None:
    backbone = mamba3d()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.train()
    features(backbone, clouds(0, 1)[:, 0])
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_the_papers_backbone_has_the_papers_shapes() -> None:
    backbone = Mamba3D(source="random:0")
    branch = backbone.net.blocks[0].mixer.branches[0]
    assert (backbone.depth, backbone.dim, branch.rank) == (12, 768, 24)
    assert branch.x_proj.weight.shape == (56, 768)
    assert branch.A_log.shape == (768, 16)
    torch.testing.assert_close(branch.A_log.exp()[0], torch.arange(1.0, 17.0))


def test_a_class_token_in_front_of_causal_scans_is_blind_and_can_be_left_out() -> None:
    points = clouds(0, 1, 2)[:, 0]
    causal, both, groups = mamba3d(), mamba3d(second_branch="sequence"), mamba3d(pooled="groups")
    assert float(features(causal, points)[:, :WIDTH].std(0).max()) == 0
    assert float(features(both, points)[:, :WIDTH].std(0).max()) > 0.01
    tokens = groups(points)[:, 1:, :WIDTH]
    assert torch.equal(features(groups, points), torch.cat([tokens.mean(1), tokens.amax(1)], -1))
    assert groups.dim == causal.dim


def test_wrong_settings_are_named() -> None:
    with pytest.raises(SettingError, match=r"taps: \[3\] are none of the blocks 0 to 2"):
        mamba3d(taps=(3,))
    with pytest.raises(SettingError, match="clouds of 8 points for 12 groups of 6"):
        mamba3d().embed(clouds(0, count=8)[:, 0])


def test_a_fingerprint_tells_settings_and_weights_apart() -> None:
    different = ({}, {"groups": 11}, {"compat": "official"}, {"taps": (1,)}, {"pooled": "groups"})
    prints = {mamba3d(**settings).fingerprint for settings in different}
    assert len(prints) == 5
    assert mamba3d().fingerprint in prints


def test_a_cloud_is_one_segment() -> None:
    cloud = Cloud("a", clouds(0)[0, 0].numpy(), {})
    assert mamba3d().transform(cloud).shape == (1, 40, 3)
    assert len(mamba3d().blocks) == DEPTH
