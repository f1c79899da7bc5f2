"""A network as a chain of blocks, found by running it once.

Networks for pictures are built alike, patch embedding or stem, then blocks in stages, then a last norm, and are named
and nested in a hundred ways. So this file reads no names. It runs `forward_features` once, records every call of a
module, and walks from the result back: the call that made it, the call that made that one's input, and so on, as far as
it goes. A module whose own calls make such a chain from its input to its output is a container, and is opened. What
lies between two calls may only be another layout of the same numbers (`layout`); whatever else a call is given
(rotary tables, sizes, masks) is kept as it was, since it depends on the size of the picture alone. Whether all of this
holds is not believed but measured: see `TimmEncoder`.
"""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from zoo.backbones.calls import Call, Seen, first, is_layer, record
from zoo.backbones.layout import Layout, layout_of


@dataclass(frozen=True)
class Step:
    """One module of the chain, between two layouts."""

    module: nn.Module
    path: str
    into: Layout
    out: Layout
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, tokens: Tensor, kept: Callable[[Any], Any]) -> Tensor:
        """[N, L, D] -> [N, L', D']; `kept` gives what `Constants.keep` took."""
        args, kwargs = (kept(value) for value in self.args), {name: kept(v) for name, v in self.kwargs.items()}
        return self.out.tokens(first(self.module(self.into.restored(tokens), *args, **kwargs)))

    @property
    def plain(self) -> bool:
        """Whether it is a map from tokens to tokens as it is."""
        return self.into.form == self.out.form == "NLC" and not self.args and not self.kwargs


class Constants(nn.Module):
    """Tensors that blocks are given beside what travels: moved with the network, and no part of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Tensor] = []

    def keep(self, value: Any) -> Any:
        """The same value with a mark in the place of every tensor."""
        if isinstance(value, Tensor):
            index = next((i for i, known in enumerate(self.known) if known is value), len(self.known))
            if index == len(self.known):
                self.known.append(value)
                self.register_buffer(f"tensor_{index}", value.detach().clone(), persistent=False)
            return _Mark(index)
        return type(value)(self.keep(v) for v in value) if type(value) in (list, tuple) else value

    def settle(self) -> None:
        """Let go of the tensors themselves; nothing is kept from here on."""
        self.known = []

    def get(self, value: Any) -> Any:
        """The reverse of `keep`."""
        if isinstance(value, _Mark):
            return getattr(self, f"tensor_{value.index}")
        return type(value)(self.get(v) for v in value) if type(value) in (list, tuple) else value


@dataclass(frozen=True)
class _Mark:
    index: int


@dataclass(frozen=True)
class Chain:
    """What was found.

    Attributes:
        lead: before the first block; empty unless it begins with the pictures themselves.
        blocks: every block with the layers that lead to it, the block itself last.
        tail: after the last block.
        end: layout of what `forward_features` gives.
        whole: whether the chain begins with the pictures.
    """

    lead: tuple[Step, ...]
    blocks: tuple[tuple[Step, ...], ...]
    tail: tuple[Step, ...]
    end: Layout
    whole: bool


def find(net: nn.Module, pictures: Tensor, constants: Constants) -> Chain | None:
    """The chain that ends in what `net.forward_features` gives; None where it has no block.

    Args:
        net: in evaluation mode.
        pictures: [N, 3, S, S], several: kernels choose memory orders by their number.
        constants: takes the tensors that blocks are given.
    """
    root = record(net, pictures)
    calls, start = _links(root.calls, root.gave)
    opened = [inner for call in calls for inner in _opened(call)]
    numbered = [index for index, call in enumerate(opened) if call.numbered]
    end = layout_of(root.gave.tensor)
    if not numbered or end is None:
        return None
    whole = start.tensor is pictures
    begin = 0 if whole else numbered[0]
    steps = [_step(call, constants) for call in opened[begin:]]
    constants.settle()
    sound = [step for step in steps if step is not None]
    if len(sound) < len(steps):
        return None
    ends = [numbered[0] - begin, *(index + 1 - begin for index in numbered)]
    blocks = tuple(tuple(sound[a:b]) for a, b in itertools.pairwise(ends))
    return Chain(tuple(sound[: ends[0]]), blocks, tuple(sound[ends[-1] :]), end, whole)


def _step(call: Call, constants: Constants) -> Step | None:
    into, out = layout_of(call.given.tensor), layout_of(call.gave.tensor)
    if into is None or out is None:
        return None
    kwargs = {name: constants.keep(value) for name, value in call.kwargs.items()}
    return Step(call.module, call.path, into, out, constants.keep(call.args[1:]), kwargs)


def _links(calls: Sequence[Call], end: Seen) -> tuple[list[Call], Seen]:
    """The calls that lead to `end`, in their order, and what the first of them was given."""
    found: list[Call] = []
    for call in reversed(calls):
        if call.given.tensor is not None and call.gave.same(end):
            found.append(call)
            end = call.given
    return found[::-1], end


def _opened(call: Call) -> list[Call]:
    """The blocks inside a container with what stands between them; the call itself where it is none."""
    calls, start = _links(call.calls, call.gave)
    if not calls or not start.same(call.given):
        return [call]
    made = [each.gave.tensor for each in call.calls if each.given.tensor is not None]
    if any(one is other for each in calls for one in each.beside for other in made):
        return [call]  # what its blocks are given beside depends on the pictures
    inner = [deeper for each in calls for deeper in _opened(each)]
    return inner if any(each.numbered for each in inner) else [call]


class Block(nn.Module):
    """One block of a chain as a map from tokens to tokens that methods can wrap.

    Made anew at each access, as `Bound` is: the modules inside are the network's own. Layers that only lead to the
    block (a norm and a convolution between two stages) run with it, but are not its children, since what wraps such a
    layer would stand here and not in the network.

    Args:
        steps: the block last.
        kept: gives the constants of the steps.
    """

    def __init__(self, steps: Sequence[Step], kept: Callable[[Any], Any]) -> None:
        super().__init__()
        self.steps, self.kept = tuple(steps), kept
        for step in self.steps:
            if not is_layer(step.module):
                self.add_module(step.path.replace(".", "_"), step.module)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, L, D] -> [N, L', D']."""
        for step in self.steps:
            tokens = step(tokens, self.kept)
        return tokens


class _Reached(Exception):  # noqa: N818 (no error)
    def __init__(self, tokens: Tensor) -> None:
        super().__init__()
        self.tokens = tokens


@contextmanager
def _stopping(block: nn.Module) -> Iterator[None]:
    own = threading.get_ident()  # others may be inside the block at this moment

    def stop(_module: nn.Module, args: tuple[Any, ...]) -> None:
        if threading.get_ident() == own:
            raise _Reached(args[0])

    hook = block.register_forward_pre_hook(stop)
    try:
        yield
    finally:
        hook.remove()


def before(net: nn.Module, block: nn.Module, pictures: Tensor) -> Tensor:
    """What `net.forward_features(pictures)` gives its first block: positions and class tokens enter in methods of a
    network, not in modules that could be called."""
    try:
        with _stopping(block):
            net.forward_features(pictures)  # type: ignore[operator]
    except _Reached as reached:
        return reached.tokens
    raise RuntimeError("the first block was not called")  # `find` saw it called
