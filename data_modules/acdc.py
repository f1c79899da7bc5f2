"""ACDC (Bernard et al. 2018): both ventricles and the heart's muscle in cine MRI of 150 patients, short axis.

Expected below ROOT, or below ROOT/database, as distributed:

    training/patient001 ... patient100      testing/patient101 ... patient150
        Info.cfg                            ED: 1, ES: 12, Group: DCM, ...: the two labelled frames, and the disease
        patient001_frame01.nii.gz           a volume of few thick slices, the heart full (ED)
        patient001_frame01_gt.nii.gz        0 background, 1 right ventricle, 2 myocardium, 3 left ventricle
        patient001_frame12.nii.gz, ...      and empty (ES)

Every slice of both volumes is a picture; an interval is over patients. Test is the challenge's own 50 patients, whose
labels were published after it. **The validation split is ours**: a fifth of the 100 training patients of every disease
(four of 20), by a hash of the patient's name. Papers that follow TransUNet divide the 100 patients otherwise (often
70 / 10 / 20) and never see the 50: their numbers do not compare. Needs nibabel (extra `medical`).
`python -m data_modules.acdc --check ROOT` says what is missing.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_modules.check import check_command
from data_modules.errors import DataError
from data_modules.kinds.masks import MaskDataModule
from data_modules.kinds.pictures import split
from data_modules.kinds.volume_slices import CONDITIONS, VolumeFile, shares, sliced, spacing
from data_modules.readers.listed import require
from zoo.batch import SampleSet, Tile

CLASSES = ["background", "right ventricle", "myocardium", "left ventricle"]

PHASES = ("ED", "ES")

PUBLISHED = {"training": 100, "testing": 50}
"""Patients by folder."""

VAL = 0.2
"""Share of the training patients of a disease to select on."""

DISTRIBUTOR = (
    "ACDC is distributed by its authors (creatis.insa-lyon.fr/Challenge/acdc, "
    "humanheart-project.creatis.insa-lyon.fr/database)"
)


@dataclass(frozen=True)
class Patient:
    """One patient.

    Attributes:
        name: patient001, ...
        disease: the group that Info.cfg names: NOR, MINF, DCM, HCM or RV.
        volumes: of both phases.
    """

    name: str
    disease: str
    volumes: tuple[VolumeFile, ...]


class ACDC(MaskDataModule):
    """Ventricles and myocardium.

    Args:
        root: folder of the data set.
        frame: how slices become squares.
    """

    name = "ACDC"
    classes = CLASSES
    license = "CC BY-NC-SA 4.0, as copies of it state"
    conditions = CONDITIONS

    def __init__(self, *, root: str, frame: Mapping[str, int] = {"letterbox": 256}) -> None:
        super().__init__(frame=frame)
        self.root = Path(root)

    def folder(self) -> Path:
        """Folder that holds `training` and `testing`."""
        inside = self.root / "database"
        return inside if inside.is_dir() else self.root

    def patients(self, part: str) -> list[Patient]:
        """Patients of `training` or `testing`.

        Raises:
            DataError: there are none, or one lacks files or says nothing of its phases.
        """
        folder = self.folder() / part
        homes = sorted(path for path in folder.glob("patient*") if path.is_dir())
        if not homes:
            raise DataError(
                f"{folder} holds no patient: expected patient001, ... with Info.cfg and volumes. {DISTRIBUTOR}"
            )
        found = [_patient(home) for home in homes]
        every = [file for patient in found for each in patient.volumes for file in (each.image, each.label)]
        require(every, str(folder), DISTRIBUTOR)
        return found

    def splits(self) -> dict[str, SampleSet[Tile]]:
        """Slices of the patients of every split.

        Raises:
            DataError: files are missing, or volumes are not stacks of short-axis slices.
        """
        train, test = self.patients("training"), self.patients("testing")
        rows = split([each.name for each in train], [each.disease for each in train], {"val": VAL})
        parts = {name: [train[row] for row in rows[name]] for name in ("train", "val")} | {"test": test}
        found: dict[str, SampleSet[Tile]] = {}
        for name, patients in parts.items():
            files = [volume for patient in patients for volume in patient.volumes]
            for file in files:
                _require_short_axis(file.image)
            found[name] = self.tiles(*sliced(files, CLASSES))
        return found

    def check(self) -> list[str]:
        """Patients beside the published number, and shares of the classes."""
        lines = []
        for part, number in PUBLISHED.items():
            found = len(self.patients(part))
            lines.append(f"{part}: {found} patients, " + ("as" if found == number else f"{number} are") + " published")
        self.setup()
        return lines + shares(self)


def _patient(home: Path) -> Patient:
    """A patient by its Info.cfg.

    Raises:
        DataError: it does not name both phases and the disease.
    """
    file = home / "Info.cfg"
    try:
        known = dict(re.findall(r"(?m)^\s*(\w+)\s*:\s*(\S+)\s*$", file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}. {DISTRIBUTOR}") from error
    number = re.sub(r"\D", "", home.name)
    if not number or not all(known.get(phase, "").isdecimal() for phase in PHASES) or "Group" not in known:
        raise DataError(f"{file}: expected lines such as ED: 1, ES: 12 and Group: DCM, of a patient with a number")
    frames = {phase: f"{home.name}_frame{int(known[phase]):02d}" for phase in PHASES}
    files = [
        VolumeFile(f"{home.name} {phase}", home / f"{frame}.nii.gz", home / f"{frame}_gt.nii.gz", int(number))
        for phase, frame in frames.items()
    ]
    return Patient(home.name, known["Group"], tuple(files))


def _require_short_axis(path: Path) -> None:
    """Slices across the third axis are the acquired ones, which are much thicker than a pixel is wide.

    Raises:
        DataError: they are not.
    """
    between, *inside = spacing(path)
    if between <= max(inside):
        raise DataError(
            f"{path}: {between:g} mm between slices of its third axis and {max(inside):g} mm a pixel; expected thick "
            "short-axis slices, as ACDC stores them"
        )


if __name__ == "__main__":
    sys.exit(check_command("data_modules.acdc", lambda root: ACDC(root=root)))
