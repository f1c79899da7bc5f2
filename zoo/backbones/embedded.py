"""Texts through a text tower once: their vectors are kept in the cache folder, one safetensors file a list of texts.

A file is named by all that its numbers hang on: fingerprint of the tower, the texts, and what rounds (torch's version,
the processor's vector units, threads). It carries a sha256 of its content; one that is damaged is made anew.
"""

import hashlib
import json
import logging
from collections.abc import Sequence

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zoo import files
from zoo.backbones.base import TextEncoder
from zoo.files import write_whole

log = logging.getLogger(__name__)


def embedded(text: TextEncoder, texts: Sequence[str]) -> Tensor:
    """Unit-norm embeddings [K, d] of K texts, from the cache where it has them.

    Five thousand classes of two prompts each take MiniLM half a minute on a core; every build asks for them.

    Args:
        text: a frozen tower, on the CPU.
        texts: in order.
    """
    key = _key(text, texts)
    path = files.cache_dir() / "text" / key[:2] / f"{key}.safetensors"
    try:
        with safe_open(path, framework="pt") as file:
            digest = (file.metadata() or {}).get("sha256")
            found: Tensor = file.get_tensor("embeddings")
        if digest == _digest(key, found) and found.shape == (len(texts), text.dim):
            return found
        log.warning("text cache: %s was altered (its checksum differs) and is made anew", path)
    except FileNotFoundError:
        pass
    except (OSError, SafetensorError) as error:
        log.warning("text cache: %s is unreadable (%s) and is made anew", path, error)
    made = text.encode(texts).detach().cpu().contiguous()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, save({"embeddings": made}, metadata={"sha256": _digest(key, made)}))
    except OSError as error:
        log.warning(
            "text cache: %s cannot be written (%s); the texts are embedded again at the next start", path, error
        )
    return made


def _key(text: TextEncoder, texts: Sequence[str]) -> str:
    rounding = [torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    told = json.dumps([str(text.fingerprint), list(texts), *map(str, rounding)])
    return hashlib.sha256(told.encode()).hexdigest()


def _digest(key: str, embeddings: Tensor) -> str:
    digest = hashlib.sha256(f"{key}|{list(embeddings.shape)}|{embeddings.dtype}|".encode())
    digest.update(embeddings.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
