"""Fingerprints that adapters of formats 1 and 2 keep, compared with those that another processor computes.

Those formats know weights that are computed when a backbone is built (random ones, resampled positions) by their exact
bytes, whose last bits hang on the vector units that torch and MKL use. Where this processor's bytes are others, they
are computed once more in a child process that uses the units of another one: the same base is then known, and another
base is still refused. Since format 3 the bytes are the same everywhere.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate

if TYPE_CHECKING:
    from zoo.backbones.fingerprint import Fingerprint

UNITS = (
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
)
"""Environments of a child: those of a processor with AVX2, and of one without. AVX-512 cannot be lent to another."""


def fingerprints(recipe: Path, format_number: int) -> dict[str, "Fingerprint"]:
    """Fingerprints of every backbone of a resolved recipe in an adapter format, computed by this process."""
    from zoo.backbones.fingerprint import fingerprints_of_format

    with fingerprints_of_format(format_number):
        built = {
            name: instantiate(block) for name, block in compose(str(recipe)).backbones.items() if block is not None
        }
    return {name: backbone.fingerprint for name, backbone in built.items()}


def known_elsewhere(recipe: Path, header: dict[str, str]) -> bool:
    """Whether an adapter's base is that of its resolved recipe on a processor that this one can stand for."""
    from zoo.adapter.fingerprints import differences
    from zoo.backbones.fingerprint import Fingerprint

    code = "import sys; from zoo.adapter.former import tell; tell(*sys.argv[1:])"
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for units in UNITS:
        done = subprocess.run(
            [sys.executable, "-c", code, str(recipe), header["format"]],
            env=os.environ | paths | units,
            capture_output=True,
            text=True,
            check=False,
        )
        stored = json.loads(done.stdout) if done.returncode == 0 else {}
        if stored and not differences(header, {name: Fingerprint(**known) for name, known in stored.items()}):
            return True
    return False


def restated(recipe: Path, header: dict[str, str]) -> dict[str, str]:
    """The header of an adapter of format 2 with today's fingerprints of its base, where nothing but the last bits of
    resampled positions differ; the header itself for another base, and for random weights, which are drawn again."""
    from zoo.adapter.fingerprints import differences

    blocks = [block for block in compose(str(recipe)).backbones.values() if block is not None]
    drawn = any(str(value).startswith("random:") for block in blocks for value in block.values())
    then = int(header["format"])
    if drawn or (differences(header, fingerprints(recipe, then)) and not known_elsewhere(recipe, header)):
        return header
    today = {name: asdict(known) for name, known in fingerprints(recipe, 3).items()}
    return header | {"fingerprints": json.dumps(today)}


def tell(recipe: str, format_number: str) -> None:
    """Print the fingerprints of a recipe's backbones in one line of JSON."""
    found = fingerprints(Path(recipe), int(format_number))
    print(json.dumps({name: asdict(known) for name, known in found.items()}))
