"""Weights of SAM, SAM 2 and LiteMedSAM: their authors' files, transformers' folders, and sizes without any."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sam_tiny import CLASSES, MAKERS, SIDE, kept, mapped, pictures, published

from zoo.backbones.sam import SAM
from zoo.backbones.sam2 import SAM2
from zoo.backbones.weights import WeightsError


@pytest.fixture(params=MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def file(name: str, tmp_path: Path) -> Path:
    path = tmp_path / f"{name}.pt"
    state = published(name, kept(name).net.state_dict())
    torch.save({"model": state} if name == "sam2" else state, path)
    return path


def test_a_file_in_the_authors_names_is_read_to_the_last_tensor(
    name: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    read = CLASSES[name](source=f"file:{file}", image_size=SIDE)
    state, expected = read.net.state_dict(), kept(name).net.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in state)
    with torch.no_grad():
        ours, theirs = mapped(read, pictures()), mapped(kept(name), pictures())
    assert all(torch.equal(ours[after], theirs[after]) for after in theirs)
    lines = [r.getMessage() for r in caplog.records if "memory" in r.getMessage()]
    assert lines == (
        [f"file:{file}: 9 tensors of its memory of videos are left out; pictures do without"] * (name == "sam2")
    )


def test_a_file_in_our_own_names_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    save_file({key: each.clone() for key, each in kept(name).net.state_dict().items()}, tmp_path / "own.safetensors")
    read = CLASSES[name](source=f"file:{tmp_path / 'own.safetensors'}", image_size=SIDE)
    state, expected = read.net.state_dict(), kept(name).net.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_what_a_file_lacks_and_what_it_has_too_many_is_named(name: str, tmp_path: Path) -> None:
    state = published(name, kept(name).net.state_dict())
    torch.save({**{k: v for k, v in state.items() if "iou_token" not in k}, "other": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"missing mask_decoder.iou_token.weight; left over other"):
        CLASSES[name](source=f"file:{tmp_path / 'a.pt'}", image_size=SIDE)


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_a_file_of_something_else_is_said_to_be_none(name: str, tmp_path: Path) -> None:
    torch.save({"image_encoder.other": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"is no (SAM|published SAM 2)"):
        CLASSES[name](source=f"file:{tmp_path / 'other.pt'}")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="expected tensors by name"):
        CLASSES[name](source=f"file:{tmp_path / 'list.pt'}")
    with pytest.raises(WeightsError, match="size belongs to random: sources"):
        CLASSES[name](source=f"file:{tmp_path / 'other.pt'}", size="nano")


def test_sams_folder_of_transformers_is_read(tmp_path: Path) -> None:
    kept("sam").net.save_pretrained(tmp_path)
    read = SAM(source=f"file:{tmp_path}", image_size=SIDE)
    assert read.fingerprint == kept_print("sam")


def test_sam2s_folder_of_transformers_is_read_though_it_is_one_for_videos(tmp_path: Path) -> None:
    from transformers import Sam2VideoConfig, Sam2VideoModel

    told = kept("sam2").net.config.to_dict()
    parts = {part: told[f"{part}_config"] for part in ("vision", "prompt_encoder", "mask_decoder")}
    tiny = {"hidden_size": 32, "num_layers": 1, "feed_forward_hidden_size": 32}
    video = Sam2VideoModel(
        Sam2VideoConfig(
            **{f"{part}_config": each for part, each in parts.items()},
            **{f"memory_attention_{key}": each for key, each in tiny.items()},
            memory_encoder_hidden_size=32,
            memory_encoder_output_channels=8,
            mask_downsampler_embed_dim=32,
            memory_fuser_embed_dim=32,
            memory_fuser_num_layers=1,
            memory_fuser_intermediate_dim=32,
        )
    )
    video.prompt_encoder.shared_embedding.load_state_dict(video.shared_image_embedding.state_dict())
    video.save_pretrained(tmp_path)
    state = video.state_dict()
    read = SAM2(source=f"file:{tmp_path}", image_size=SIDE).net.state_dict()
    assert all(torch.equal(each, state[key]) for key, each in read.items())


def kept_print(name: str) -> Any:
    """The fingerprint of moved weights: the model's own is of those that were drawn."""
    from zoo.backbones.fingerprint import fingerprint
    from zoo.backbones.square import IMAGENET_MEAN, IMAGENET_STD

    return fingerprint(kept(name).net, {"image_size": SIDE, "mean": IMAGENET_MEAN, "std": IMAGENET_STD})


@pytest.mark.parametrize(
    ("size", "parameters"), [("tiny", 26.9), ("small", 33.9), ("base-plus", 68.7), ("large", 212.2)]
)
def test_the_published_sizes_of_hiera_have_their_parameters(size: str, parameters: float) -> None:
    from transformers import Sam2Config, Sam2VisionModel

    from zoo.backbones.sam2 import SIZES, _config

    with torch.device("meta"):
        net = Sam2VisionModel(Sam2Config(**_config(**SIZES[size])).vision_config)
    assert round(sum(p.numel() for p in net.backbone.parameters()) / 1e6, 1) == pytest.approx(parameters, abs=0.11)


@pytest.mark.parametrize(("size", "parameters"), [("base", 93.7), ("large", 312.3), ("huge", 641.1)])
def test_the_published_sizes_of_sam_have_their_parameters(size: str, parameters: float) -> None:
    from transformers import SamConfig, SamModel

    from zoo.backbones.sam import SIZES, _config

    with torch.device("meta"):
        net = SamModel(SamConfig(**_config(1024, **SIZES[size])))
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == parameters
