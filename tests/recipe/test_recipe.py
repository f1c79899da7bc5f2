"""Recipes compose, and every mistake is named before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.recipe import data_roots
from zoo.recipe.compose import RecipeError, available, compose, find, read, to_yaml, variants

SHIPPED = sorted(available())


def rooted(name: str) -> list[str]:
    """Where a recipe's data would lie; benchmarks that are not trained on need a second place."""
    return [f"data.{key}=/nowhere" for key in data_roots.unset(read(find(name), [])["data"])]


def problems(*overrides: str, name: str = "tb_ava") -> list[str]:
    with pytest.raises(RecipeError) as caught:
        compose(name, overrides)
    return caught.value.problems


WRONG = {
    "trainer.max_epoch=3": "unknown key 'trainer.max_epoch'. Did you mean 'max_epochs'?",
    "trainer.max_epochs=abc": "trainer.max_epochs: expected int >= 1 | None, got 'abc' (str)",
    "trainer.max_epochs=1.5": "trainer.max_epochs: expected int >= 1 | None, got 1.5 (float)",
    "method.rank=no": "method.rank: expected int >= 1, got 'no' (str)",
    "method.gate=no": "method.gate: expected bool, got 'no' (str); write true or false",
    "method.direction=up": "method.direction: expected Literal['both', 'audio_to_vision', 'vision_to_audio'], "
    "got 'up' (str)",
    "optimizer.lr=[1]": "optimizer.lr: expected float > 0, got [1] (list)",
    "method.rank=0": "method.rank: expected int >= 1, got 0 (int)",
    "method.last=0": "method.last: expected int >= 1 | None, got 0 (int)",
    "optimizer.warmup=3": "optimizer.warmup: expected float >= 0 and <= 1, got 3 (int)",
    "trainer.limit_train_batches=0": "trainer.limit_train_batches: expected int >= 1 | float > 0 | None, got 0 (int)",
    "loader.batch_size=-1": "loader.batch_size: expected int >= 1, got -1 (int)",
    "seed=x": "seed: expected int, got 'x' (str)",
    "method.rank": "'method.rank' is no key=value",
    "=3": "'=3' is no key=value",
    "method._target_=zoo.methods.tb_ava.TBAV": "method._target_: module zoo.methods.tb_ava has no 'TBAV'. "
    "Did you mean 'TBAVA'?",
    "method._target_=zoo.methods.tbava.TBAVA": "method._target_: no module 'zoo.methods.tbava'. Did you mean 'tb_ava'?",
    "backbones.vision.imagesize=3": "unknown key 'backbones.vision.imagesize'. Did you mean 'image_size'?",
}

WRONG_CLOUDS = {
    "method.orders=[x,w]": "method.orders: expected tuple[Literal['native', 'x', ",
    "data.augment=[spin]": "data.augment: expected tuple[Literal['subset', 'shuffle', ",
    "backbones.points.scan=cuda": "backbones.points.scan: expected Literal['auto', 'reference', ",
}


@pytest.mark.parametrize(("word", "message"), WRONG_CLOUDS.items())
def test_types_that_have_a_name_are_checked_as_if_written_out(word: str, message: str) -> None:
    assert problems(word, name="mantis")[0].startswith(message)


@pytest.mark.parametrize(("word", "message"), WRONG.items())
def test_a_wrong_word_is_named_with_the_nearest_right_one(word: str, message: str) -> None:
    assert problems(word)[0] == message


def test_all_mistakes_are_reported_at_once() -> None:
    found = problems("trainer.max_epoch=3", "method.rank=x", "sed=1")
    assert len(found) == 3


def test_a_word_given_twice_is_refused() -> None:
    assert problems("seed=1", "seed=2") == ["'seed' is given twice"]


def test_a_missing_value_says_what_it_means() -> None:
    assert problems(name="tb_ava_grid")[0].startswith("missing value 'data.root' (str)")


def test_an_unknown_recipe_names_the_nearest() -> None:
    assert problems(name="tb_eva") == ["unknown recipe 'tb_eva'. Did you mean 'tb_ava'?"]


@pytest.mark.parametrize(
    ("word", "value"),
    [("optimizer.lr=1e-3", 1e-3), ("optimizer.lr=1", 1), ("optimizer.head_lr=null", None), ("method.rank=12", 12)],
)
def test_right_words_take_their_type(word: str, value: object) -> None:
    block, key = word.partition("=")[0].split(".")
    assert compose("tb_ava", [word])[block][key] == value


@pytest.mark.parametrize("text", ["no", "012", "1e-3", "null", "true", "a: b", "1_000", "~", "{}"])
def test_a_text_key_keeps_the_text_as_typed(text: str) -> None:
    assert compose("tb_ava_grid", [f"data.root={text}"]).data.root == text


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12), st.text(max_size=12))
def test_no_word_ever_ends_in_anything_but_a_recipe_or_a_named_mistake(key: str, value: str) -> None:
    for word in (f"{key}={value}", f"method.rank={value}", f"data.{key}={value}"):
        mistakes: list[str] = []
        try:
            rank = compose("tb_ava", [word]).method.rank
        except RecipeError as error:
            mistakes = error.problems
        assert mistakes or isinstance(rank, int)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_recipe_composes_and_reads_back_to_itself(name: str, smoke: bool, tmp_path: Path) -> None:
    config = compose(name, rooted(name), smoke=smoke)
    text = to_yaml(config)
    (tmp_path / "again.yaml").write_text(text)
    assert to_yaml(compose(str(tmp_path / "again.yaml"))) == text


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in ("tb_ava", "tb_ava_grid", "tb_ava_ave") else n for n in SHIPPED],
)
def test_every_variant_composes_and_differs_from_its_recipe(name: str) -> None:
    base = to_yaml(compose(name, rooted(name)))
    texts = [to_yaml(compose(name, rooted(name), variant=v)) for v in variants(name)]
    assert texts
    assert base not in texts
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_begins_with_the_five_lines_of_its_header_and_has_a_card(name: str) -> None:
    lines = find(name).read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("# ") for line in lines[:5])
    starts = ["Reproduces:", "Hardware and time:", "Number:", f"Command: python -m zoo.train recipe={name}"]
    for line, start in zip(lines[1:5], starts, strict=True):
        assert line.startswith(f"# {start}")
    assert read(find(name), [])["smoke"]
    card = (Path(__file__).parents[2] / "model_cards" / f"{name}.md").read_text(encoding="utf-8")
    assert ("measured by this code" in lines[3]) == ("by this code: not measured." not in card), lines[3]


def test_a_users_own_file_includes_shipped_pieces(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("include: [tb_ava]\nmethod: {rank: 5}\n")
    config = compose(str(mine))
    assert config.method.rank == 5
    assert config.trainer.max_epochs == compose("tb_ava").trainer.max_epochs


def test_mistakes_of_a_file_are_named_with_the_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("include: [backbone/embeded_av]\nmethod: {rank: 5}\nmethod: {rank: 6}\n")
    assert "mine.yaml" in problems(name=str(mine))[0]
    mine.write_text("include: [backbone/embeded_av]\n")
    assert "Did you mean 'backbone/embedded_av'?" in problems(name=str(mine))[0]


def test_a_wrong_command_ends_with_code_2_without_importing_torch() -> None:
    code = (
        "import sys\nfrom zoo.train import main\n"
        "try:\n    main(['recipe=tb_ava', 'trainer.max_epoch=3', 'method.rank=x'])\n"
        "except SystemExit as end:\n    assert end.code == 2, end.code\n"
        "assert 'torch' not in sys.modules and 'lightning' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == 2


@pytest.mark.parametrize(("flag", "shown"), [("--list", "tb_ava_grid"), ("--help", "resume"), ("--print", "_target_")])
def test_help_list_and_print(flag: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    from zoo.train import main

    with pytest.raises(SystemExit) as end:
        main([flag] if flag != "--print" else [flag, "recipe=tb_ava"])
    assert end.value.code == 0
    assert shown in capsys.readouterr().out


# --- what a newcomer types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rank=64", "unknown key 'rank'. Did you mean 'method.rank'?"),
        ("max_epochs=2", "unknown key 'max_epochs'. Did you mean 'trainer.max_epochs'?"),
        ("image_size=70", "unknown key 'image_size'. Did you mean 'data.image_size' or 'backbones.vision.image_size'?"),
        ("method.batch_size=4", "unknown key 'method.batch_size'. Did you mean 'loader.batch_size'?"),
        ("metod.rank=3", "unknown key 'metod.rank'. Did you mean 'method.rank'?"),
        ("data=foldr", "data=foldr: no such data. Did you mean data=folder, your own files?"),
        (
            "data.root=own/clips",
            "unknown key 'data.root'. It belongs to your own files: say data=folder as well, data=folder data.root=...",
        ),
        (
            "data.on_bad=skip",
            "unknown key 'data.on_bad'. It belongs to your own files: say data=folder as well, "
            "data=folder data.on_bad=...",
        ),
    ],
)
def test_a_key_of_another_block_is_named_in_full(word: str, message: str) -> None:
    assert problems(word)[0] == message


def test_a_wrong_word_for_the_data_hides_no_other_mistake() -> None:
    found = problems("data=foldr", "data.root=own", "data.btch_size=3")
    assert [line.partition(":")[0].partition(".")[0] for line in found] == ["data=foldr", "unknown key 'data"]


DISTRIBUTED = {
    "mantis_modelnet40": "github.com/charlesq34/pointnet2",
    "tb_ava_ave": "github.com/YapengTian/AVE-ECCV18",
    "tb_ava_llp": "github.com/YapengTian/AVVP-ECCV20",
    "tb_ava_ovave": "github.com/jasongief/OV-AVEL",
    "tb_ava_grid": "spandh.dcs.shef.ac.uk/gridcorpus",
    "scale_earth_rsvqa": "zenodo.org/records/6344334",
    "scale_earth_rsscn7": "10.1109/LGRS.2015.2475299",
}


@pytest.mark.parametrize("name", [name for name in SHIPPED if rooted(name)])
def test_a_folder_that_is_not_given_is_asked_for_with_who_has_it_and_who_says_more(name: str) -> None:
    told = next(line for line in problems(name=name) if line.startswith("missing value 'data.root'"))
    assert f"python -m zoo.doctor recipe={name}" in told
    assert "give data.root=" in told
    assert DISTRIBUTED.get(name, "") in told


@pytest.mark.parametrize("name", SHIPPED)
def test_no_meaning_of_a_key_points_at_a_place_that_the_reader_does_not_see(name: str) -> None:
    from zoo.recipe.keys import blocks

    meanings = [parameter.meaning for _, known in blocks(name).values() for parameter in known.values()]
    assert meanings
    assert not [text for text in meanings if " above" in text]


@pytest.mark.parametrize("loader", ["[1]", "fast", "3"])
def test_a_loader_that_is_no_block_is_said_to_be_none(tmp_path: Path, loader: str) -> None:
    """With a former key beside it, too."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"include: [mantis]\nloader: {loader}\ndata: {{batch_size: 3}}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="loader: expected a block with _target_, got"):
        compose(str(path))
