"""Every recipe on made-up data, and a crash in a training."""

import runpy
from functools import partial
from pathlib import Path

import av_files
import cloud_files
import picture_files
import pytest
import question_files
import vqa_files

from zoo.recipe import data_roots
from zoo.recipe.compose import available, find, read
from zoo.training.module import TrainingModule

TESTS = Path(__file__).parents[1]
NAMES = sorted(available())


MADE_UP = {
    "tb_ava_grid": av_files.grid,
    "tb_ava_ave": av_files.ave,
    "tb_ava_llp": av_files.llp,
    "tb_ava_ovave": av_files.ov_ave,
    "mantis_dales": cloud_files.dales,
    "mantis_scanobjectnn_bg": cloud_files.scanobjectnn,
    "mantis_scanobjectnn_only": cloud_files.scanobjectnn,
    "mantis_scanobjectnn_hardest": cloud_files.scanobjectnn,
    "mantis_modelnet40": cloud_files.modelnet40,
    "mantis_modelnet40_fewshot": partial(cloud_files.fewshot, way=10, shot=20),
    "mantis_shapenetpart": cloud_files.shapenet_part,
    "mamba3d_pretrain_shapenet55": cloud_files.shapenet55,
    **dict.fromkeys(
        ("rsscn7_open", "scale_earth_rsscn7", "scale_earth_rsscn7_unseen", "small_llava_rsscn7"), picture_files.rsscn7
    ),
    "scale_aware_eurosat": partial(picture_files.eurosat, each=1),
    "scale_aware_resisc45": picture_files.resisc45,
    "scale_earth_geoscale_vqa": question_files.geoscale,
    **dict.fromkeys(("scale_earth_rsvqa", "lora_rsvqa", "qlora_rsvqa"), question_files.rsvqa),
    "scale_earth_xlrs": vqa_files.xlrs,
    "scale_earth_omniearth": vqa_files.omniearth,
}


TRAINED_ELSEWHERE = ("scale_earth_xlrs", "scale_earth_omniearth")
"""Benchmarks that are measured and never trained on."""


def data_words(name: str, folder: Path) -> list[str]:
    """Where a recipe's made-up data lie, which are made here."""
    block = read(find(name), [])["data"]
    make = MADE_UP.get(name)
    if make is None and "root" in data_roots.unset(block):  # a new benchmark's own test writes them
        written = TESTS / "data" / f"test_{block['_target_'].split('.')[-2]}.py"
        make = runpy.run_path(str(written))["write"]
    words = [f"data.root={make(made(folder / 'data'))}"] if make else []
    if name in TRAINED_ELSEWHERE:
        words.append(f"data.train_root={question_files.geoscale(made(folder / 'questions'))}")
    return words


def crash_in_the_second_epoch(patch: pytest.MonkeyPatch) -> None:
    """Until it is undone, every training raises ZeroDivisionError there."""
    begin = TrainingModule.on_train_epoch_start

    def crash(model: TrainingModule) -> None:
        if model.current_epoch == 1:
            raise ZeroDivisionError
        begin(model)

    patch.setattr(TrainingModule, "on_train_epoch_start", crash)


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
