"""Any tuner of HF `peft` that updates layers in place, on the layers of any frozen backbone.

`peft` knows transformers models by name; here every layer is named by its exact path, and the tuner's own class is put
on a whole backbone at once, so that tuners whose layers share vectors (VeRA, VB-LoRA) work as well. This file decides
which layers are wrapped, checks the tuner's settings before it sees a weight, refuses tuners that change a frozen
weight, and measures whether the first step is the frozen model's.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.deltas import Delta
from zoo.methods.targeted import Targeted
from zoo.wording import nearest

NAME = "default"
"""What `peft` calls the one adapter of a layer."""

Tuner = Literal[
    "lora", "loha", "lokr", "hra", "ia3", "hira", "vera", "randlora", "oft", "fourierft", "shira", "delora",
    "miss", "waveft", "gralora", "c3a", "road", "vblora",
]  # fmt: skip
"""By peft's names, in lower case. Prompts, mixtures and what needs a call after every step are no updates in place, and
BOFT compiles code of its own. TinyLoRA, AdaMSS and PSOFT decompose the frozen weight wherever they are loaded; signs of
that differ between libraries, and an adapter keeps what is trained alone."""

OURS = (
    "auto_mapping", "base_model_name_or_path", "bias", "exclude_modules", "inference_mode", "layer_replication",
    "layers_pattern", "layers_to_transform", "megatron_config", "megatron_core", "modules_to_save", "peft_type",
    "peft_version", "revision", "runtime_config", "target_modules", "target_parameters", "task_type",
    "trainable_token_indices",
)  # fmt: skip
"""Settings of a tuner that say where it acts, or what trains beside it: that is the zoo's part."""

SEEDED = {"shira": {"random_seed": 0}}
"""What a tuner leaves to chance, and an adapter must find again: it keeps what is trained alone."""

SCALED = "feedforward_modules"
"""IA3's setting for layers whose inputs are scaled, and not their outputs; suffixes among those of `targets`."""

PLAIN: dict[str, Any] = {"bool": bool, "int": int, "float": (int, float), "str": str}

SAMPLE = 4096
"""Numbers of a frozen weight that are compared."""

EXACT = 1e-5
"""Largest change of a layer's output, as a share of its largest value, at which a tuner starts at the frozen model."""


class PEFT(Targeted):
    """Layers of the last blocks of each backbone, updated by a tuner of HF `peft`.

    Args:
        tuner: which one, as peft calls it.
        settings: of the tuner, by peft's names (`r`, `lora_alpha`, `use_dora`); where they are left out peft's
            defaults, which differ between tuners by a thousand times in what they train.
        targets: module-name suffixes to wrap, by tower, e.g. `{vision: [attn.qkv, attn.proj], audio: [conv1]}`.
        last: wrap only the last so many blocks by tower.
    """

    def __init__(
        self,
        *,
        tuner: Tuner = "lora",
        settings: dict[str, Any] | None = None,
        targets: dict[str, list[str]],
        last: dict[str, int] | None = None,
    ) -> None:
        super().__init__(targets=targets, last=last)
        self.tuner, self.settings = tuner, dict(settings or {})

    def attach(self, backbones: Backbones) -> None:
        """Wrap the targets of every named tower.

        Raises:
            SettingError: a setting that the tuner does not have; a tower without backbone, a suffix that matches no
                layer (those found are listed), or a layer that would never be called or that the tuner cannot take; or
                a tuner that changes frozen weights.
        """
        super().attach(backbones)
        _config(self.tuner, self.settings)
        self.adapted = self.places(backbones)
        self.start = 0.0
        for name, backbone in backbones.items():
            own = {place.layer: place.where for place in self.adapted if place.site.backbone == name}
            if own:
                self.start = max(self.start, self._wrap(backbone, own))

    def config(self, paths: Sequence[str], **more: Any) -> Any:
        """The tuner's settings as peft holds them, for layers at these paths of a model; `more` goes in as it is."""
        return _config(self.tuner, self.settings)(target_modules=list(paths), **self._settings(paths), **more)

    def _wrap(self, backbone: nn.Module, layers: Mapping[nn.Module, str]) -> float:
        """Put the tuner on layers, which have names for a reader; the largest change of what one of them gives."""
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
        from peft.tuners.tuners_utils import BaseTunerLayer

        for layer, place in layers.items():
            if self.tuner == "oft" and isinstance(layer, nn.Conv1d | nn.Conv2d) and _mixes(layer):
                raise SettingError(
                    f"method.tuner = oft: {place} is a convolution over more than one place, or in groups; what peft's "
                    "OFT makes of those is not what it merges to, nor the frozen model at the start"
                )
        before = {layer: _sample(layer).clone() for layer in layers}
        paths = [path for path, module in backbone.named_modules() if module in layers]
        config, where = self.config(paths), f"method.tuner = {self.tuner}"
        try:
            PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](backbone, config, NAME)
        except (ValueError, TypeError, RuntimeError, NotImplementedError, AssertionError) as error:
            told = " ".join(str(error).split())
            raise SettingError(f"{where}: {told}; the layers are {', '.join(layers.values())}") from error
        del backbone.peft_config  # what the tuner leaves beside its layers
        wrapped = {one.get_base_layer(): one for one in backbone.modules() if isinstance(one, BaseTunerLayer)}
        if set(wrapped) != set(layers):
            odd = [layers.get(layer, type(layer).__name__) for layer in set(wrapped) ^ set(layers)]
            raise SettingError(f"{where}: wrapped other layers than those that were named: {', '.join(odd)}")
        if changed := [place for layer, place in layers.items() if not torch.equal(before[layer], _sample(layer))]:
            raise SettingError(
                f"{where}, {self.settings}: it changes the frozen weight of {changed[0]}, which other adapters of "
                "this backbone share; choose a start that leaves it as it is"
            )
        for layer, module in wrapped.items():
            if isinstance(layer, nn.Linear):
                module.forward = _of_few_dimensions(module.forward)
            for parameter in module.parameters():
                if parameter.requires_grad:  # peft takes the type of a half-precision layer for its own
                    parameter.data = parameter.data.float()
        return max(_shift(layer, module) for layer, module in wrapped.items())

    def _settings(self, paths: Sequence[str]) -> dict[str, Any]:
        """The tuner's settings, with paths where they name layers, and a seed of what it draws and does not train."""
        settings = SEEDED.get(self.tuner, {}) | self.settings
        if self.tuner == "ia3":
            suffixes = settings.get(SCALED, [])
            settings[SCALED] = [path for path in paths if any(f".{path}".endswith(f".{suffix}") for suffix in suffixes)]
        return settings

    def describe(self) -> str:
        """Which layers are wrapped, and how far from the frozen model training starts."""
        away = f"; starts elsewhere: a layer's output is changed by up to {100 * self.start:.2g} %"
        return f"{self.tuner} {self.matched}{away if self.start > EXACT else ''}"

    @contextlib.contextmanager
    def without(self) -> Iterator[None]:
        """Within, the wrapped layers give what they gave before."""
        try:
            self._enable(False)
            yield
        finally:
            self._enable(True)

    def deltas(self, *, gsd: float | None = None) -> list[Delta]:
        """Of every wrapped layer; no side input matters."""
        return [_delta(layer) for layer in self.wrapped()]

    def _enable(self, enabled: bool) -> None:
        for layer in self.wrapped():
            layer.enable_adapters(enabled)

    def wrapped(self) -> list[Any]:
        """The tuner's layers, which stand where the frozen ones stood."""
        return [place.site.block.get_submodule(place.path) for place in self.adapted]


def _mixes(layer: nn.Conv1d | nn.Conv2d) -> bool:
    """Whether a convolution is no linear layer of every place."""
    return layer.groups > 1 or any(extent > 1 for extent in layer.kernel_size)


def _of_few_dimensions(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same of any [..., inputs]: some tuners know [N, inputs] and [N, L, inputs] alone, and encoders of maps or of
    heads have more."""

    def call(x: Tensor, *others: Any, **named: Any) -> Tensor:
        if x.ndim < 4:
            return forward(x, *others, **named)
        found: Tensor = forward(x.flatten(0, -3), *others, **named).unflatten(0, x.shape[:-2])
        return found

    return call


def _delta(wrapped: Any) -> Delta:
    """What a tuner makes of a layer's tensors, by its own code for merging, in float32 at least."""

    @torch.no_grad()
    def dense() -> dict[str, Tensor]:
        # The others stay as they are: they may share vectors, and a merge of theirs is not taken back exactly.
        alone = copy.deepcopy(wrapped)
        layer = alone.get_base_layer()
        if not _weight(layer).is_floating_point():
            raise SettingError(f"{layer} is quantised: its weight cannot take an update")
        layer.float()
        before = {name: tensor.clone() for name, tensor in layer.named_parameters()}
        alone.merge()
        changes = {name: tensor - before[name] for name, tensor in alone.get_base_layer().named_parameters()}
        return {name: change for name, change in changes.items() if bool(change.any()) or name == "weight"}

    return Delta(wrapped, dense)


def _config(tuner: str, settings: Mapping[str, Any]) -> type[Any]:
    """The class of a tuner's settings, which these were checked against.

    Raises:
        SettingError: one is unknown, of another type, or not the tuner's to say.
    """
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    kind: type[Any] = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(tuner.upper())]
    known = {each.name: each.type for each in dataclasses.fields(kind) if each.name not in OURS}
    problems = []
    for name, value in settings.items():
        where = f"method.settings.{name}"
        if name in OURS:
            problems.append(f"{where}: targets and last say where the tuner acts, and nothing trains beside it")
        elif name not in known:
            problems.append(f"{where}: peft's {tuner} has no such setting.{nearest(name, sorted(known))}")
        # Alphas, which peft calls int, may be any number.
        elif not _fits(value, expected := "float" if name.endswith("alpha") else _text(known[name])):
            problems.append(f"{where}: expected {expected}, got {value!r} ({type(value).__name__})")
        elif name.endswith("dropout") and value:
            problems.append(f"{where} = {value}: frozen backbones stay in evaluation mode, where dropout does nothing")
    if problems:
        raise SettingError("\n".join(problems))
    return kind


def _text(annotation: Any) -> str:
    """An annotation as it is written."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value has a plain type; of other types peft itself is the judge."""
    plain = PLAIN.get(annotation)
    return plain is None or (isinstance(value, plain) and isinstance(value, bool) == (annotation == "bool"))


def _sample(layer: nn.Module) -> Tensor:
    """The beginning of a weight: whoever decomposes it changes it all, and a whole copy may not fit beside it."""
    return _weight(layer).detach().flatten()[:SAMPLE]


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


@torch.no_grad()
def _shift(layer: nn.Module, wrapped: Any) -> float:
    """How far a wrapped layer is from the frozen one on noise: its largest change, as a share of the largest output."""
    inputs = _noise(layer)
    wrapped.enable_adapters(False)
    frozen = wrapped(inputs).float()
    wrapped.enable_adapters(True)
    return float((wrapped(inputs).float() - frozen).abs().max() / frozen.abs().max().clamp(min=1e-12))


def _noise(layer: nn.Module) -> Tensor:
    weight, generator = _weight(layer), torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Linear):
        shape: tuple[int, ...] = (4, layer.in_features)
    else:
        assert isinstance(layer, nn.Conv1d | nn.Conv2d)
        reach = [8 + extent * step for extent, step in zip(layer.kernel_size, layer.dilation, strict=True)]
        shape = (2, layer.in_channels, *reach)
    dtype = weight.dtype if weight.is_floating_point() else torch.float32
    return torch.randn(shape, generator=generator).to(weight.device, dtype)
