"""Weights of `random:` sources: the same bytes on every processor.

A base is known by its exact bytes (`zoo.backbones.fingerprint`), and torch's normal draws, exp and log round by
the vector units and libraries of a machine. While an architecture is built here, its draws come from the integers of
NumPy's Philox (Salmon et al., SC 2011), scaled by exactly rounded arithmetic alone; the few functions that
initialisers compute are taken in double precision and put on a grid so coarse that no processor's last bits reach it.

Adapters of formats 1 and 2 were trained on torch's own draws, and are given them.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.backbones import weights
from zoo.backbones.fingerprint import exact_by_processor

aten = torch.ops.aten

Values = NDArray[np.float64]

GRID = 2.0**-20
"""Values of functions are multiples of it: rounding errors of a double, about 2**-50, do not move them."""

CHUNK = 2**15
"""Numbers that are drawn at a time: with their doubles they stay in a core's cache."""

SUMMED = 8
"""16-bit integers whose sum is a normal draw: standard deviation 1, kurtosis 2.85, at most 4.9 deviations."""


def _erfinv(values: Values) -> Values:
    from scipy.special import erfinv  # a tenth of a second that weights which are read do not need

    out: Values = erfinv(values)
    return out


FUNCTIONS: dict[Any, Callable[[Values], Values]] = {
    aten.exp: np.exp,
    aten.exp_: np.exp,
    aten.log: np.log,
    aten.log_: np.log,
    aten.log1p: np.log1p,
    aten.expm1: np.expm1,
    aten.erfinv_: _erfinv,
}

NORMAL = (aten.normal_, aten.randn, aten.randn_like)

UNIFORM = (aten.uniform_, aten.rand, aten.rand_like)

FILLING = {getattr(Tensor, f"{name}_") for name in "normal uniform erfinv mul add clamp fill zero".split()}  # noqa: SIM905
"""Methods by which initialisers fill a tensor."""

INTEGER = (aten.randint, aten.randperm, aten.random_)
"""torch draws integers without rounding."""


@contextlib.contextmanager
def initialising(source: str, what: str) -> Iterator[None]:
    """Build an architecture inside: its weights follow from the seed of a `random:` source, which is announced.

    With any other source what is drawn is overwritten, and only the caller's random stream is kept as it was.
    """
    parsed = weights.parse(source)
    with torch.random.fork_rng(devices=[]):
        if parsed.kind != "random":
            yield
            return
        weights.announce_random(source, what)
        torch.manual_seed(parsed.seed)
        with contextlib.nullcontext() if exact_by_processor() else Draws(parsed.seed):
            yield


def trunc_normal_(tensor: Tensor, std: float) -> Tensor:
    """Fill a tensor with a normal distribution of mean 0, cut at -2 and 2, by its inverse distribution function.

    So does torch 2.11's `nn.init.trunc_normal_`; newer ones draw again what falls outside, which gives other weights
    from the same seed, and adapters know their base by its bytes.
    """
    share = math.erf(2.0 / std / math.sqrt(2.0))
    with torch.no_grad():
        tensor.uniform_(-share, share).erfinv_().mul_(std * math.sqrt(2.0))
        return tensor.add_(0.0).clamp_(-2.0, 2.0)  # -0 becomes 0, which are other bytes


def _on_grid(values: Values) -> Values:
    values /= GRID
    np.round(values, out=values)
    values *= GRID
    return values


def _fill(tensor: Tensor, parts: Iterable[Values]) -> Tensor:
    """Write parts one behind the other into a tensor of any strides."""
    flat = tensor.view(-1) if tensor.is_contiguous() else torch.empty(tensor.numel(), dtype=tensor.dtype)
    start = 0
    for part in parts:
        flat[start : start + len(part)].copy_(torch.from_numpy(part))
        start += len(part)
    return tensor if tensor.is_contiguous() else tensor.copy_(flat.view(tensor.shape))


class Shapes(TorchFunctionMode):
    """Inside, an architecture is built without storage, to be filled from a file: nothing is drawn.

    PyTorch's own `device("meta")`, below which it stands, draws for the sake of shapes, and imports its compiler for
    that, which takes longer than reading a small encoder.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One function of torch: one that fills a tensor leaves it as it is, others make shapes."""
        kwargs = kwargs or {}
        if func in FILLING or getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class Draws(TorchDispatchMode):
    """Inside, every draw and every function of `FUNCTIONS` gives the same bytes on any processor.

    Args:
        seed: of all draws, which also depend on their order.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bits = np.random.Philox(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """One operation of torch.

        Raises:
            NotImplementedError: a draw that has no portable form here.
        """
        kwargs, packet = kwargs or {}, func.overloadpacket
        if packet in FUNCTIONS:
            out: Tensor = args[0] if func._schema.is_mutable else torch.empty_like(args[0])
            given, function = args[0].reshape(-1).split(CHUNK), FUNCTIONS[packet]
            return _fill(out, (_on_grid(function(some.double().numpy())) for some in given))
        if packet in (aten.linalg_vector_norm, aten.norm):
            return func(args[0].double(), *args[1:], **kwargs).div_(GRID).round_().mul_(GRID).to(args[0].dtype)
        if packet in NORMAL + UNIFORM:
            fills = func._schema.is_mutable  # tensor.normal_(mean, std) and the like; torch.randn takes neither
            filled: Tensor = args[0] if fills else func(*args, **kwargs)
            given = args[1:3] if fills else ()
            draw = self._normal if packet in NORMAL else self._uniform
            counts = (min(CHUNK, filled.numel() - start) for start in range(0, filled.numel(), CHUNK))
            return _fill(filled, (draw(count, *given) for count in counts))
        if torch.Tag.nondeterministic_seeded in func.tags and packet not in INTEGER:
            raise NotImplementedError(f"weights drawn by {func} would differ between processors")
        return func(*args, **kwargs)

    def _uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Values:
        """Multiples of 2**-24 in [0, 1), stretched."""
        steps: Values = (self.bits.random_raw(count) >> np.uint64(40)).astype(np.float64)
        steps *= 2.0**-24
        steps *= high - low
        steps += low
        return steps

    def _normal(self, count: int, mean: float = 0.0, deviation: float = 1.0) -> Values:
        """Sums of 16-bit integers, centred and scaled."""
        words = self.bits.random_raw(count * SUMMED // 4).astype("<u8").view("<u2")
        sums: Values = words.reshape(count, SUMMED).sum(1, dtype=np.int64).astype(np.float64)
        spread = math.sqrt(SUMMED * (2**32 - 1) / 12)
        return mean + deviation * ((sums - SUMMED * (2**16 - 1) / 2) / spread)
