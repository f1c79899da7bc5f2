"""What CONTRIBUTING shows of a loop of one's own runs as it stands there."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def test_a_plain_trainer_fits_a_pairing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "L.Trainer(" in block]
    monkeypatch.chdir(tmp_path)
    before, fit = code.split("trainer.fit(")
    names: dict[str, object] = {}
    exec(before, names)
    pairing = names["pairing"]
    assert isinstance(pairing, torch.nn.Module)
    trained = {name: tensor.clone() for name, tensor in pairing.trainable_state().items()}
    frozen = {name: tensor.clone() for name, tensor in pairing.backbones.state_dict().items()}
    exec(f"trainer.fit({fit}", names)
    assert any(not torch.equal(tensor, trained[name]) for name, tensor in pairing.trainable_state().items())
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in pairing.backbones.state_dict().items())
