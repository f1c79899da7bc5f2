"""The selective scan of Mamba (S6; Gu and Dao, arXiv 2312.00752): one function, several backends.

    delta_t = softplus(dt_t + dt_bias)
    h_t     = exp(delta_t A) h_{t-1} + delta_t B_t u_t        A by zero-order hold, B by Euler
    y_t     = <C_t, h_t> + D u_t,  times SiLU(z_t)

Tensors lie as tokens do, [B, L, D], not channel-first as in mamba-ssm. The recurrence runs in float32 (float64 in the
reference, where the inputs are), whatever autocast made of the inputs. dt, B and C are plain arguments, so that a
method may modulate them and still take the fused path.
"""

import importlib.util
from functools import partial
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

Backend = Literal["auto", "reference", "doubling", "numba", "triton", "mamba_ssm"]

Named = Literal["reference", "doubling", "numba", "triton", "mamba_ssm"]


def choose(device: torch.device, dtype: torch.dtype) -> Named:
    """The fastest backend that serves tensors of this device and type.

    A GPU takes our Triton kernel, a CPU the Numba one. float64, meant for checks, takes the reference everywhere; a
    graph that is exported takes `doubling`, which needs nothing but torch's operations.

    Raises:
        RuntimeError: a device without a fused kernel; only an explicit `reference` runs there, slowly.
    """
    if dtype == torch.float64:
        return "reference"
    if torch.compiler.is_exporting():
        return "doubling"
    if device.type == "cpu":
        return "numba"
    if device.type == "cuda" and importlib.util.find_spec("triton"):
        return "triton"
    if device.type == "cuda" and importlib.util.find_spec("mamba_ssm"):
        return "mamba_ssm"
    raise RuntimeError(
        f"no fused selective scan for {device.type} here: install triton (or mamba-ssm) for a GPU, or set "
        "scan: reference in the backbone's block, a PyTorch loop that is many times slower"
    )


def selective_scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    softplus: bool = True,
    backend: Backend = "auto",
) -> Tensor:
    """Scan over tokens: [B, L, D] -> [B, L, D] in u's dtype. Differentiable in every tensor.

    Args:
        u: inputs [B, L, D].
        dt: step sizes before bias and softplus [B, L, D].
        A: [D, S], negative for a stable state.
        B: [B, L, S], shared by the channels.
        C: [B, L, S], shared by the channels.
        D: skip weights [D].
        z: gate before its SiLU [B, L, D].
        dt_bias: [D].
        softplus: of dt + dt_bias; else it is taken as it is.
        backend: `auto` asks `choose`.

    Raises:
        ValueError: shapes that do not fit, or an unknown backend.
    """
    size, length, channels = _check(u, dt, A, B, C, D, z, dt_bias)
    if backend not in get_args(Backend):
        raise ValueError(f"backend {backend!r}: expected one of {', '.join(get_args(Backend))}")
    named = choose(u.device, u.dtype) if backend == "auto" else backend
    if named in ("reference", "doubling"):
        return _unfused(u, dt, A, B, C, D, z, dt_bias, softplus, by_token=named == "reference")
    if named == "mamba_ssm":
        return _mamba_ssm(u, dt, A, B, C, D, z, dt_bias, softplus)
    if not length:
        return torch.zeros(size, 0, channels, dtype=u.dtype, device=u.device)
    kernel = _module(named).forward if _directly(u, dt, A, B, C, D, z, dt_bias) else partial(_scan, backend=named)
    out: Tensor = kernel(u, dt, A, B, C, D, z, dt_bias, softplus)[0]
    return out


def _check(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *more: Tensor | None) -> tuple[int, int, int]:
    if u.ndim != 3 or A.ndim != 2:
        raise ValueError(f"u {list(u.shape)}, A {list(A.shape)}: expected [B, L, D] and [D, S]")
    (size, length, channels), states = u.shape, A.shape[1]
    token, shared = (size, length, channels), (size, length, states)
    D, z, bias = more
    expected = {"dt": (dt, token), "A": (A, (channels, states)), "B": (B, shared), "C": (C, shared)}
    expected |= {"D": (D, (channels,)), "z": (z, token), "dt_bias": (bias, (channels,))}  # type: ignore[dict-item]
    wrong = [
        f"{name} {list(tensor.shape)}, expected {list(shape)}"
        for name, (tensor, shape) in expected.items()
        if tensor is not None and tuple(tensor.shape) != shape
    ]
    if wrong:
        raise ValueError(f"u {list(u.shape)} and A {list(A.shape)} do not fit " + "; ".join(wrong))
    return size, length, channels


def _unfused(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    *,
    by_token: bool,
) -> Tensor:
    """The equations in torch's operations: token by token, the oracle of every other backend, or by `_doubling`."""
    kind = torch.float64 if u.dtype == torch.float64 else torch.float32
    with torch.autocast(u.device.type, enabled=False):
        x, delta, A, B, C = (tensor.to(kind) for tensor in (u, dt, A, B, C))
        delta = delta if dt_bias is None else delta + dt_bias.to(kind)
        delta = F.softplus(delta, threshold=80) if softplus else delta
        if by_token:
            state = x.new_zeros(u.shape[0], *A.shape)  # [B, D, S]
            rows = []
            for t in range(u.shape[1]):
                step = delta[:, t, :, None]
                state = torch.exp(step * A) * state + step * x[:, t, :, None] * B[:, t, None]
                rows.append(torch.einsum("bds,bs->bd", state, C[:, t]))
            y = torch.stack(rows, dim=1) if rows else torch.zeros_like(x)
        else:
            states = _doubling(torch.exp(delta[..., None] * A), (delta * x)[..., None] * B[:, :, None])
            y = (states * C[:, :, None]).sum(-1)
        y = y if D is None else y + D.to(kind) * x
        y = y if z is None else y * F.silu(z.to(kind))
        return y.to(u.dtype)


def _doubling(decay: Tensor, drive: Tensor) -> Tensor:
    """h_t = decay_t h_{t-1} + drive_t for every t at once, [B, L, D, S]: in round k a state takes in the one 2^k
    tokens before it (Hillis and Steele 1986), so that a graph holds log2(L) steps, not L."""
    reach = 1
    while reach < decay.shape[1]:
        back = (0, 0, 0, 0, reach, 0)
        drive = drive + decay * F.pad(drive[:, :-reach], back)
        decay = decay * F.pad(decay[:, :-reach], back)
        reach *= 2
    return drive


def _mamba_ssm(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
) -> Tensor:
    """The CUDA kernel of the package mamba-ssm, which wants channels before tokens."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    # It refuses inputs of several types, which a method that modulates in float32 under autocast would give it.
    turned = [tensor.to(u.dtype).transpose(1, 2).contiguous() for tensor in (u, dt, B, C)]
    gate = None if z is None else z.to(u.dtype).transpose(1, 2).contiguous()
    out: Tensor = selective_scan_fn(
        turned[0],
        turned[1],
        A.float(),
        turned[2],
        turned[3],
        None if D is None else D.float(),
        z=gate,
        delta_bias=None if dt_bias is None else dt_bias.float(),
        delta_softplus=softplus,
    )
    return out.transpose(1, 2)


# --- the fused backends as one operator that autograd and torch.compile know ------------------------------------------


def _directly(*tensors: Tensor | None) -> bool:
    """Whether nobody has to know of the operator, so that a kernel may be called without it: no gradient is wanted, and
    nothing traces, transforms or watches operations. The first call of an operator of `torch.library` imports
    torch._dynamo, which takes longer than a prediction."""
    given = [tensor for tensor in tensors if tensor is not None]
    return (
        not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given))
        and all(type(tensor) in (Tensor, torch.nn.Parameter) and not tensor.is_meta for tensor in given)
        and not (torch.compiler.is_compiling() or torch._C._is_tracing())
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch.autograd.forward_ad._current_level < 0
    )


def _module(backend: str) -> ModuleType:
    if backend == "numba":
        from zoo.ops import scan_numba

        return scan_numba
    from zoo.ops import scan_triton

    return scan_triton


@torch.library.custom_op("zoo::selective_scan", mutates_args=())
def _scan(
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    out, states = _module(backend).forward(u, dt, A, B, C, D, z, dt_bias, softplus)
    return out, states


@torch.library.custom_op("zoo::selective_scan_backward", mutates_args=())
def _scan_backward(
    grad: Tensor,
    u: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    softplus: bool,
    states: Tensor,
    backend: str,
) -> list[Tensor]:
    """Eight gradients; an empty tensor for what is absent."""
    found = _module(backend).backward(grad, u, dt, A, B, C, D, z, dt_bias, softplus, states)
    return [u.new_empty(0) if gradient is None else gradient for gradient in found]


@_scan.register_fake
def _(u, dt, A, B, C, D, z, dt_bias, softplus, backend):  # type: ignore[no-untyped-def]
    chunks = -(-u.shape[1] // _module(backend).CHUNK)
    last = (A.shape[1], A.shape[0]) if backend == "numba" else (A.shape[0], A.shape[1])
    return torch.empty_like(u, memory_format=torch.contiguous_format), A.new_empty(
        (u.shape[0], chunks, *last), dtype=torch.float32
    )


@_scan_backward.register_fake
def _(grad, u, dt, A, B, C, D, z, dt_bias, softplus, states, backend):  # type: ignore[no-untyped-def]
    return [
        u.new_empty(0) if tensor is None else torch.empty_like(tensor, memory_format=torch.contiguous_format)
        for tensor in (u, dt, A, B, C, D, z, dt_bias)
    ]


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *tensors, ctx.softplus, ctx.backend = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(True)


def _gradients(ctx, grad, _):  # type: ignore[no-untyped-def]
    *tensors, states = ctx.saved_tensors
    found = _scan_backward(grad, *tensors, ctx.softplus, states, ctx.backend)
    return *(None if tensor is None else g for tensor, g in zip(tensors, found, strict=True)), None, None


_scan.register_autograd(_gradients, setup_context=_setup)
