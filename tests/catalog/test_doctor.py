"""The doctor says what this machine has without torch, and names what each recipe lacks on it."""

import json
import sys
from pathlib import Path

import pytest

from zoo import doctor
from zoo.backbones import weights, wheels
from zoo.catalog import holdings, readiness
from zoo.catalog.readiness import Verdict, composed, examine
from zoo.recipe import compose, sources
from zoo.recipe.data_roots import ROOTS
from zoo.records import machine
from zoo.records.machine import Machine

GIB = 2**30


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches of this zoo and of the hub, and a folder to stand in where `file:` sources are looked up."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def computer(**facts: object) -> Machine:
    told = {
        "python": "3.11.7",
        "system": "Linux x86_64",
        "torch": "2.11.0",
        "torch_cuda": "13.0",
        "unmet": [],
        "extras": {"cuda": {"bitsandbytes": None}},
        "gpus": [],
        "cores": 2,
        "memory": 16 * GIB,
        "cache": "/cache",
        "cache_writable": True,
        "free": 100 * GIB,
        "hub": "reachable",
    }
    return Machine(**(told | facts))  # type: ignore[arg-type]


def verdict(name: str, *words: str, here: Machine | None = None) -> Verdict:
    return examine(holdings.of_recipe(compose.find(name), []), composed(name, words), here or computer())


def test_a_shipped_backbone_needs_nothing() -> None:
    found = verdict("mantis")
    assert (found.runs, found.reasons()) == ("yes", "")


def test_wheels_are_fetched_and_then_said_to_be_cached(empty: Path) -> None:
    before = verdict("tb_ava")
    assert before.runs == "yes"
    assert "DINOv2-S (saliency-tuned) (90 MB)" in before.fetches
    assert before.cached == []
    for block in composed("tb_ava", [])["backbones"].values():
        for source in sources.weight_sources(block).values():
            path = wheels.wheel_path(weights.parse(source).name)
            path.parent.mkdir(parents=True)
            path.touch()
    after = verdict("tb_ava")
    assert (after.runs, after.fetches) == ("yes", [])
    assert after.cached == ["DINOv2-S (saliency-tuned)", "aiSFX", "MiniLM-L6"]


def test_a_benchmark_is_asked_for_with_its_distributor_and_the_command_that_checks_it() -> None:
    found = verdict("tb_ava_ave")
    assert "data.root=DIR" in found.missing
    told = found.get["AVE, data.root"]
    assert "github.com/YapengTian/AVE-ECCV18" in told
    assert "python -m data_modules.ave --check DIR" in told


@pytest.mark.parametrize("name", compose.available())
def test_a_folder_that_is_still_to_be_given_is_named_and_explained(name: str) -> None:
    asked = {key for key in ROOTS if composed(name, [])["data"].get(key) == "???"}
    found = verdict(name)
    assert {what for what in found.missing if what.startswith("data.")} == {f"data.{key}=DIR" for key in asked}
    assert sum("layout and check" in how for how in found.get.values()) == len(asked)


def test_a_moved_weights_file_is_named_with_licence_page_and_key() -> None:
    told = verdict("tb_ava_ave").get["BEATs"]
    assert "file:BEATs_iter3_plus_AS2M.pt" in verdict("tb_ava_ave").missing
    assert told.startswith("MIT: https://github.com/microsoft/unilm/tree/master/beats")
    assert "backbones.audio.source=file:PATH" in told
    told = verdict("mantis_modelnet40").get["Mamba3D"]
    assert "pretrain_pointmae_ckpt-last.pth" in told
    assert "python -m zoo.convert" in told


def test_weights_with_a_licence_of_their_own_are_named_even_where_the_hub_answers() -> None:
    found = verdict("scale_aware_eurosat")
    assert "DINOv3-L (satellite)" in found.fetches
    assert "ai.meta.com/resources/models-and-libraries/dinov3-license" in found.get["DINOv3-L (satellite)"]
    assert "model.safetensors" in found.get["DINOv3-L (satellite)"]


def test_a_recipe_runs_once_data_and_weights_are_given_slowly_without_its_graphics_card(empty: Path) -> None:
    (empty / "beats.pt").touch()
    words = (f"data.root={empty}", f"backbones.audio.source=file:{empty}/beats.pt")
    assert verdict("tb_ava_ave", *words).runs == "slowly"
    assert verdict("tb_ava_ave", *words, here=computer(gpus=["H100, 81559 MiB"])).runs == "yes"
    without = verdict("tb_ava_ave", *words, here=computer(gpus=["H100, 81559 MiB"], torch_cuda=None))
    assert without.runs == "slowly", "a torch for processors alone does not see the card"


def test_weights_of_a_hub_that_does_not_answer_are_missing_until_they_are_cached(empty: Path) -> None:
    alone = computer(hub="not reachable (no route)")
    words = ("backbones.vision.source=hf:google/siglip2-base-patch16-224",)
    assert any("SigLIP2-B" in what for what in verdict("tb_ava_ave", *words, here=alone).missing)
    folder = empty / "hub" / "models--google--siglip2-base-patch16-224" / "snapshots" / "0"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    found = verdict("tb_ava_ave", *words, here=alone)
    assert not any("SigLIP2-B" in what for what in found.missing)
    assert "SigLIP2-B" in found.cached


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a package that may be here looked for in vain."""
    version = machine.version
    monkeypatch.setattr(machine, "version", lambda name: None if name == package else version(name))


def test_four_bit_weights_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    without("bitsandbytes", monkeypatch)
    found = verdict("scale_earth_rsvqa")
    assert "bitsandbytes (4-bit weights)" in found.missing
    assert "multimodal-peft-zoo[cuda]" in found.get["bitsandbytes"]
    monkeypatch.setattr(machine, "version", lambda package: "1.0")
    assert not any("4-bit" in what for what in verdict("scale_earth_rsvqa").missing)


def test_a_data_folder_that_does_not_exist_is_named() -> None:
    assert "data.root (there is no folder /nowhere)" in verdict("mantis_dales", "data.root=/nowhere").missing


def test_a_cache_that_cannot_be_written_stops_what_would_be_fetched() -> None:
    found = verdict("tb_ava", here=computer(cache_writable=False))
    assert found.runs == "no"
    assert "ZOO_CACHE" in found.reasons()
    assert verdict("mantis", here=computer(cache_writable=False)).runs == "yes"


def test_packages_that_are_missing_stop_every_recipe() -> None:
    assert verdict("mantis", here=computer(unmet=["timm<1.1,>=1.0.31 (not installed)"])).runs == "no"
    assert verdict("mantis", here=computer(torch="")).runs == "no"


def test_one_recipe_alone_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "look", computer)
    assert doctor.main(["recipe=mantis"]) == 0
    assert doctor.main(["recipe=mantis_dales"]) == 1
    capsys.readouterr()
    assert doctor.main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["recipe"] for entry in told["recipes"]] == list(compose.available())
    assert {entry["runs"] for entry in told["recipes"]} == {"yes", "no"}


def test_the_page_names_every_recipe_and_keeps_brackets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "look", computer)
    without("bitsandbytes", monkeypatch)
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert all(f" {name} " in text for name in compose.available())
    assert "extra [cuda]" in text
    assert "multimodal-peft-zoo[cuda]" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipe=mantsi"], "Did you mean 'mantis'?"),
        (["recipe=mantis_dales", "data.rot=DIR"], "Did you mean 'root'?"),
        (["data.root=DIR"], "recipe=NAME"),
    ],
)
def test_a_mistake_in_the_words_ends_with_code_2(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "look", computer)
    with pytest.raises(SystemExit) as stop:
        doctor.main(words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


# --- the machine ------------------------------------------------------------------------------------------------------


def test_the_machine_is_described_as_torch_itself_would(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    here = machine.look()
    assert torch.__version__.startswith(here.torch)
    assert here.torch_cuda == torch.version.cuda
    assert here.python == ".".join(map(str, sys.version_info[:3]))
    assert here.hub.startswith("switched off")
    assert here.cache == str(empty / "cache")
    assert here.cache_writable
    assert not (empty / "cache").exists(), "looking leaves nothing behind"
    assert "bitsandbytes" in here.extras["cuda"]
    assert "dev" not in here.extras


def test_graphics_cards_are_found_by_asking_the_driver(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = empty / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB'\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{empty}:/bin:/usr/bin")
    assert machine._gpus() == ["NVIDIA H100 80GB HBM3, 81559 MiB"]
    program.write_text("#!/bin/sh\nexit 9\n", encoding="utf-8")
    assert machine._gpus() == []


def test_a_hub_that_does_not_answer_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "*")
    assert machine._hub().startswith("not reachable")


def test_a_cuda_build_without_a_card_is_told_of_the_smaller_one() -> None:
    told = readiness.facts(computer())["torch"]
    assert "a CUDA build of torch without a card" in told
    assert "--index-url https://download.pytorch.org/whl/cpu" in told
    for other in (computer(torch_cuda=None), computer(gpus=["H100, 81559 MiB"])):
        assert "--index-url" not in readiness.facts(other)["torch"]
