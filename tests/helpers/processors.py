"""What must be the same bytes on every processor, as this process computes it: run as a program, it prints JSON."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import makers
import numpy as np
import test_backbones
import vlm_tiny

from data_modules.synthetic_events import SyntheticEvents
from data_modules.synthetic_scans import SyntheticScans
from data_modules.synthetic_scenes import SyntheticScenes
from data_modules.synthetic_shapes import SyntheticShapes
from zoo.backbones.clip import CLIPText
from zoo.backbones.dinov2 import DINOv2
from zoo.backbones.mamba3d import Mamba3D
from zoo.backbones.minilm import MiniLM
from zoo.backbones.siglip import SigLIPText
from zoo.backbones.small_llava import SmallLLaVA

UNITS = {
    "own": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    },
    "default": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    },
}
"""Environments in which torch, oneDNN, MKL and NumPy use the vector units of another processor."""
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
BASES: dict[str, Callable[[], Any]] = {
    **makers.MAKERS,
    "clip text": lambda: CLIPText(source="random:0", config=makers.CLIP),
    "siglip text": lambda: SigLIPText(source="random:0", config=TEXT),
    "mamba3d": lambda: Mamba3D(source="random:0", width=16, depth=2, states=8, groups=16, neighbours=8),
    "small llava": lambda: SmallLLaVA(vision="random:0", language="random:0", projector="random:0", image_size=56),
    **{
        name: lambda name=name: vlm_tiny.CLASSES[name](source="random:0", config=vlm_tiny.CONFIGS[name])
        for name in vlm_tiny.NAMES
    },
    "embedded mamba3d": lambda: Mamba3D(width=96, depth=6, groups=32, neighbours=16, states=8),
    "embedded dinov2": DINOv2,
    "embedded dinov2 at 224": lambda: DINOv2(image_size=224),
    "embedded aisfx": test_backbones.AiSFX,
    "embedded minilm": MiniLM,
}
"""Every class of backbone with random weights, and the embedded ones but for the language model, which takes long."""


QUICK = "quick"
"""Without the embedded bases and the sets that take longer."""


def own(*words: str) -> dict[str, str]:
    """Fingerprints of all bases, and hashes of generated sets and of some of their samples, by name."""
    quick = QUICK in words
    bases = {name: make for name, make in BASES.items() if not (quick and name.startswith("embedded"))}
    found = {f"base {name}": str(make().fingerprint) for name, make in bases.items()}
    sets: Mapping[str, tuple[Any, Callable[[Any], list[np.ndarray]], list[int]]] = {
        # 65, 150, 183: equal parts, of which the last bit of an area once decided which has more points.
        "scans": (SyntheticScans(), lambda s: [s.points], [0, 1, 2, 150, 160, 525]),
        "shapes": (SyntheticShapes(), lambda s: [s.points], [0, 1, 2, 14, 65, 183]),
        "scenes": (SyntheticScenes(), lambda s: list(s.images), [0, 1, 2]),
        "events": (SyntheticEvents(), lambda s: [s.frames, s.audio], [0]),
    }
    for name, (data, arrays, indices) in list(sets.items())[: 2 if quick else None]:
        data.setup()
        found[f"set {name}"] = data.fingerprint()
        for index in indices:
            content = b"".join(np.ascontiguousarray(part).tobytes() for part in arrays(data.sets["train"][index]))
            found[f"sample {index} of {name}"] = hashlib.sha256(content).hexdigest()
    return found


def elsewhere(units: str, threads: int, *words: str) -> dict[str, str]:
    """The same, from a process that uses other vector units and so many threads."""
    root = Path(__file__).parents[2]
    paths = {"PYTHONPATH": os.pathsep.join([str(root), str(Path(__file__).parent), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, __file__, *words],
        env=os.environ | paths | UNITS[units] | {"OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(own(*sys.argv[1:])))
