"""Several adapters of one frozen backbone as one: `a+b`, the sum of their updates.

    y = W0 x + sum_k s_k B_k A_k x        (Lorandi and Belz; several active LoRAs of HF `peft` do the same)

What is added are changes of frozen weights, products of factors that is, and never the factors: (B1 + B2)(A1 + A2) has
products of one adapter's B and another's A, which nobody trained. Any method whose trained part is a change of frozen
layers (`Method.deltas`) may take part, and different ones in one sum.

Heads are not added: each was trained to read the whole feature. The adapters must answer the same, by one task with the
same settings and the same classes, and the sum's logits are the mean of those that their heads give of its features.
Where nothing is trained in the task, as in a language model's, there is nothing to average.

No order is meant: inputs are read as those of the first adapter, and the others must prepare theirs alike.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from zoo.adapter import directory, kept_anchors
from zoo.adapter.one_backbone import share
from zoo.backbones.fingerprint import fingerprints_of_format
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.files import file_hash
from zoo.methods.base import Backbones, Method
from zoo.methods.deltas import Delta, Factors, add_to, by_place
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate, located
from zoo.tasks.base import Task
from zoo.tasks.language import LanguageTask

Changes = dict[str, dict[str, Delta]]
"""By backbone and path of the layer."""


class Summed(Method):
    """Changes of frozen layers by several adapters, added up.

    Args:
        changes: of every adapter.
        depths: of every adapter, as `Method.prefix_depths` gives them.
    """

    removable = True

    def __init__(self, changes: Sequence[Changes], depths: Sequence[Mapping[str, int | None]]) -> None:
        super().__init__()
        self.changes, self._depths = changes, depths

    def attach(self, backbones: Backbones) -> None:
        """Add the changes: those of two matrices to what their layers give, others to the layers' tensors.

        Raises:
            SettingError: a quantised layer, to which only the former can be added.
        """
        super().attach(backbones)
        self.updates = nn.ModuleList()
        for name in backbones:
            for path in dict.fromkeys(path for own in self.changes for path in own.get(name, {})):
                layer = backbones[name].get_submodule(path)
                self._add(layer, [own[name][path] for own in self.changes if path in own.get(name, {})])
        self.depths = {name: _least([depths[name] for depths in self._depths]) for name in self._depths[0]}
        self.changes = []  # which hold the adapters' own modules

    def _add(self, layer: nn.Module, deltas: Sequence[Delta]) -> None:
        factors = [delta.factors for delta in deltas if delta.factors] if isinstance(layer, nn.Linear) else []
        if factors:
            update = LowRank(factors)
            self.updates.append(update)
            layer.register_forward_hook(lambda _, x, y: y + update(x[0]).to(y.dtype) if self.acts else None)
        dense: dict[str, Tensor] = {}
        for delta in deltas:
            if delta.factors is None or not factors:
                for name, change in delta.dense().items():
                    dense[name] = dense.get(name, 0) + change.detach().double()
        kept = nn.Module()
        self.updates.append(kept)
        for name, change in dense.items():
            kept.register_buffer(name, change.float(), persistent=False)
            self._add_to(layer, name, kept)

    def _add_to(self, layer: nn.Module, name: str, kept: nn.Module) -> None:
        add_to(layer, name, lambda: kept.get_buffer(name) if self.acts else None)


class LowRank(nn.Module):
    """[A1; A2; ...] [R, inputs] and [s1 B1, s2 B2, ...] [outputs, R]: one update that is the sum of several.

    Args:
        factors: of a linear layer.
    """

    down: Tensor
    up: Tensor

    def __init__(self, factors: Sequence[Factors]) -> None:
        super().__init__()
        down = torch.cat([each.down.detach().float() for each in factors])
        up = torch.cat([each.scaling * each.up.detach().float() for each in factors], 1)
        self.register_buffer("down", down, persistent=False)
        self.register_buffer("up", up, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return nn.functional.linear(nn.functional.linear(x.to(self.down.dtype), self.down), self.up)


def _least(depths: Sequence[int | None]) -> int | None:
    """Blocks that no adapter's part precedes."""
    known = [depth for depth in depths if depth is not None]
    return min(known) if len(known) == len(depths) else None


# --- loading ----------------------------------------------------------------------------------------------------------


def load(
    folders: Sequence[Path], *, cached: bool = False, force: bool = False, whole: bool = False
) -> tuple[DictConfig, Pairing]:
    """The pairing of one adapter directory, or of the sum of several, and the recipe of the first.

    Args:
        folders: adapter directories.
        cached: keep the recipe's prefix cache.
        force: as in `directory.load`, of every adapter.
        whole: as in `directory.load`, of every adapter.

    Raises:
        AdapterError: as `directory.load`.
        SettingError: the adapters cannot be added up.
    """
    if len(folders) == 1:
        return directory.load(folders[0], cached=cached, force=force, whole=whole)
    require(folders)
    names = shown(folders)
    config, first = directory.load(folders[0], force=force, whole=whole)
    parts = [first]
    for folder, name in zip(folders[1:], names[1:], strict=True):
        _, part = directory.load(folder, force=force, whole=whole)
        share(part, first.backbones, name=name, others=names[0])
        parts.append(part)
    method = Summed([_changes(part, name) for part, name in zip(parts, names, strict=True)], _depths(parts, names))
    header, _ = directory.read(folders[0])
    bare = kept_anchors.without_tower(config, folders[0] / "adapter.safetensors", header)
    with fingerprints_of_format(int(header["format"])):
        pairing = build_pairing(bare, first.classes, cached=cached, method=method)
    share(pairing, first.backbones, name="the sum", others=names[0])
    task = {name: tensor for name, tensor in first.trainable_state().items() if name.startswith("task.")}
    pairing.load_trainable(task, source=names[0])
    averaged = bool(pairing.trainable)
    if averaged:
        average(pairing.task, [part.task for part in parts[1:]])
    pairing.prepare, pairing.preparation = first.prepare, first.preparation
    sums = [file_hash(folder / "adapter.safetensors") for folder in folders]
    pairing.summed = dict(zip(names, sums, strict=True))
    pairing.forced = list(dict.fromkeys(line for part in parts for line in part.forced))
    pairing.notes = list(dict.fromkeys(line for part in parts for line in part.notes))
    caveats = dict.fromkeys(line for part in parts for line in part.caveats)
    heads = f", the logits of their {len(names)} heads averaged" if averaged else ""
    own = [name for part, name in zip(parts, names, strict=True) if part.method.owns_probabilities]
    pairing.caveats = [
        f"sum of {', '.join(names)}: their updates are added{heads}; no card has a number of it",
        *([f"of {', '.join(own)} the trained weights alone (MAP) count, and no posterior"] if own else []),
        *caveats,
    ]
    pairing.eval()
    return config, pairing


def require(folders: Sequence[Path]) -> None:
    """Verify one adapter, or several, and refuse those that cannot be added up, as far as their files tell: before a
    weight is read.

    Raises:
        AdapterError: one is altered.
        UserError: packages that one needs are not installed.
        SettingError: a method that changes no frozen weights, or adapters that answer or read in different ways.
    """
    names = shown(folders)
    first: dict[str, Any] = {}
    for folder, name in zip(folders, names, strict=True):
        directory.verify(folder)
        config = compose(str(folder / "recipe.yaml"), [])
        directory.require_packages(folder, config)
        if len(folders) == 1:
            return
        if names.count(name) > 1:
            raise SettingError(f"{name} stands twice in the sum, which would double its update; name each adapter once")
        method = located(config.method)
        assert issubclass(method, Method)
        if method.deltas is Method.deltas:
            raise SettingError(
                f"{name} cannot be added: its method {method.__name__} makes no update: {method.unmergeable}"
            )
        data, task = instantiate(config.data), located(config.task)
        now = {
            "task": OmegaConf.to_container(config.task, resolve=True),
            # A language model's are kinds of questions, which it is not asked to tell apart.
            "classes": [] if issubclass(task, LanguageTask) else directory.trained_classes(folder),
            "kind of samples": data.sample.kind if data.sample else "",
            "preparation": data.preparation,
        }
        first = first or {"name": name, **now}
        for what, value in now.items():
            if value != first[what]:
                there, here = _differing(first[what], value)
                raise SettingError(
                    f"{first['name']} and {name} cannot be added: they differ in {what} ({there}, and {here}); one "
                    "answer for both takes the same task, classes and inputs"
                )
        if not task.averageable and _trains(folder):
            raise SettingError(
                f"{name} cannot be added: what its task {task.__name__} trained is no head whose logits can be averaged"
            )


def _trains(folder: Path) -> bool:
    """Whether an adapter holds trained tensors of its task."""
    _, tensors = directory.read(folder)
    return any(name.startswith("task.") for name in tensors)


def _differing(one: Any, other: Any) -> tuple[str, str]:
    """Two values in a few words each: the first parts in which they differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        key = next(key for key in {**one, **other} if one.get(key) != other.get(key))
        return f"{key}={one.get(key)}", f"{key}={other.get(key)}"
    if isinstance(one, list) and isinstance(other, list):
        return _listed(one), _listed(other)
    return str(one) or "none", str(other) or "none"


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(names[:4])}{', ...' * (len(names) > 4)}"


def _changes(part: Pairing, name: str) -> Changes:
    """What an adapter changed of frozen layers.

    Raises:
        SettingError: it is something else, or depends on a side input.
    """
    try:
        return by_place(part.backbones, part.method.deltas())
    except SettingError as error:
        told = ", ".join(part.method.conditions)
        reason = f"its updates depend on a sample's {told}" if told else str(error)
        raise SettingError(f"{name} cannot be added: {reason}") from None


def _depths(parts: Sequence[Pairing], names: Sequence[str]) -> list[Mapping[str, int | None]]:
    """Blocks before the first change of every adapter.

    Raises:
        SettingError: they read different streams.
    """
    for part, name in zip(parts, names, strict=True):
        if sorted(part.depths) != sorted(parts[0].depths):
            streams = f"{', '.join(parts[0].depths)}, and {', '.join(part.depths)}"
            raise SettingError(f"{names[0]} and {name} cannot be added: they read other streams ({streams})")
    return [part.depths for part in parts]


def average(task: Task, others: Sequence[Task]) -> None:
    """Let a task's logits be the mean over its own and those of others, which have the same settings and classes."""
    heads = [task.logits, *(other.logits for other in others)]

    def logits(features: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return torch.stack([head(features, batch) for head in heads]).mean(0)

    task.others = nn.ModuleList(others)  # which move with it
    task.logits = logits  # type: ignore[method-assign]


def shown(folders: Sequence[Path]) -> list[str]:
    """Adapters in a message: by name, or by that of their run and `adapter`; by the whole path where that says too
    little."""
    short = [f"{folder.parent.name}/adapter" if folder.name == "adapter" else folder.name for folder in folders]
    return [name if short.count(name) == 1 else str(folder) for name, folder in zip(short, folders, strict=True)]
