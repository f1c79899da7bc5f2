"""An adapter directory: the trainable tensors of a run and all that is needed to trust and reuse them.

    adapter.safetensors   trainable tensors; its header carries format, classes, and fingerprints of every backbone's
                          weights and settings and of the structure of method and task
    recipe.yaml           the resolved, replayable recipe
    metrics.json          what was measured, with the run's manifest
    README.md             the model card
    SHA256SUMS            of the files above; checked before anything is read

The directory is written under a temporary name and renamed, so a half-written adapter never bears the final name.
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf

from zoo.errors import UserError

if TYPE_CHECKING:
    from zoo.pairing import Pairing

FORMAT = 2
"""Format 1 had one fingerprint a backbone, of weights and settings together, and none of the structure."""
FILES = ("adapter.safetensors", "recipe.yaml", "metrics.json", "README.md")


class AdapterError(UserError):
    """An adapter directory is incomplete, altered, or does not fit; the message says which file or tensor."""


def save(pairing: "Pairing", folder: Path, *, recipe: str, metrics: dict[str, Any], card: str) -> Path:
    """Write an adapter directory at `folder`, which must not exist yet.

    Args:
        pairing: its trainable tensors are saved.
        folder: final place.
        recipe: resolved YAML.
        metrics: becomes metrics.json.
        card: Markdown of the model card.
    """
    from safetensors.torch import save_file

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        header = {
            "format": str(FORMAT),
            "classes": json.dumps(pairing.classes),
            "fingerprints": json.dumps({name: asdict(f) for name, f in sorted(pairing.fingerprints.items())}),
            "structure": structure(yaml.safe_load(recipe), pairing),
        }
        tensors = {name: tensor.cpu().contiguous() for name, tensor in pairing.trainable_state().items()}
        save_file(tensors, temporary / "adapter.safetensors", metadata=header)
        (temporary / "recipe.yaml").write_text(recipe, encoding="utf-8")
        (temporary / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")
        sums = "".join(f"{_sha256(temporary / name)}  {name}\n" for name in FILES)
        (temporary / "SHA256SUMS").write_text(sums, encoding="utf-8")
        # Temporary files are their owner's alone; what is shared should be readable.
        temporary.chmod(0o755)
        (temporary / "adapter.safetensors").chmod(0o644)
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def verify(folder: Path) -> None:
    """Check that every file is there and has the listed checksum. Does not import torch.

    Raises:
        AdapterError: naming the missing or altered file.
    """
    listing = folder / "SHA256SUMS"
    if not listing.is_file():
        raise AdapterError(
            f"{folder} is no adapter directory: it has no SHA256SUMS (expected {', '.join(FILES)} beside it)"
        )
    lines = [line.partition("  ") for line in listing.read_text(encoding="utf-8").splitlines()]
    sums = {name: digest for digest, _, name in lines}
    for name in FILES:
        path = folder / name
        if name not in sums or not path.is_file():
            raise AdapterError(f"{folder}: {name} is missing{' from SHA256SUMS' if path.is_file() else ''}")
        if _sha256(path) != sums[name]:
            raise AdapterError(f"{path} was altered: its sha256 differs from the one in SHA256SUMS")


def load(folder: Path, *, cached: bool = False, force: bool = False) -> tuple[DictConfig, "Pairing"]:
    """Verify a directory, rebuild its pairing and copy the tensors in.

    Args:
        folder: an adapter directory.
        cached: keep the recipe's prefix cache.
        force: load onto other backbones or another structure all the same; `pairing.forced` then says what differs.

    Raises:
        AdapterError: altered files, an unknown format, other backbone weights, settings or structure, or tensors that
            do not fit; the last is an error under `force` too.
    """
    from safetensors import safe_open

    from zoo import recipe
    from zoo.backbones.base import fingerprints_of_format
    from zoo.build import build_pairing

    verify(folder)
    config = recipe.compose(str(folder / "recipe.yaml"), [])
    with safe_open(folder / "adapter.safetensors", framework="pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    number = header.get("format", "")
    if number not in ("1", str(FORMAT)):
        raise AdapterError(
            f"{folder}: format {number!r} is unknown to this version, which reads formats 1 to {FORMAT}; "
            "upgrade multimodal-peft-zoo"
        )
    with fingerprints_of_format(int(number)):
        pairing = build_pairing(config, json.loads(header["classes"]), cached=cached)
    differences = _differences(header, pairing)
    if number != "1" and structure(OmegaConf.to_container(config, resolve=True), pairing) != header["structure"]:
        differences.append("the structure of method or task is another one than was trained")
    if differences and not force:
        raise AdapterError(
            f"{folder} does not fit: {'; '.join(differences)}. --force loads it all the same, and every result says so"
        )
    try:
        pairing.load_trainable(tensors, source=str(folder / "adapter.safetensors"))
    except ValueError as error:
        raise AdapterError(str(error)) from None
    pairing.forced = differences
    pairing.eval()
    return config, pairing


def structure(config: Any, pairing: "Pairing") -> str:
    """sha256 over what trainable tensors mean: the blocks of method and task, their versions, and every tensor's name,
    type and shape.

    Args:
        config: a recipe as plain values.
        pairing: built from it.
    """
    told = {
        "method": config.get("method"),
        "task": config.get("task"),
        "versions": [pairing.method.version, pairing.task.version],
        "tensors": {name: [str(t.dtype), list(t.shape)] for name, t in pairing.trainable_state().items()},
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _differences(header: dict[str, str], pairing: "Pairing") -> list[str]:
    """What this machine's backbones differ in from those that the adapter was trained on."""
    found: list[str] = []
    stored = json.loads(header["fingerprints"])
    for name in sorted(stored.keys() | pairing.fingerprints.keys()):
        then, now = stored.get(name), pairing.fingerprints.get(name)
        if then is None or now is None:
            found.append(f"the {name} backbone {'is new' if then is None else 'is missing'}")
            continue
        # One hash of both in format 1.
        parts = {"weights or settings": (then, now.weights)} if isinstance(then, str) else {}
        parts = parts or {part: (then[part], getattr(now, part)) for part in ("weights", "settings")}
        found += [
            f"the {name} backbone has other {part} ({b[:12]}, trained with {a[:12]})"
            for part, (a, b) in parts.items()
            if a != b
        ]
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
