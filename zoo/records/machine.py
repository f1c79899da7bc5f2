"""This machine's Python, packages, GPUs, memory and free disk space, read without importing torch."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from zoo.files import cache_dir, machine_memory
from zoo.records import torchaudio

DISTRIBUTION = "multimodal-peft-zoo"

TOOLS = ("all", "dev")
"""Extras that bundle others, or are for those who work on the zoo: a user misses neither."""


@dataclass(frozen=True)
class Machine:
    """This machine.

    Attributes:
        python: version.
        system: kernel and processor.
        torch: version and what it was built for, or "" where it is not installed.
        torch_cuda: CUDA version that torch was built for; None of a build for processors alone.
        unmet: what the zoo requires and has not, or has in another version.
        extras: of each extra the packages and their versions; None of one that is not installed.
        gpus: names and memory.
        cores: that this process may use.
        memory: bytes.
        cache: folder of weights and adapters.
        cache_writable: whether it can be made and written.
        free: bytes on its disk.
        hub: "reachable", "switched off" by HF_HUB_OFFLINE, or why it is not reachable.
        torchaudio: what to do about one that does not fit torch, or "".
    """

    python: str
    system: str
    torch: str
    torch_cuda: str | None
    unmet: list[str]
    extras: dict[str, dict[str, str | None]]
    gpus: list[str]
    cores: int
    memory: int
    cache: str
    cache_writable: bool
    free: int
    hub: str
    torchaudio: str = ""

    @property
    def cuda(self) -> bool:
        """Whether torch will find a graphics card."""
        return bool(self.gpus and self.torch_cuda)


def look() -> Machine:
    """Ask this machine; a second or two where the hub does not answer."""
    torch, cuda = _torch()
    unmet, extras = _packages()
    folder = next(path for path in (cache_dir(), *cache_dir().parents) if path.exists())
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        torch=torch,
        torch_cuda=cuda,
        unmet=unmet,
        extras=extras,
        gpus=_gpus(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=machine_memory(),
        cache=str(cache_dir()),
        cache_writable=os.access(folder, os.W_OK),
        free=shutil.disk_usage(folder).free,
        hub=_hub(),
        torchaudio=torchaudio.fault(torch),
    )


def version(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> tuple[str, str | None]:
    """Version of torch, and of the CUDA it was built for, from the text of its own version file."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "", None
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    cuda = re.search(r"^cuda\b.*= '([\d.]+)'", text, re.MULTILINE)
    return version("torch") or "", cuda[1] if cuda else None


def _packages() -> tuple[list[str], dict[str, dict[str, str | None]]]:
    """Requirements that are not met, and the packages of every extra."""
    unmet: list[str] = []
    extras: dict[str, dict[str, str | None]] = {}
    try:
        metadata = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return [f"{DISTRIBUTION} itself (pip install -e .)"], {}
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]
    for needed in requirements:
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        found = version(needed.name)
        if found is None or not needed.specifier.contains(found, prereleases=True):
            unmet.append(f"{needed.name}{needed.specifier} ({found or 'not installed'})")
    for extra in metadata.get_all("Provides-Extra") or []:
        own = [n for n in requirements if n.marker and not n.marker.evaluate({"extra": ""})]
        extras[extra] = {n.name: version(n.name) for n in own if n.marker and n.marker.evaluate({"extra": extra})}
    return unmet, {name: packages for name, packages in extras.items() if name not in TOOLS}


def _gpus() -> list[str]:
    """Names and memory by nvidia-smi; where it is missing, the devices that the driver shows."""
    if program := shutil.which("nvidia-smi"):
        query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
        except (OSError, subprocess.SubprocessError):
            return []
        return [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return [f"{path} (no nvidia-smi to ask)" for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def _hub() -> str:
    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        return "switched off (HF_HUB_OFFLINE)"
    try:
        urllib.request.urlopen(urllib.request.Request(ENDPOINT, method="HEAD"), timeout=2).close()
    except OSError as error:
        return f"not reachable ({getattr(error, 'reason', error)})"
    return "reachable"
