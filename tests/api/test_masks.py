"""Pictures to segment in Python: a path, an array or a list gives masks in the picture's own pixels."""

from pathlib import Path

import mask_tiny
import numpy as np
import predict_files
import pytest
import torch
from mask_files import blob, picture, save
from PIL import Image

import zoo
from zoo.errors import UserError
from zoo.tasks.results import Mask


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> zoo.Model:
    folder = tmp_path_factory.mktemp("adapter") / "a"
    return zoo.load(
        predict_files.untrained(str(mask_tiny.RECIPE), folder, "data.root=none", "data.classes=[rest,cell]")
    )


def test_an_array_gives_the_mask_that_its_file_gives(model: zoo.Model, tmp_path: Path) -> None:
    image = picture(blob((40, 60)))
    from_file = model.predict(save(tmp_path / "a.png", image))
    assert isinstance(from_file, Mask)
    assert from_file.mask.shape == (40, 60)
    assert from_file.mask.dtype == np.uint8
    for value in (image, image.transpose(2, 0, 1), torch.from_numpy(image), Image.fromarray(image), image / 255):
        found = model.predict(value)
        assert (found.mask == from_file.mask).all()
        assert found.shares == from_file.shares
        assert (found.id, found.notes) == ("input", [])
        assert (found.sample.image == image).all()


def test_a_list_gives_as_many_and_one_that_is_none_does_not_stop_the_others(model: zoo.Model, tmp_path: Path) -> None:
    sizes = [(40, 60), (9, 20), (100, 33)]
    images = [picture(blob(size)) for size in sizes]
    found = model.predict([*images, "nothing.png", save(tmp_path / "a.png", images[0])])
    assert [one.mask.shape for one in found[:3]] == sizes
    assert "nothing.png" in found[3].error
    assert (found[4].mask == found[0].mask).all()
    with pytest.raises(UserError, match=r"expected a picture"):
        model.predict(np.zeros(5))


def test_a_window_counts_for_values_in_memory(model: zoo.Model) -> None:
    tissue = np.full((40, 60), 100.0, np.float32)
    tissue[:, :30] = 0
    seen = [model.predict(tissue, window=window).sample.image[5, 45, 0] for window in ("0..100", "0..200")]
    assert seen[0] == 255
    assert 120 < seen[1] < 135
