"""ISBI's membranes: polarity, contiguous blocks, fewer slices; on made-up files and the real ones."""

from pathlib import Path

import numpy as np
import pytest
from mask_files import blob, picture, save

from data_modules.errors import DataError
from data_modules.isbi import ISBI


def write(folder: Path) -> Path:
    """A stack whose slices have one membrane, a rectangle."""
    for number in range(30):
        save(folder / "image" / f"{number}.png", picture(blob(), number)[..., 0])
        save(folder / "label" / f"{number}.png", np.where(blob() == 1, 0, 255).astype(np.uint8))
    return folder


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    return write(tmp_path)


def test_splits_are_blocks_and_the_membrane_which_is_0_in_the_files_is_positive(stack: Path) -> None:
    data = ISBI(root=str(stack), frame={"letterbox": 60})
    data.setup()
    of = {split: [samples.id(k) for k in range(len(samples))] for split, samples in data.sets.items()}
    assert of["train"] == [f"slice {k}#0" for k in range(16)]
    assert of["val"] == [f"slice {k}#0" for k in range(16, 20)]
    assert of["test"] == [f"slice {k}#0" for k in range(20, 30)]
    tile = data.sets["test"][3]
    assert data.classes[1] == "membrane"
    assert (tile.target["mask"][:40].numpy() == blob()).all()
    assert tile.conditions["place"][0] == 3


def test_fewer_slices_are_the_first_of_the_block(stack: Path) -> None:
    data = ISBI(root=str(stack), slices=2, frame={"tile": 32})
    data.setup()
    assert [p.id for p in data.sets["train"].pictures] == ["slice 0", "slice 1"]
    assert len(data.sets["test"].pictures) == 10


def test_missing_slices_are_told_with_their_distributor(stack: Path) -> None:
    (stack / "label" / "7.png").unlink()
    with pytest.raises(DataError, match=r"1 of 60 files are missing, e\.g\. .*7\.png.*zhixuhao"):
        ISBI(root=str(stack)).setup()


def test_the_real_stack(shared_data: Path) -> None:
    root = shared_data / "isbi_membrane"
    if not root.is_dir():
        pytest.skip(f"the slices of ISBI 2012 are not at {root}")
    data = ISBI(root=str(root), slices=1)
    data.setup()
    lines = data.check()
    assert lines[0].startswith("train: 1 slices, 9 squares; cell")
    share = float(lines[2].rpartition("membrane ")[2].removesuffix("%"))
    assert 18 < share < 24
    tile = data.sets["train"][4]
    mask = tile.target["mask"].numpy()
    # Membranes are dark.
    assert tile.image[..., 0][mask == 1].mean() < tile.image[..., 0][mask == 0].mean() - 30
