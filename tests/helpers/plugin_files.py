"""A package that adds a method and a recipe to the zoo, as pip would install it."""

from pathlib import Path

METHOD = '''
"""One trainable factor per channel of the frozen features."""

import torch
from torch import nn

from zoo.methods.base import Method


class MyMethod(Method):
    """Factors.

    Args:
        start: of every factor.
    """

    def __init__(self, *, start: float = 1.0) -> None:
        super().__init__()
        self.start = start

    def attach(self, backbones):
        """Create the factors."""
        super().attach(backbones)
        widths = self.feature_dims.items()
        self.factors = nn.ParameterDict({name: nn.Parameter(torch.full((n,), self.start)) for name, n in widths})

    def forward(self, backbones, prefix, batch):
        """Scaled features."""
        return {name: x * self.factors[name] for name, x in super().forward(backbones, prefix, batch).items()}
'''

RECIPE = """# My recipe: factors on a frozen Mamba3D.
# Reproduces: nothing published.
# Hardware and time: 2 CPU cores, about 3 minutes.
# Number: none.
# Command: python -m zoo.train recipe=my_recipe
include: [backbone/mamba3d_small, trainer/cpu]
data: {_target_: synthetic_scans, points: 512}
loader: {batch_size: 32}
method: my_method
task: classification
optimizer: {lr: 1.0e-2}
trainer: {max_epochs: 11}
variants:
  lora:
    method: {_target_: lora, targets: {points: [mixer.in_proj]}}
smoke:
  backbones.points.source: random:0
  backbones.points.width: 16
  backbones.points.depth: 1
  backbones.points.groups: 16
  backbones.points.neighbours: 8
  data.points: 64
  data.train_clouds: 30
  data.val_clouds: 15
  data.test_clouds: 15
  loader.batch_size: 15
  trainer.max_epochs: 1
"""

ENTRY_POINTS = """[zoo.methods]
my_method = my_peft.method:MyMethod

[zoo.recipes]
my_peft = my_peft.recipes
"""


def write(site: Path, *, package: str = "my_peft", entry_points: str | bytes = ENTRY_POINTS) -> Path:
    """Write module, recipe and metadata into a folder of packages.

    Args:
        site: the folder, which is to stand in `sys.path`.
        package: name of the importable package; that of the distribution has `-` for `_`.
        entry_points: what the metadata declare.
    """
    name = package.replace("_", "-")
    files: dict[str, str | bytes] = {
        f"{package}/__init__.py": "",
        f"{package}/method.py": METHOD,
        f"{package}/recipes/my_recipe.yaml": RECIPE,
        f"{package}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{package}-1.0.dist-info/entry_points.txt": entry_points,
    }
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    return site
