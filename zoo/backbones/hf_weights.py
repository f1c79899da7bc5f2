"""Models of transformers from their declared sources, whole or in four bits."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.backbones import hashes, hub, weights
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import Fingerprint
from zoo.backbones.hf_modules import outside_language, require_causal
from zoo.backbones.weights import WeightsError
from zoo.errors import SettingError, absent_of, install
from zoo.files import cache_dir
from zoo.quiet import without_bar

Quantization = Literal["none", "4bit"]

Precision = Literal["float32", "bfloat16"]


def quantization_of(source: str) -> Any:
    """Settings of QLoRA's quantisation (Dettmers et al. 2023), of the language model alone.

    Raises:
        SettingError: naming what this machine lacks for it.
    """
    if absent_of("bitsandbytes"):
        needed = f"quantize: 4bit needs bitsandbytes ({install('bitsandbytes')})"
        raise SettingError(f"{needed}; choose quantize: none on this machine, or --unquantized for an adapter")
    if weights.parse(source).kind == "random":
        raise SettingError(f"quantize: 4bit is for real weights; there is nothing to quantise in {source}")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=[outside_language()],  # its name notwithstanding, for four bits as well
    )


def require_kind(source: str, configuration: Any) -> None:
    """Real weights are of a configuration's type, as far as their config.json says one, and read from left to right.

    Raises:
        SettingError: they attend in both directions.
        WeightsError: they are of another type.
    """
    parsed = weights.parse(source)
    if parsed.kind == "random":
        return
    # Of a repository that is not here yet, this file alone is fetched first.
    folder = hub.snapshot(parsed.name, ("config.json",)) if parsed.kind == "hf" else weights.resolve(source)
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, text = str(said["model_type"]), said.get("text_config") or {}
    except (OSError, ValueError, KeyError, AttributeError):
        return  # transformers says what is wrong with it
    require_causal(kind, text, source)
    if kind != configuration.model_type:
        raise WeightsError(f"{source} is of the type {kind} (config.json), not {configuration.model_type}")


def files_print(source: str, settings: str) -> Fingerprint:
    """A fingerprint by the sha256 of a source's files, where the tensors made of them are not the same everywhere."""
    found = [hashes.hash_of(file, cache_dir()) for file in weights.files_of(source)]
    return Fingerprint(*(hashlib.sha256(text.encode()).hexdigest() for text in (json.dumps(found), settings)))


def processor_of(source: str) -> Any:
    """transformers' processor (images, tokenizer, chat template) of real weights; None for `random:`.

    Raises:
        WeightsError: the source has none.
    """
    from transformers import AutoProcessor

    if weights.parse(source).kind == "random":
        return None
    try:
        return AutoProcessor.from_pretrained(weights.resolve(source), local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise WeightsError(
            f"{source} has no processor that transformers can load: {str(error).splitlines()[0]}"
        ) from error


def load(
    source: str,
    model: Any,
    configuration: Any,
    sizes: Mapping[str, Any] | None,
    quantization: Any = None,
    dtype: torch.dtype = torch.float32,
) -> Any:
    """The model from its declared source.

    Raises:
        WeightsError: `config` was given for real weights, or a tensor of the model is not in the checkpoint.
    """
    if weights.parse(source).kind == "random":
        with initialising(source, model.__name__):
            net = model(configuration(**(sizes or {})))
        for parameter in net.parameters():  # and no buffer: rotary frequencies stay float32, as with real weights
            parameter.data = parameter.data.to(dtype)
        return net
    if sizes:
        raise WeightsError(f"{source}: config belongs to random: sources; real weights bring their own sizes")
    # bitsandbytes quantises on the device; elsewhere Lightning moves the model.
    device = int(os.environ.get("LOCAL_RANK", "0")) if torch.cuda.is_available() else "cpu"
    placed = {"device_map": {"": device}} if quantization else {}
    folder = weights.resolve(source)
    with without_bar():
        net, info = model.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=dtype,
            quantization_config=quantization,
            **placed,
        )
    if missing := info["missing_keys"]:
        raise WeightsError(f"{source} is no {model.__name__}: it lacks {', '.join(sorted(missing)[:5])}")
    for module in net.modules() if quantization else ():
        # On a processor bitsandbytes repacks, at its first call, what is not training into a form without gradients;
        # and a frozen model is never training.
        module.support_avx512bf16_for_cpu = False
    return net


def save(net: Any, state: Mapping[str, Tensor], source: str, folder: Path) -> None:
    """Write a model with other tensors than its own in transformers' layout, with the processor of its source.

    Args:
        net: as `load` gives it, whatever was attached to it since.
        state: all of its tensors, by the names that they have where nothing is attached.
        source: of the model.
        folder: made here; a `file:` source.

    Raises:
        WeightsError: random weights, which have no processor.
    """
    processor = processor_of(source)
    if processor is None:
        raise WeightsError(f"{source} has no processor, without which transformers takes no folder")
    with torch.device("meta"):
        plain = type(net)(net.config)
    plain.load_state_dict(state, assign=True)
    plain.generation_config = net.generation_config
    with without_bar():
        plain.save_pretrained(folder)
    processor.save_pretrained(folder)
