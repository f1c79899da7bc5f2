"""Tiny pairings, data modules and samples of every modality, for the page to try an adapter."""

from dataclasses import replace
from typing import Any

import point_tiny
import tiny
import torch
import vlm_tiny

from data_modules.kinds.clips import ClipDataModule
from data_modules.kinds.clouds import CloudDataModule
from data_modules.kinds.pictures import PictureDataModule
from zoo.batch import Cloud, Picture, Question
from zoo.methods.mantis import Mantis
from zoo.methods.scale_earth import ScaleEarth
from zoo.methods.tb_ava import TBAVA
from zoo.pairing import Pairing
from zoo.tasks.multiple_choice import MultipleChoice

CARS = Question("How many <cars>?", ("one", "two"), answer="B")


class Clips(ClipDataModule):
    name, classes = "tiny clips", tiny.CLASSES
    segments, segment_seconds, sample_rate = tiny.T, 0.5, 16


class Clouds(CloudDataModule):
    name, classes = "tiny clouds", point_tiny.CLASSES


class Pictures(PictureDataModule):
    name, classes = "tiny pictures", ["a"]


def hear(method: TBAVA | None = None, task: Any = None) -> Pairing:
    return tiny.pairing(method or TBAVA(rank=4, sites={"vision": [2, 3], "audio": [1, 2]}), task).eval()


def feel() -> Pairing:
    return point_tiny.pairing(Mantis(rank=4)).eval()


def look(**settings: Any) -> Pairing:
    torch.manual_seed(0)
    method = ScaleEarth(targets={"language": ["q_proj"]}, rank=6, default_gsd=2.0, **settings)
    return Pairing({"vlm": vlm_tiny.model("llava")}, method, MultipleChoice(), classes=["a"]).eval()


def cloud(index: int = 0, **further: Any) -> Cloud:
    return Cloud(f"cloud{index}", point_tiny.clouds(index)[0, 0].numpy(), **({"target": {}} | further))


def picture(gsd: float = 0.5, question: Question | None = CARS) -> Picture:
    return replace(vlm_tiny.picture(1, (40, 30)), conditions={"gsd": torch.tensor(gsd)}, question=question)
