"""Nothing that tells of a machine or a person is in what is shared, wherever it was planted."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from adapter_files import copied, seal
from omegaconf import OmegaConf

from zoo import push
from zoo.adapter import public, sharing
from zoo.adapter.directory import FILES
from zoo.adapter.leaks import leaks
from zoo.adapter.public import ShareError
from zoo.catalog import card
from zoo.files import file_hash
from zoo.recipe.compose import compose

NAME = "zebulon"
"""Of a person; every secret holds it, so that one search finds what is left of any."""
SECRETS = [
    f"/home/{NAME}/data",
    f"/home/my data/{NAME}",
    f"/{NAME}",
    f"~/{NAME}",
    f"~{NAME}/runs",
    f"../{NAME}/x",
    f"../../up/{NAME}",
    f"./{NAME}",
    f"{NAME}/scans",
    NAME,
    f"[/home/{NAME}/x]",
    f"[/a/{NAME},/b/c]",
    f"{{a: /home/{NAME}}}",
    rf"C:\Users\{NAME}\x",
    f"C:/Users/{NAME}/x",
    rf"\\server\{NAME}\share",
    rf"..\{NAME}",
    f"file:/home/{NAME}/w.pt",
    f"file:{NAME}.safetensors",
    f"file:///home/{NAME}/w",
    f"https://{NAME}:secret@host.org/x.zip",
    f"https://user:{NAME}@host/x",
    f"https://host/x.zip?token={NAME}",
    f"https://{NAME}.internal/x",
    f"s3://{NAME}-bucket/key",
    f"ssh://{NAME}@host/x",
    f"hf_{NAME}0123456789abcdef",
    f"ghp_{NAME}0123456789abcdef",
    f"{NAME}@example.org",
    f"own files ({NAME})",
    f"/mnt/c/Users/{NAME.title()}/x",
    f"a b {NAME} c",
]
assert len(SECRETS) >= 30


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    return recipe, json.loads((folder / "metrics.json").read_text())


def written(folder: Path, recipe: dict[str, Any], metrics: dict[str, Any], *, own_card: bool = True) -> Path:
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    if own_card:
        (folder / "README.md").write_text(card.for_adapter(folder))
    return seal(folder)


def content(folder: Path) -> str:
    return "\n".join((folder / name).read_bytes().decode("utf-8", "replace") for name in (*FILES, "SHA256SUMS"))


def found(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.search(NAME, line, re.IGNORECASE)]


def shared(folder: Path) -> str:
    return content(sharing.copy_for_sharing(folder, folder.with_name("shared"), card=card.for_adapter))


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_the_command_is_in_no_file(secret: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    recipe, metrics = read(folder)
    keys = ("data.root", "runs", "into", "init", "card", "cache.folder", "data.splits", "recipe", "data.manifest", "x")
    words = " ".join(f"{key}={secret}" for key in keys)
    metrics["manifest"]["command"] = (
        f"python -m zoo.train recipe=mantis {words} {secret} seed={secret} seed=3 --{secret}"
    )
    text = shared(written(folder, recipe, metrics))
    assert found(text) == []
    assert "python -m zoo.train recipe=" in text
    assert "seed=3" in text


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_the_recipe_is_in_no_file(secret: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    recipe, metrics = read(folder)
    recipe["data"] = {
        "_target_": "data_modules.folder_clouds.CloudFolder",
        **dict.fromkeys(("root", "manifest", "splits", "group_by"), secret),
        "classes": ["a", "b"],
        "points": 512,
    }
    recipe["cache"] = {"_target_": "zoo.prefix.PrefixCache", "folder": secret}
    text = shared(written(folder, recipe, metrics))
    assert found(text) == []
    assert "points: 512" in text
    assert "root: DIR" in text


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_in_any_text_of_metrics_is_in_no_file(secret: str, tmp_path: Path) -> None:
    """In every field that holds a text, and in fields that nobody knows."""

    def planted(value: Any) -> Any:
        if isinstance(value, dict):
            texts = {"unknown": secret} if any(isinstance(inner, str | dict) for inner in value.values()) else {}
            return {key: planted(inner) for key, inner in value.items()} | texts
        return secret if isinstance(value, str) else value

    folder = copied(tmp_path / "mine")
    recipe, metrics = read(folder)
    monitor, manifest = metrics["monitor"], metrics["manifest"]
    manifest["init"] = {"adapter": "a", "sha256": "b", "taken": 3, "fresh": [secret], "why_fresh": "c"}
    manifest["init"] |= {"settings": [secret, f"rank={secret}, here 3"]}
    manifest["data"]["remarks"] = {f"files that {secret}.csv does not list": 3}
    metrics = planted(metrics) | {"monitor": monitor, "forced": [secret], "notes": [secret]}
    metrics["manifest"]["init"]["fresh"] = [secret]
    metrics["evaluations"] = [{key: value for key, value in metrics.items() if key != "evaluations"}]
    text = shared(written(folder, recipe, metrics, own_card=False))
    assert found(text) == []


@pytest.mark.parametrize("secret", [secret for secret in SECRETS if secret.startswith("file:")])
def test_a_file_of_weights_is_named_by_its_kind_alone(secret: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    recipe, metrics = read(folder)
    recipe["backbones"]["points"]["source"] = secret
    text = shared(written(folder, recipe, metrics))
    assert found(text) == []
    assert "source: file:WEIGHTS" in text


def test_a_place_in_the_trained_structure_cannot_be_replaced_so_nothing_goes(tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    recipe, metrics = read(folder)
    recipe["method"]["note"] = f"/home/{NAME}/x"
    written(folder, recipe, metrics)
    with pytest.raises(ShareError, match=r"recipe\.yaml, method\.note=.* holds a folder of this machine"):
        shared(folder)
    assert not folder.with_name("shared").exists()


@pytest.mark.parametrize("secret", [secret for secret in SECRETS if leaks(secret)])
def test_a_card_that_somebody_wrote_on_is_searched_line_by_line(secret: str, tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    page = (
        (folder / "README.md")
        .read_text()
        .replace("## Limits and biases\n", f"## Limits and biases\n\nsee {secret} !\n")
    )
    (folder / "README.md").write_text(page)
    with pytest.raises(ShareError, match=r"README\.md, line \d+: .*; take it out of the card's text"):
        shared(seal(folder))


def test_a_card_that_somebody_wrote_on_goes_with_a_public_front(tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    recipe, metrics = read(folder)
    metrics["manifest"]["command"] = f"python -m zoo.train recipe=mantis data.root={NAME}/x seed=0"
    written(folder, recipe, metrics)
    page = (folder / "README.md").read_text().replace("## Limits and biases\n", "## Limits and biases\n\nMine alone.\n")
    (folder / "README.md").write_text(page)
    text = shared(seal(folder))
    assert found(text) == []
    assert "Mine alone." in text
    (folder / "README.md").write_text(page.replace("Mine alone.", f"Made from {NAME}/x."))
    seal(folder)
    with pytest.raises(ShareError, match="which was left out in another place"):
        sharing.copy_for_sharing(folder, tmp_path / "again", card=card.for_adapter)


def own(folder: Path) -> Path:
    """An adapter as a training on own files leaves it."""
    recipe, metrics = read(folder)
    recipe["data"] = {"_target_": "data_modules.folder_clouds.CloudFolder", "root": f"/home/{NAME}/valves"}
    data = {"name": "own files (valves)", "synthetic": False, "license": "not stated", "fingerprint": "0" * 64}
    init = {"adapter": "tb_ava-grid", "sha256": "a" * 64, "taken": 7, "fresh": [], "why_fresh": "", "settings": []}
    typed = f"data=folder data.root=/home/{NAME}/valves init=tb_ava-grid seed=1"
    metrics["manifest"] |= {
        "init": init,
        "data": data | {"train": 30, "val": 10, "test": 12, "remarks": {"files of another kind (.docx): left out": 2}},
        "command": f"python -m zoo.train recipe=mantis {typed}",
    }
    return written(folder, recipe, metrics)


def test_a_card_on_own_data_is_about_those_and_not_a_sentence_of_the_recipes(tmp_path: Path) -> None:
    folder = own(copied(tmp_path / "mine"))
    page = card.read(folder / "README.md")
    assert card.validate(page) == []
    of_recipe = card.read(card.folder() / "mantis.md").body.partition("## Citation")[0]
    of_recipe = re.sub(
        r"(\*\*What its parts do|Its control signals)[^|]*", "", of_recipe
    )  # stand above any run's tables
    parts = re.split(r"(?<=[.:])\s|\n", of_recipe)
    sentences = {part.strip() for part in parts if len(part.split()) > 5 and "|" not in part}
    general = {"The checkpoint is selected on the validation split; the test split is measured once, afterwards."}
    assert [sentence for sentence in sentences - general if sentence in " ".join(page.body.split())] == []
    assert not {"synthetic", "furniture", "sofa"} & set(re.findall(r"\w+", page.body.lower().partition("classes")[0]))
    for words in ("own files (valves)", "30 to", "12 to measure", "`tb_ava-grid` (`init=`", "2 files of another kind"):
        assert words in page.body.replace("\n", " ")
    assert page.front["zoo"]["data"]["name"] == "own files (valves)"


def test_the_name_of_an_own_folder_is_not_shared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = own(copied(tmp_path / "mine"))
    sums = {name: file_hash(folder / name) for name in FILES}
    assert push.main([str(folder), "hf://me/mine", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert found(out) == []
    assert "valves" not in out
    assert "data=folder data.root=DIR init=tb_ava-grid seed=1" in out
    assert "(`init=`; sha256 aaaaaaaaaaaa)" in out
    assert sums == {name: file_hash(folder / name) for name in FILES}


def test_names_of_folders_with_foreign_files_stay_here(tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    recipe, metrics = read(folder)
    fires = {"fires": 0.25, "n": 4}
    metrics["familiarity"] = {**fires, "foreign": {f"tiles of {NAME}": fires, "night shift": fires}}
    text = shared(written(folder, recipe, metrics))
    assert NAME not in text
    assert "night shift" not in text
    assert "foreign set 2" in text


@pytest.mark.parametrize("name", ["mantis", "esc10_open", "lite_medsam_isbi"])
def test_a_copy_is_trained_again_by_the_same_recipe(name: str) -> None:
    """A batch of another size is another training: no block of a recipe stays here."""
    whole = OmegaConf.to_container(compose(name, ["data.root=DIR"] if name != "mantis" else []), resolve=True)
    assert isinstance(whole, dict)
    kept = {key: value for key, value in whole.items() if key not in ("include", "smoke", "variants")}
    shared = public.settings({str(key): value for key, value in kept.items()}, [])
    assert shared["loader"]["batch_size"] == whole["loader"]["batch_size"] != 8
    assert shared.keys() == kept.keys()
    assert {key: value for key, value in shared.items() if key not in ("data", "task")} == {
        key: value for key, value in kept.items() if key not in ("data", "task")
    }
