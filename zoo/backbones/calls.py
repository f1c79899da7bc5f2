"""What a network calls while it runs: every module with what it was given and what it gave."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.layout import layout_of

LEADS = re.compile(r"(^|\.)(stem|patch_embed|downsample)")
"""Numbered parts of these lead to a block, and are none."""


@dataclass(frozen=True)
class Seen:
    """A tensor at one moment: networks add to it in place (`x += shortcut`), and it is another one then.

    Attributes:
        tensor: None where something else was passed.
        version: that torch counts up at every change in place.
    """

    tensor: Tensor | None
    version: int = 0

    @classmethod
    def now(cls, value: Any) -> "Seen":
        """The value as it is."""
        return cls(value, value._version) if isinstance(value, Tensor) else cls(None)

    def same(self, other: "Seen") -> bool:
        """Whether two are one, or hold the same numbers in two layouts."""
        one, two = self.tensor, other.tensor
        if one is None or two is None or one is two:
            return one is two and one is not None and self.version == other.version
        ours, theirs = layout_of(one), layout_of(two)
        if ours is None or theirs is None or one.numel() != two.numel() or ours.width != theirs.width:
            return False
        return torch.equal(ours.tokens(one), theirs.tokens(two))


@dataclass
class Call:
    """One call of a module.

    Attributes:
        path: of the module in the network.
        module: what was called.
        args: positional inputs; the first is what travels.
        kwargs: keyword inputs.
        calls: those made during it, in their order.
        out: what it gave.
        given: what travels, as it came in.
        gave: what travels, as it went out.
    """

    path: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    calls: "list[Call]" = field(default_factory=list)
    out: Any = None

    def __post_init__(self) -> None:
        self.given = Seen.now(self.args[0] if self.args else None)
        self.gave = Seen(None)

    def ends(self, out: Any) -> None:
        """Note what it gave."""
        self.out, self.gave = out, Seen.now(first(out))

    @property
    def beside(self) -> list[Tensor]:
        """Tensors that it was given beside what travels."""
        return [value for value in (*self.args[1:], *self.kwargs.values()) if isinstance(value, Tensor)]

    @property
    def numbered(self) -> bool:
        """Whether it is one of many: its name ends in a number, and it holds layers that do more than follow."""
        if LEADS.search(self.path) or is_layer(self.module) or type(self.module) is nn.Sequential:
            return False
        return bool(re.search(r"\d$", self.path))


def record(net: nn.Module, pictures: Tensor) -> Call:
    """`net.forward_features(pictures)` as one call, with every call of a module inside."""
    root = Call("", net, (pictures,), {})
    stack = [root]

    def begins(path: str) -> Callable[..., None]:
        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = Call(path, module, args, kwargs)
            stack[-1].calls.append(call)
            stack.append(call)

        return note

    def ends(_module: nn.Module, _args: Any, _kwargs: Any, out: Any) -> None:
        stack.pop().ends(out)

    hooks = []
    try:
        for path, module in net.named_modules():
            if path:
                hooks.append(module.register_forward_pre_hook(begins(path), with_kwargs=True))
                hooks.append(module.register_forward_hook(ends, with_kwargs=True))
        with torch.no_grad():
            root.ends(net.forward_features(pictures))  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()
    return root


def first(value: Any) -> Any:
    """The first of nested tuples and lists: blocks may give sizes beside their tokens."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return value


def is_layer(module: nn.Module) -> bool:
    """Whether no module inside it has parameters: a linear layer, a norm with its activation, a pooling."""
    return not any(any(True for _ in child.parameters()) for child in module.children())
