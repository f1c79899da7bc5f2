"""An adapter directory: the trainable tensors of a run and all that is needed to trust and reuse them.

    adapter.safetensors   trainable tensors; its header carries format, classes and the backbones' fingerprints
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from zoo.errors import UserError

if TYPE_CHECKING:
    from zoo.pairing import Pairing

FORMAT = 1
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
            "fingerprints": json.dumps(pairing.fingerprints, sort_keys=True),
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


def load(folder: Path, *, cached: bool = False) -> tuple[DictConfig, "Pairing"]:
    """Verify a directory, rebuild its pairing and copy the tensors in.

    Args:
        folder: an adapter directory.
        cached: keep the recipe's prefix cache.

    Raises:
        AdapterError: altered files, an unknown format, other backbone weights or transforms, tensors that do not fit.
    """
    from safetensors import safe_open

    from zoo import recipe
    from zoo.build import build_pairing

    verify(folder)
    config = recipe.compose(str(folder / "recipe.yaml"), [])
    with safe_open(folder / "adapter.safetensors", framework="pt") as file:
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    if header.get("format") != str(FORMAT):
        raise AdapterError(
            f"{folder}: format {header.get('format')!r} is unknown to this version, which reads format {FORMAT}; "
            "upgrade multimodal-peft-zoo"
        )
    pairing = build_pairing(config, json.loads(header["classes"]), cached=cached)
    expected: dict[str, str] = json.loads(header["fingerprints"])
    for name, fingerprint in expected.items():
        found = pairing.fingerprints.get(name)
        if found != fingerprint:
            raise AdapterError(
                f"{folder} was trained on another {name} backbone (fingerprint {fingerprint[:12]}, this one is "
                f"{(found or 'absent')[:12]}): its weights or its transform differ"
            )
    try:
        pairing.load_trainable(tensors, source=str(folder / "adapter.safetensors"))
    except ValueError as error:
        raise AdapterError(str(error)) from None
    pairing.eval()
    return config, pairing


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
