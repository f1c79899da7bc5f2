"""Every recipe takes a real step by its smoke block; `test_runs` trains one of every kind to its end, slowly all."""

from pathlib import Path

import pytest
import torch
from kept import kept_encoders
from recipe_runs import NAMES, data_words
from test_runs import FIRST

from zoo.errors import SettingError
from zoo.recipe.compose import compose
from zoo.training.build import build_data, build_trained

__all__ = ["kept_encoders"]  # a fixture of every test here


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FIRST])
def test_a_step_moves_what_is_trained_and_nothing_else(name: str, tmp_path: Path) -> None:
    config = compose(name, data_words(name, tmp_path), smoke=True)
    module, loaders, _ = build_trained(config, build_data(config), tmp_path, [])
    pairing, trained = module.pairing.train(), set(module.pairing.trainable)
    before = {key: value.clone() for key, value in pairing.state_dict().items()}
    optimizer = module.optimizer_settings.build(pairing, 10)
    optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer
    loss = torch.stack(list(pairing.losses(next(iter(loaders.train_dataloader()))).values())).sum()
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    after = pairing.state_dict()
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved
    assert moved <= trained


def test_a_recipe_in_which_nothing_trains_is_refused_by_name(tmp_path: Path) -> None:
    words = [*data_words("lite_medsam_cells_box", tmp_path), "method=frozen"]
    config = compose("lite_medsam_cells_box", words, smoke=True)
    with pytest.raises(SettingError, match="nothing trains: Frozen adapts nothing, and the task promptable"):
        build_trained(config, build_data(config), tmp_path, [])
