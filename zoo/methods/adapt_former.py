"""AdaptFormer (Chen et al., NeurIPS 2022, arXiv 2205.13535): a bottleneck beside the MLP of transformer blocks.

    u = W_down x + b_down                                   x what the MLP is given, [N, L, D] or [N, H, W, D]
    y = MLP(x) + s (W_up ReLU(u) + b_up)                    W_up = b_up = 0: step 0 is the frozen encoder, exactly

By the paper: the bottleneck of 64 channels, ReLU, s = 0.1, and the start, that of LoRA. In its equation the bottleneck
reads LN(x'), x' being the residual stream; its released code hands it x' itself by default, with a layer norm of the
adapter's own as a setting. Here it reads what the MLP is given, which in a block that norms first is LN(x') with the
frozen norm, as in the equation; `norm` adds a layer norm of its own behind that. The paper's encoders scale nothing
after the MLP; where a block does (layer scale, as in DINOv2), what the bottleneck adds is scaled with the MLP's output.
Left out: the released code's dropout of 0.1 between the two layers.

The MLP is any module inside a block that holds linear layers, gives the width that it takes and is no attention, so
that the language tower of a vision-language model has them as well. It is called as it was; only what it returns is
added to.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.bottleneck import silent
from zoo.methods.targeted import Targeted


class AdaptFormer(Targeted):
    """Bottlenecks beside the MLPs of the last blocks of each backbone.

    Args:
        targets: suffixes of the MLPs' names by tower, e.g. `{vision: [mlp]}`.
        last: adapt only the last so many blocks, by tower.
        width: of the bottleneck.
        scale: s.
        norm: whether a trained layer norm stands before W_down.
    """

    unmergeable = "its bottlenecks lie beside MLPs, with a nonlinearity of their own"

    def __init__(
        self,
        *,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
        width: Annotated[int, ">= 1"] = 64,
        scale: float = 0.1,
        norm: bool = False,
    ) -> None:
        super().__init__(targets=targets, last=last)
        self.width, self.scale, self.norm = width, scale, norm

    def attach(self, backbones: Backbones) -> None:
        """Hook the MLPs.

        Raises:
            SettingError: a tower without backbone, or a suffix that matches no MLP (those found are listed).
        """
        super().attach(backbones)
        self.adapters = nn.ModuleDict()
        for place in self.places(backbones, fits=is_mlp):
            adapter = Parallel(_linears(place.layer)[0].in_features, self.width, scale=self.scale, norm=self.norm)
            self.adapters[place.key] = adapter
            place.layer.register_forward_hook(self._hook(adapter, place.where))

    def describe(self) -> str:
        """Which MLPs are adapted."""
        return f"{self.matched}, with bottlenecks of width {self.width} beside them"

    def _hook(self, adapter: "Parallel", where: str) -> Callable[[nn.Module, tuple[Any, ...], Any], Tensor | None]:
        def add(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
            if not self.acts:
                return None
            if not isinstance(output, Tensor):
                raise SettingError(f"method.targets.{where} gives no tensor, but a {type(output).__name__}: no MLP")
            more: Tensor = adapter(inputs[0])
            return output + more.to(output.dtype)

        return add


class Parallel(nn.Module):
    """What is added to one MLP's output, zero at the start.

    Args:
        width: D of what the MLP takes and gives.
        bottleneck: channels in between.
        scale: s.
        norm: whether a layer norm comes first.
    """

    def __init__(self, width: int, bottleneck: int, *, scale: float, norm: bool) -> None:
        super().__init__()
        self.scale = scale
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.down, self.up = nn.Linear(width, bottleneck), silent(bottleneck, width)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        hidden = F.relu(self.down(self.norm(x.to(self.down.weight.dtype))))
        added: Tensor = self.scale * self.up(hidden)
        return added


def is_mlp(module: nn.Module) -> bool:
    """Whether a module is made of linear layers, two or more, gives the width that it takes, and is no attention."""
    linears = _linears(module)
    if any("attention" in type(one).__name__.lower() for one in module.modules()):
        return False
    return len(linears) > 1 and linears[0].in_features == linears[-1].out_features


def _linears(module: nn.Module) -> list[nn.Linear]:
    """The linear layers inside, in the order in which they were made."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
