"""Made-up volumes with masks in the layouts of ACDC and of Synapse, stored as they are distributed."""

from pathlib import Path

import numpy as np
from mask_files import nifti

from data_modules import synapse

THICK = np.diag([1.5, 1.5, 10.0, 1.0])
"""Millimetres of ACDC's slices."""

FLAT = np.diag([0.75, 0.75, 3.0, 1.0])
"""Millimetres of Synapse's."""

DISEASES = ("NOR", "MINF", "DCM", "HCM", "RV")


def block(values: tuple[int, ...], size: tuple[int, int, int], seed: int) -> np.ndarray:
    """int16 [X, Y, Z]: a box of every value, in all slices but the first."""
    found = np.zeros(size, np.int16)
    for place, value in enumerate(values):
        x, y = 3 + 9 * (place % 4) + seed % 2, 4 + 9 * (place // 4)
        found[x : x + 7, y : y + 6, 1:] = value
    return found


def patient(home: Path, disease: str, seed: int) -> None:
    """One patient of ACDC: two phases of three slices."""
    end = 9 + seed % 4
    home.mkdir(parents=True)
    (home / "Info.cfg").write_text(f"ED: 1\nES: {end}\nGroup: {disease}\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n")
    for frame in (1, end):
        mask = block((1, 2, 3), (40, 36, 3), seed + frame)
        noise = np.random.default_rng([seed, frame]).integers(0, 60, mask.shape)
        nifti(home / f"{home.name}_frame{frame:02d}.nii.gz", (100 * mask + noise).astype(np.int16), THICK)
        nifti(home / f"{home.name}_frame{frame:02d}_gt.nii.gz", mask.astype(np.uint8), THICK)


def acdc(root: Path) -> Path:
    """ACDC: five training patients of every disease, and two to test on."""
    for number in range(1, 26):
        patient(root / "training" / f"patient{number:03d}", DISEASES[number % 5], number)
    for number in (101, 102):
        patient(root / "testing" / f"patient{number:03d}", DISEASES[number % 5], number)
    return root


def btcv(root: Path) -> Path:
    """Synapse: 30 volumes of two slices with all 13 organs."""
    for number in (*synapse.TRAIN, *synapse.TEST):
        mask = block(tuple(range(1, 14)), (42, 44, 2), number)
        units = np.random.default_rng(number).integers(-50, 50, mask.shape) + 40 * mask - 200
        units[0, 0] = 3000  # metal
        nifti(root / "img" / f"img{number:04d}.nii.gz", units.astype(np.int16), FLAT)
        nifti(root / "label" / f"label{number:04d}.nii.gz", mask.astype(np.uint8), FLAT)
    return root
