"""Where a method may act: layers, or parts of blocks, inside the towers of frozen backbones, named by suffix.

Module paths differ between versions of a library and between architectures; suffixes inside a block do not. `attn.qkv`
is the layer of every block, `attn.qkv@11` that of block 11 alone. A vision-language model has two towers, so that
`q_proj` of its language model never means the one of its vision tower.

A layer is one site however often its tower runs it: where one block stands several times (weight tying, as in bViT,
arXiv 2605.10661), what adapts it acts at every use, and nothing before the first one changes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from zoo.backbones.vision_language import VisionLanguage
from zoo.errors import SettingError
from zoo.methods.base import Ahead, Backbones


@dataclass(frozen=True)
class Site:
    """One block that a method adapts.

    Attributes:
        backbone: its key in the recipe.
        target: the tower as the recipe calls it.
        tower: the tower as the backbone calls it.
        index: of the first place in its tower that runs any of its layers.
        block: the module.
        layers: what was matched, by its path inside the block; each belongs to one site alone.
        uses: places in its tower that run any of them.
    """

    backbone: str
    target: str
    tower: str
    index: int
    block: nn.Module
    layers: dict[str, nn.Module]
    uses: int = 1


def is_layer(module: nn.Module) -> bool:
    """Whether a module is what most methods adapt: a linear layer or a convolution."""
    return isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d)


def has_channels(module: nn.Module) -> bool:
    """Whether a module is such a layer, or a layer norm."""
    return is_layer(module) or isinstance(module, nn.LayerNorm)


def find(
    backbones: Backbones,
    targets: Mapping[str, Sequence[str]],
    last: Mapping[str, int],
    *,
    fits: Callable[[nn.Module], bool] = is_layer,
) -> list[Site]:
    """The blocks to adapt, each once.

    Args:
        backbones: of the recipe.
        targets: suffixes of layer names by tower, e.g. `{vision: [attn.qkv], language: [q_proj@30, v_proj@30]}`.
        last: adapt only what the last so many blocks of a tower run; all where it is not named.
        fits: of the modules inside a block, those that a suffix may name. Where `nn.MultiheadAttention` fits, PyTorch's
            fused attention, which reads its weights and calls no layer, so do the layers inside it.

    Raises:
        SettingError: an unknown tower, more blocks than it has, a suffix that matches no layer (those found are
            listed), a block that there is not, or a layer that would never be called.
    """
    owners = {tower or name: (name, tower) for name, backbone in backbones.items() for tower in backbone.towers}
    problems = [
        f"method.{key}.{tower}: the recipe's backbones have the towers {sorted(owners)}"
        for key, settings in (("targets", targets), ("last", last))
        for tower in settings
        if tower not in owners
    ]
    for tower, count in last.items():
        if tower in owners:
            name, own = owners[tower]
            there = len(backbones[name].towers[own])
            if not 1 <= count <= there:
                problems.append(f"method.last.{tower} = {count}: expected 1 to {there}, the blocks of the tower")
    if problems:
        raise SettingError("\n".join(problems))
    sites = []
    for tower, suffixes in targets.items():
        name, own = owners[tower]
        blocks = backbones[name].towers[own]
        start = max(0, len(blocks) - last.get(tower, len(blocks)))
        # By the layers and not by the blocks, which a backbone may wrap anew at each access.
        runs = [set(block.modules()) for block in blocks]
        seen: set[nn.Module] = set()
        _require_blocks(suffixes, range(start, len(blocks)), where=f"method.targets.{tower}")
        for index, block in enumerate(blocks[start:], start):
            named = (suffix.partition("@") for suffix in suffixes)
            here = [name for name, at, only in named if not at or int(only) == index]
            matched = _match(block, here, where=f"method.targets.{tower}, block {index}", fits=fits)
            layers = {path: layer for path, layer in matched.items() if layer not in seen}
            seen.update(layers.values())
            if layers:
                places = [place for place, inside in enumerate(runs) if not inside.isdisjoint(layers.values())]
                sites.append(Site(name, tower, own, places[0], block, layers, len(places)))
    return sites


def first_blocks(sites: Sequence[Site], backbones: Backbones) -> dict[str, dict[str, int]]:
    """The first place that runs an adapted layer, of every adapted tower, by backbone."""
    first: dict[str, dict[str, int]] = {name: {} for name in backbones}
    for site in sites:
        own = first[site.backbone]
        own[site.tower] = min(site.index, own.get(site.tower, site.index))
    return first


def ahead(first: Mapping[str, Mapping[str, int]], backbones: Backbones) -> Ahead | None:
    """The language model's blocks before the first adapted one, `first` from `first_blocks`; None without any."""
    for name, backbone in backbones.items():
        if isinstance(backbone, VisionLanguage) and (blocks := backbone.blocks_ahead(first[name])):
            return Ahead(name, blocks)
    return None


def describe(sites: Sequence[Site]) -> str:
    """What was matched, in words: `adapts language blocks 18 to 29 (24 layers: q_proj, v_proj)`, or
    `adapts vision, 1 block used 12 times (2 layers: qkv, proj)` of a tower that runs one several times."""
    parts = []
    for target in dict.fromkeys(site.target for site in sites):
        own = [site for site in sites if site.target == target]
        names = dict.fromkeys(path.rpartition(".")[2] for site in own for path in site.layers)
        count = sum(len(site.layers) for site in own)
        parts.append(f"{target}{_which(own)} ({count} layer{'s' * (count > 1)}: {', '.join(names)})")
    return f"adapts {', '.join(parts)}" if parts else ""


def _which(sites: Sequence[Site]) -> str:
    """The blocks of some sites of one tower, in words."""
    least, most = min(site.uses for site in sites), max(site.uses for site in sites)
    if most == 1:
        every = sorted(site.index for site in sites)
        if len(every) <= every[-1] - every[0]:  # some between them are not adapted
            return f" blocks {', '.join(map(str, every))}"
        return f" blocks {every[0]} to {every[-1]}"
    times = f"{least} to {most}" if least < most else f"{most}"
    return f", {len(sites)} block{'s' * (len(sites) > 1)} used {times} times{' each' * (len(sites) > 1)}"


def _require_blocks(suffixes: Sequence[str], blocks: range, *, where: str) -> None:
    """Refuse names of single blocks that are none of these."""
    for suffix in suffixes:
        _, at, index = suffix.partition("@")
        if at and not (index.isdecimal() and int(index) in blocks):
            reach = f"{blocks.start} to {blocks.stop - 1}" if blocks else "none"
            raise SettingError(f"{where}: {suffix!r} names a block; those to adapt are {reach}")


def _match(
    block: nn.Module, suffixes: Sequence[str], *, where: str, fits: Callable[[nn.Module], bool]
) -> dict[str, nn.Module]:
    layers = {name: module for name, module in block.named_modules() if name and fits(module)}
    found: dict[str, nn.Module] = {}
    for suffix in suffixes:
        matched = [name for name in layers if name == suffix or name.endswith("." + suffix)]
        if not matched:
            raise SettingError(f"{where}: {suffix!r} matches no layer; it has {sorted(layers)}")
        for name in matched:
            inside = block.get_submodule(name.rpartition(".")[0])
            if isinstance(inside, nn.MultiheadAttention) and not fits(inside):
                raise SettingError(
                    f"{where}: {name} lies inside PyTorch's fused attention, which reads its weight and never "
                    "calls it, so an update would have no effect; choose layers of the MLP"
                )
            found[name] = layers[name]
    return found
