"""Completion knows commands, recipes, keys and values; a shell gets them from the words as it takes them apart."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import plugin_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo
from zoo import completion
from zoo.__main__ import COMPLETE, _takes, main
from zoo.adapter import places
from zoo.recipe import compose, schema
from zoo.shell import scripts
from zoo.shell.candidates import FILES, candidates
from zoo.shell.commands import commands

ROOT = Path(zoo.__file__).parents[1]


def found(line: str) -> list[str]:
    """Candidates for the last word of a line; a blank at its end begins another."""
    return list(candidates(line.split(" "), _takes))


# --- what may follow --------------------------------------------------------------------------------------------------


def test_the_first_word_is_a_command() -> None:
    assert set(found("")) == {*commands(), "help", "--version"}
    assert found("tr") == ["train"]
    assert set(found("help p")) == {"place", "predict", "pull", "push"}


def test_names_of_recipes_and_adapters() -> None:
    assert found("train recipe=") == [f"recipe={name}" for name in compose.available()]
    assert found("train recipe=tb_ava_g") == ["recipe=tb_ava_grid"]
    assert found("predict adapter=") == [f"adapter={name}" for name in places.bundled()]
    assert found("show mantis-d") == ["mantis-dales"]
    assert set(found("reproduce ")) >= {*places.bundled(), "runs="}
    assert found("pull mantis-dales mantis") == []


def test_files_where_no_name_begins_so() -> None:
    for line in ("predict input=", "predict input=a/b", "predict output=", "train recipe=./", "evaluate adapter=ru"):
        assert found(line) == [FILES], line
    assert found("train recipe=tb_ava_grid data.root=") == [FILES]
    assert found("train recipe=tb_ava trainer.max_epochs=") == []


def test_keys_of_the_recipe_in_the_line_block_by_block() -> None:
    assert {"recipe=", "init=", "resume="} <= set(found("train "))
    assert {"seed=", "method=", "method.", "trainer.", "backbones."} <= set(found("train recipe=tb_ava "))
    assert "recipe=" not in found("train recipe=tb_ava ")
    known = schema.signature("zoo.training.trainer.build_trainer")
    assert set(found("train recipe=tb_ava tra")) == {f"trainer.{name}=" for name in known}
    assert found("train recipe=tb_ava trainer.max_e") == ["trainer.max_epochs="]
    assert found("train recipe=tb_ava trainer.max_epochs=3 trainer.max_e") == []
    assert {"backbones.vision=", "backbones.vision.", "backbones.text."} <= set(found("train recipe=tb_ava backbones."))


def test_keys_follow_the_blocks_that_the_line_names() -> None:
    assert "method.gate=" in found("train recipe=tb_ava method.")
    assert found("train recipe=tb_ava method=lora method.t") == ["method.targets="]
    assert "data.on_bad=" in found("train recipe=tb_ava data=folder data.")


def test_names_of_a_matrix_are_those_of_its_plan(tmp_path: Path) -> None:
    assert found("matrix pl") == ["plan="]
    (tmp_path / "plan.yaml").write_text("pairings: {points: {}, pictures: {}}\nmethods: {lora: {}}\nbudgets: [0.01]\n")
    word = f"matrix plan={tmp_path / 'plan.yaml'}"
    assert found(f"{word} pairings=") == ["pairings=points", "pairings=pictures"]
    assert found(f"{word} methods=l") == ["methods=lora"]
    assert found(f"{word} budgets=") == ["budgets=0.01"]
    assert found(f"matrix plan={tmp_path / 'none.yaml'} methods=") == []


def test_values_by_type_and_by_what_help_says() -> None:
    assert found("train recipe=tb_ava method=l") == ["method=laplace_lora_xs", "method=lora", "method=lora_xs"]
    assert found("train recipe=tb_ava task=cl") == ["task=classification"]
    assert found("train recipe=tb_ava backbones.vision=dino") == ["backbones.vision=dinov2"]
    assert found("train recipe=tb_ava data=fo") == [
        "data=folder",
        "data=folder_masks",
        "data=folder_sounding_objects",
        "data=folder_sounds",
    ]
    assert found("train recipe=tb_ava method.gate=") == ["method.gate=true", "method.gate=false"]
    assert "method.direction=both" in found("train recipe=tb_ava method.direction=")
    assert found("train resume=") == ["resume=true"]
    assert found("export format=") == ["format=merged", "format=peft", "format=torch", "format=onnx"]
    assert found("predict adapter=mantis-dales up=") == ["up=x", "up=y", "up=z"]
    assert found("completion ") == ["bash", "fish", "zsh"]


def test_of_an_adapters_recipe_only_what_may_be_changed() -> None:
    assert set(found("evaluate adapter=tb_ava-grid ")) == {"output=", "probes=", "votes=", "data."}
    assert {"data.", "trainer.", "cache."} <= set(found("reproduce adapter=tb_ava-grid "))
    assert "method." not in found("reproduce adapter=tb_ava-grid ")
    assert "trainer." in found("reproduce tb_ava-grid ")
    assert "data." in found(f"evaluate adapter={places.bundled()['tb_ava-grid']} ")


def test_options_once() -> None:
    assert set(found("train --")) == {"--smoke", "--print", "--list", "--help"}
    assert found("train --smoke --sm") == []
    assert set(found("predict --")) == {"--force", "--restart", "--unquantized", "--help"}


def test_a_sweep_searches_the_same_keys() -> None:
    assert found("sweep recipe=mantis search.trainer.max_e") == ["search.trainer.max_epochs="]


def test_packages_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(plugin_files.write(tmp_path / "site")))
    assert found("train recipe=my_") == ["recipe=my_recipe"]
    assert found("train recipe=tb_ava method=my") == ["method=my_method"]
    assert "my_peft.method" not in sys.modules


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from([*commands(), "help", "recipe=tb_ava", "recipe=", "method=lora", "method.", "adapter=x"]),
            st.sampled_from(["data=folder", "=", "==", "--", "recipe=..", "init=", "search.", "backbones.vision.=="]),
            st.text(max_size=8),
        ),
        max_size=5,
    )
)
def test_whatever_is_typed_nothing_is_said_but_candidates(words: list[str]) -> None:
    for word in candidates(words, _takes):
        assert word == FILES or word.startswith(words[-1] if words else "")


def test_errors_are_not_shown(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(compose, "available", fails)
    assert main([COMPLETE, "train", "recipe="]) == 1
    assert capfd.readouterr() == ("", "")


# --- shells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", scripts.shells())
def test_every_script_says_how_it_is_installed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.main([shell]) == 0
    text = capsys.readouterr().out
    head = "\n".join(text.splitlines()[:4])
    installation = next(line for line in (completion.__doc__ or "").splitlines() if line.strip().startswith(shell))
    assert installation.split("  (")[0].strip().removeprefix(shell).strip().rstrip() in head
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_a_shell_without_one_is_told_which_have_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        completion.main(["tcsh"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: no completion for 'tcsh'; expected bash or fish or zsh\n"


BASH = """
eval "$(zoo completion bash)"
complete -p zoo
COMP_LINE=$1 COMP_POINT=$2
shift 2
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_zoo zoo "${COMP_WORDS[COMP_CWORD]}" ''
printf '%s\\n' "${COMPREPLY[@]}"
"""


def bash(line: str, *parts: str, breaks: str | None = None, point: int | None = None) -> list[str]:
    """What replaces the last part of a line, whose parts are those that bash makes of it."""
    before = f"COMP_WORDBREAKS='{breaks}'\n" if breaks is not None else ""
    words = ["bash", "--norc", "-c", before + BASH, "bash", line, str(len(line) if point is None else point), *parts]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    first, *others = done.stdout.splitlines()
    assert (first, done.stderr) == ("complete -o default -F _zoo zoo", "")
    return [word for word in others if word]


@pytest.fixture
def on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not shutil.which("bash"):
        pytest.skip("there is no bash")
    script = tmp_path / "bin" / "zoo"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m zoo "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.usefixtures("on_the_path")
def test_bash_replaces_what_stands_behind_the_equals_sign() -> None:
    """Bash takes `recipe=tb_ava_g` for three words, and replaces the last."""
    assert bash("zoo tr", "zoo", "tr") == ["train"]
    assert bash("zoo train recipe=tb_ava_g", "zoo", "train", "recipe", "=", "tb_ava_g") == ["tb_ava_grid"]
    assert "lora" in bash("zoo train recipe=mantis method=", "zoo", "train", "recipe", "=", "mantis", "method", "=")
    line = "zoo train recipe=mantis  method=lora method.t"
    parts = ("zoo", "train", "recipe", "=", "mantis", "method", "=", "lora", "method.t")
    assert bash(line, *parts) == ["method.targets="]


@pytest.mark.usefixtures("on_the_path")
def test_bash_replaces_the_whole_word_where_its_user_made_the_sign_a_letter() -> None:
    breaks = " \t\n"
    assert bash("zoo train recipe=tb_ava_g", "zoo", "train", "recipe=tb_ava_g", breaks=breaks) == ["recipe=tb_ava_grid"]
    Path("a file.ply").touch()
    Path("a folder").mkdir()
    assert bash("zoo predict input=a", "zoo", "predict", "input=a", breaks=breaks) == [
        "input=a file.ply",
        "input=a folder/",
    ]


@pytest.mark.usefixtures("on_the_path")
def test_bash_looks_at_the_line_up_to_the_cursor() -> None:
    parts = ("zoo", "train", "recipe", "=", "tb_ava_grid")
    assert "tb_ava_llp" in bash("zoo train recipe=tb_ava_grid", *parts, point=len("zoo train recipe=tb_"))


@pytest.mark.usefixtures("on_the_path")
def test_bash_completes_files_by_itself() -> None:
    assert bash("zoo predict input=a", "zoo", "predict", "input", "=", "a") == []
    assert bash("zoo nonsense 'x", "zoo", "nonsense", "'x") == []
