"""An adapter directory: the trainable tensors of a run and all that is needed to trust and reuse them.

    adapter.safetensors   trainable tensors, class anchors, what tells samples unlike training; its header has format,
                          classes, fingerprints of backbones and of the structure of method and task, and preparation
    recipe.yaml           the resolved, replayable recipe
    metrics.json          what was measured, with the run's manifest
    README.md             the model card
    SHA256SUMS            of the files above; checked before anything is read

and, of an adapter that was converted from a checkpoint holding backbone and adapter in one (`zoo.convert`), the frozen
backbone in mantis_backbone.safetensors: the recipe names it without a folder, and the fingerprint tells it from others.


It is written under a temporary name and renamed, so a half-written adapter never bears the final name; one that takes
the place of another leaves that whole until its own is in place.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from safetensors import safe_open

from zoo.adapter import caveats, kept_anchors, soundness, trust, unquantized
from zoo.adapter.exchange import as_it_stands, exchanged
from zoo.adapter.fingerprints import differences, structure
from zoo.adapter.kept_anchors import ANCHORS
from zoo.errors import UserError
from zoo.files import file_hash, whole_folder, write_whole
from zoo.recipe import packages

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.pairing import Pairing

FORMAT = 3
"""Format 1 had one fingerprint a backbone, of weights and settings together, and none of the structure. Up to format 2
the weights that are computed when a backbone is built (random ones, resampled positions) hung on the processor."""

FAMILIARITY = "familiarity."  # before the names of those tensors, in any format

BESIDE = (FAMILIARITY, ANCHORS)  # before the names of all that was not trained

FILES = ("adapter.safetensors", "recipe.yaml", "metrics.json", "README.md")

BACKBONE = "mantis_backbone.safetensors"
"""The one further file that an adapter directory may hold, called as in `zoo.backbones.origins`."""


class AdapterError(UserError):
    """An adapter directory is incomplete, altered, or does not fit; the message names the file or tensor."""


def save(
    pairing: "Pairing",
    folder: Path,
    *,
    recipe: str,
    metrics: dict[str, Any],
    card: Callable[[Path], str],
    backbone: Path | None = None,
) -> Path:
    """Write an adapter directory at `folder`, which must not exist yet.

    Args:
        pairing: its trainable tensors are saved.
        folder: final place.
        recipe: resolved YAML.
        metrics: becomes metrics.json.
        card: Markdown of the model card, from a directory that has the other files.
        backbone: weights that lie in the directory as well.
    """
    from safetensors.torch import save_file

    from zoo.adapter.learnt import learnt

    anchor_header, anchors = kept_anchors.kept(pairing, yaml.safe_load(recipe))
    header = {
        "format": str(FORMAT),
        "classes": json.dumps(pairing.classes),
        "fingerprints": json.dumps({name: asdict(f) for name, f in sorted(pairing.fingerprints.items())}),
        "structure": structure(yaml.safe_load(recipe), pairing),
        "preparation": pairing.preparation or "",
        **anchor_header,
    }
    kept = pairing.trainable_state() | learnt(pairing) | anchors
    tensors = {name: tensor.cpu().contiguous() for name, tensor in kept.items()}
    with whole_folder(folder) as temporary:
        save_file(tensors, temporary / "adapter.safetensors", metadata=header)
        if backbone:
            shutil.copyfile(backbone, temporary / BACKBONE)
        complete(temporary, recipe, metrics, card)
    return folder


def add_evaluation(folder: Path, evaluation: dict[str, Any], *, card: Callable[[Path], str]) -> None:
    """Add a later evaluation to metrics.json and card; it replaces an earlier one of the same data.

    Args:
        folder: an adapter directory.
        evaluation: metrics with their manifest.
        card: as in `save`.
    """
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    data = evaluation["manifest"]["data"]["fingerprint"]
    others = [e for e in metrics.get("evaluations", []) if e["manifest"]["data"]["fingerprint"] != data]
    replace(folder, metrics | {"evaluations": [*others, evaluation]}, card=card)


def replace(
    folder: Path, metrics: dict[str, Any], *, card: Callable[[Path], str], beside: dict[str, "Tensor"] | None = None
) -> None:
    """Replace an adapter directory by one with these metrics and a regenerated card.

    Args:
        folder: an adapter directory.
        metrics: becomes metrics.json.
        card: as in `save`.
        beside: tensors to add; the trained ones are kept.

    Raises:
        AdapterError: the directory is incomplete or altered.
    """
    from safetensors.torch import save_file

    verify(folder)
    with exchanged(folder) as temporary:
        for name in ("adapter.safetensors", *([BACKBONE] if (folder / BACKBONE).is_file() else [])):
            shutil.copyfile(folder / name, temporary / name)
        if beside:
            header, tensors = read(folder)
            tensors |= kept_anchors.stored(folder / "adapter.safetensors") | beside
            save_file(tensors, temporary / "adapter.safetensors", metadata=header)
        complete(temporary, (folder / "recipe.yaml").read_text(encoding="utf-8"), metrics, card)


def complete(folder: Path, recipe: str, metrics: dict[str, Any], card: Callable[[Path], str]) -> None:
    """Write every file except the tensors."""
    write_whole(folder / "recipe.yaml", recipe)
    write_whole(folder / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    write_whole(folder / "README.md", card(folder))
    write_whole(folder / "SHA256SUMS", "".join(f"{file_hash(folder / name)}  {name}\n" for name in FILES))


@as_it_stands
def verify(folder: Path) -> None:
    """Check that every file exists with its listed checksum, and that the recipe names only the zoo's own code.
    Does not import torch.

    Raises:
        AdapterError: naming the missing or altered file.
        TrustError: its recipe names code or settings that it must not.
        SoundnessError: the header of its tensors is malformed.
    """
    for name, digest in checksums(folder).items():
        path = folder / name
        if not path.is_file():
            raise AdapterError(f"{folder}: {name} is missing")
        if file_hash(path) != digest:
            raise AdapterError(f"{path} was altered: its sha256 differs from the one in SHA256SUMS")
    trust.check(folder)
    soundness.require_header(folder / "adapter.safetensors")


def checksums(folder: Path) -> dict[str, str]:
    """Checksums of an adapter's files by name, as SHA256SUMS lists them.

    Raises:
        AdapterError: the file is missing or malformed, or does not list a required name.
    """
    if not (listing := folder / "SHA256SUMS").is_file():
        raise AdapterError(
            f"{folder} is no adapter directory: it has no SHA256SUMS (expected {', '.join(FILES)} beside it)"
        )
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in FILES:
        if not re.fullmatch("[0-9a-f]{64}", listed.get(name, "")):
            raise AdapterError(f"{listing} has no sha256 of {name}; expected a line for each of {', '.join(FILES)}")
    return {name: listed[name] for name in FILES}


def load(
    folder: Path, *, cached: bool = False, force: bool = False, whole: bool = False
) -> tuple[DictConfig, "Pairing"]:
    """Verify a directory, rebuild its pairing and copy the tensors in.

    Args:
        folder: an adapter directory.
        cached: keep the recipe's prefix cache.
        force: load even onto other backbones or another structure; `pairing.forced` then lists the differences.
        whole: load what was trained in four bits onto whole weights, which `pairing.forced` then says; see
            `zoo.adapter.unquantized`.

    Raises:
        AdapterError: altered files, an unknown format, other backbone weights, settings or structure, or tensors that
            do not fit; the last is an error under `force` too.
        UserError: `whole`, and nothing was trained in four bits.
    """
    from zoo.adapter import former
    from zoo.adapter.learnt import recall
    from zoo.backbones.fingerprint import fingerprints_of_format
    from zoo.recipe.build import build_pairing
    from zoo.recipe.compose import compose
    from zoo.recipe.instantiate import instantiate

    verify(folder)
    trained = compose(str(folder / "recipe.yaml"), [])
    config, streams = unquantized.of(trained) if whole else (trained, [])
    header, tensors = read(folder)
    with fingerprints_of_format(int(header["format"])):
        bare = kept_anchors.without_tower(config, folder / "adapter.safetensors", header)
        pairing = build_pairing(bare, json.loads(header["classes"]), cached=cached)
    found = differences(header, unquantized.as_trained(pairing, streams))
    if found and int(header["format"]) < 3 and former.known_elsewhere(folder / "recipe.yaml", header):
        found = []
    if (
        header["format"] != "1"
        and structure(OmegaConf.to_container(config, resolve=True), pairing) != header["structure"]
    ):
        found.append("the structure of method or task is another one than was trained")
    if found and not force:
        raise AdapterError(
            f"{folder} does not fit: {'; '.join(found)}. --force loads it nevertheless, and every result says so"
        )
    try:
        pairing.load_trainable(tensors, source=str(folder / "adapter.safetensors"))
        recall(pairing, folder / "adapter.safetensors")
    except ValueError as error:
        raise AdapterError(str(error)) from None
    pairing.forced = [*found, *unquantized.said(streams)]
    data = instantiate(config.data)
    pairing.prepare, pairing.preparation = data.prepare, header.get("preparation", "")
    if pairing.preparation != data.preparation:
        pairing.notes.append(
            f"{folder.name} was trained on samples as an earlier version prepared them ({data.former}), and its card's "
            "numbers hold for those; measure it again (zoo.evaluate) or train it again"
        )
    pairing.caveats = caveats.of_adapter(folder)
    pairing.eval()
    return config, pairing


def require_packages(folder: Path, config: DictConfig) -> None:
    """The optional packages that predicting with an adapter needs are installed.

    Raises:
        UserError: naming those that are not.
    """
    packages.require(kept_anchors.without_tower(config, folder / "adapter.safetensors", _header(folder)))


def trained_classes(folder: Path) -> list[str]:
    """Names of the classes that an adapter was trained on, in label order; nothing else of it is loaded."""
    found: list[str] = json.loads(_header(folder)["classes"])
    return found


def _header(folder: Path) -> dict[str, str]:
    with safe_open(folder / "adapter.safetensors", framework="np") as file:
        return file.metadata() or {}


def read(folder: Path) -> tuple[dict[str, str], dict[str, "Tensor"]]:
    """Header and trained tensors of an adapter directory.

    Raises:
        AdapterError: an unknown format.
    """
    with safe_open(folder / "adapter.safetensors", framework="pt") as file:
        header = file.metadata() or {}
        names = [name for name in file.keys() if not name.startswith(BESIDE)]  # noqa: SIM118 - not a dictionary
        tensors = {name: file.get_tensor(name) for name in names}
    if header.get("format") not in [str(number) for number in range(1, FORMAT + 1)]:
        raise AdapterError(
            f"{folder}: format {header.get('format', '')!r} is unknown to this version, which reads formats 1 to "
            f"{FORMAT}; upgrade multimodal-peft-zoo"
        )
    return header, tensors
