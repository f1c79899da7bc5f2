"""Models of timm: names it does not know are refused before anything is fetched; weights, sizes and cuts."""

import warnings
from typing import Any

import timm
from torch import Tensor, nn

from zoo import wording
from zoo.backbones import weights
from zoo.backbones.chain import Chain
from zoo.backbones.weights import WeightsError
from zoo.errors import SettingError


def known(model: str) -> None:
    """Refuse a name that timm does not have; no network is asked.

    Args:
        model: without or with a pretrained tag.

    Raises:
        SettingError: naming near ones.
    """
    name, _, tag = model.partition(".")
    if not timm.is_model(name):
        raise SettingError(f"timm {timm.__version__} has no model {name!r}.{_near(name)}")
    if tag and not timm.is_model_pretrained(model):
        raise SettingError(f"timm {timm.__version__} has no weights {model!r}; {_tags(name)}")


def agreed(model: str, source: str) -> None:
    """Refuse two settings that do not name one model of timm; no network is asked.

    Args:
        model: without or with a pretrained tag.
        source: of its weights.

    Raises:
        SettingError: there is no such model, or the two name different ones.
        WeightsError: timm has no such weights, or a source of another kind.
    """
    known(model)
    parsed = weights.parse(source)
    if parsed.kind not in ("timm", "file", "random"):
        raise WeightsError(f"source = {source!r}: expected timm:NAME, file:PATH or random:SEED for a model of timm")
    if parsed.kind == "timm":
        known(parsed.name)
        name = model.partition(".")[0]
        if name != parsed.name.partition(".")[0]:
            raise SettingError(f"model = {model!r}, but source = {source!r}: expected weights of that model")
        if not timm.is_model_pretrained(parsed.name):
            raise WeightsError(f"source = {source!r}: timm {timm.__version__} {_tags(name)}")


def stored(source: str) -> dict[str, Tensor]:
    """Tensors in timm's names, of a timm model at the size that it was trained at, or of a file.

    Raises:
        WeightsError: they cannot be had.
    """
    if weights.parse(source).kind != "timm":
        return weights.load_state_dict(weights.resolve(source))
    state: dict[str, Tensor] = published(source).state_dict()
    return state


def published(source: str) -> nn.Module:
    """The model of a `timm:` source with its weights, without a classifier.

    Raises:
        WeightsError: the hub cannot be reached.
    """
    try:
        net: nn.Module = timm.create_model(weights.parse(source).name, pretrained=True, num_classes=0)
    except OSError as error:
        raise WeightsError(f"{source}: the hub cannot be reached and nothing is cached: {error}") from error
    return net


def _tags(name: str) -> str:
    tags = timm.list_pretrained(f"{name}.*")
    return f"it has {', '.join(tags)}" if tags else f"has no weights of {name}"


def _near(name: str) -> str:
    """The nearest name, or those that begin alike."""
    near = wording.close(name, timm.list_models())
    alike = timm.list_models(f"{name[:4]}*")[:6]
    return near or (f" There is {', '.join(alike)}, ..." if alike else " `timm.list_models()` has all names.")


class Cut(nn.Module):
    """Stands where a block was cut: gives what it is given."""

    def forward(self, tokens: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """[N, ...] -> the same."""
        return tokens

    def set_input_size(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing here depends on the size of pictures."""


def cut(net: nn.Module, found: Chain, blocks: int) -> None:
    """Take the blocks after the first so many out of a network; its last norm and pooling follow what is left.

    Raises:
        SettingError: there are not so many, or norm and pooling do not fit behind them.
    """
    ends = [steps[-1].out for steps in found.blocks]
    fitting = [i for i, end in enumerate(ends, 1) if (end.form, end.shape) == (ends[-1].form, ends[-1].shape)]
    if blocks not in fitting:
        raise SettingError(
            f"blocks = {blocks}: expected {fitting[0]} to {len(ends)}, which norm and pooling of {title(net)} fit"
        )
    for steps in found.blocks[blocks:]:
        for step in steps:
            parent, _, name = step.path.rpartition(".")
            setattr(net.get_submodule(parent), name, Cut())


def load(net: nn.Module, state: dict[str, Tensor], parts: set[str], source: str) -> None:
    """Load tensors in timm's names, every one accounted for.

    Args:
        net: cut already.
        state: its tensors.
        parts: names of the whole network's tensors, of which a file may have more than a cut one.
        source: named in errors.

    Raises:
        WeightsError: naming what is missing, left over or misshapen.
    """
    missing = sorted(set(net.state_dict()) - set(state))
    left = sorted(set(state) - parts)
    problems = [f"missing {missing or 'nothing'}", f"left over {left or 'nothing'}"] if missing or left else []
    if problems := [*misshapen(net, state), *problems]:
        raise WeightsError(f"{source} does not fit {title(net)}: " + ", ".join(problems))
    net.load_state_dict({name: state[name] for name in net.state_dict()})


def misshapen(net: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Tensors of a file whose shape is not the network's."""
    own = net.state_dict()
    return [
        f"{name} {list(state[name].shape)}, expected {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]


def resize(net: Any, own: int, size: int) -> None:
    """Make a network take another size of pictures, where its size is built in and timm can change it."""
    if size != own and callable(getattr(net, "set_input_size", None)):
        with warnings.catch_warnings():  # of torch, to timm
            warnings.simplefilter("ignore")
            net.set_input_size(img_size=(size, size))


def side(net: Any) -> int:
    """Side of the square pictures that a network takes as it is.

    Raises:
        SettingError: its own pictures are no squares of three channels.
    """
    built_in = getattr(getattr(net, "patch_embed", None), "img_size", None)
    channels, *sides = getattr(net, "pretrained_cfg", {}).get("input_size") or (3, 224, 224)
    sides = built_in or sides
    if channels != 3 or sides[0] != sides[1]:
        raise SettingError(f"{title(net)}: takes {channels} x {sides[0]} x {sides[1]}, expected squares of 3 channels")
    return int(sides[0])


def title(net: Any) -> str:
    """timm's name of a network's architecture, or its class."""
    return str((getattr(net, "pretrained_cfg", None) or {}).get("architecture") or type(net).__name__)


def pooling(net: Any) -> str:
    """How a network pools, where it says so."""
    pool = getattr(net, "global_pool", None) or getattr(getattr(net, "head", None), "global_pool", None)
    return pool if isinstance(pool, str) else str(getattr(pool, "pool_type", ""))
