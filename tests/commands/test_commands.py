"""What every command has in common: help, and words that a newcomer types."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import forked
import pytest

import zoo
from zoo import command_line

ROOT = Path(zoo.__file__).parents[1]
COMMANDS = sorted(
    f"{path.parent.name}.{path.stem}"
    for folder in ("zoo", "data_modules")
    for path in (ROOT / folder).glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
OWN = [name for name in COMMANDS if name.startswith("zoo.") and name != "zoo.__main__"]


def told(command: str, *words: str) -> tuple[int, str, str]:
    done = forked.command(command, words)
    return done.returncode, done.stdout, done.stderr


def test_there_are_the_commands_that_readme_names() -> None:
    named = set(re.findall(r"python -m ((?:zoo|data_modules)\.\w+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("command", OWN)
def test_help_is_asked_for_in_either_way_behind_whatever_words(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(command).main
    pages = set()
    for words in (["--help"], ["-h"], ["init=nobody", "--nonsense", "-h", "word"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
        out, err = capsys.readouterr()
        assert (command in out, err) == (True, "")
        pages.add(out)
    assert len(pages) == 1


@pytest.mark.parametrize("command", ["data_modules.ave", "data_modules.folder_clips", "data_modules.examples"])
def test_commands_about_data_answer_too(command: str) -> None:
    code, out, err = told(command, "-h")
    assert (code, err) == (0, "")
    assert f"usage: python -m {command}" in out


@pytest.mark.parametrize(
    ("command", "does"),
    {
        "zoo.train": "Train, select on val",
        "zoo.compare": "A recipe beside its controls",
        "zoo.sweep": "Find good settings",
        "zoo.place": "Propose layers to adapt",
    }.items(),
)
def test_help_says_what_a_command_does(command: str, does: str) -> None:
    code, out, err = told(command, "--help")
    assert (code, err) == (0, "")
    assert f"\n\n{does}" in out


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_of_a_recipe_has_its_keys(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    from zoo.train import main

    with pytest.raises(SystemExit) as end:
        main(["recipe=tb_ava", word])
    assert end.value.code == 0
    assert "method.rank=32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("zoo.train", ["tb_ava"], "Did you mean 'recipe=tb_ava'?"),
        ("zoo.compare", ["tb_ave"], "Did you mean 'recipe=tb_ava"),
        ("zoo.train", ["--recipe", "tb_ava"], "unknown option '--recipe'. Did you mean 'recipe=tb_ava'?"),
        ("zoo.sweep", ["--recipe=tb_ava"], "Did you mean 'recipe=tb_ava'?"),
        ("zoo.train", ["recipe=tb_ava", "--resume"], "Did you mean 'resume=...'?"),
        ("zoo.train", ["recipe=tb_ava", "--smok"], "Did you mean '--smoke'?"),
        ("zoo.predict", ["--adapter", "tb_ava-grid", "input=x"], "Did you mean 'adapter=tb_ava-grid'?"),
        ("zoo.evaluate", ["--adapter=tb_ava-grid"], "Did you mean 'adapter=tb_ava-grid'?"),
    ],
)
def test_words_as_other_programs_take_them_are_answered_with_ours(
    command: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        importlib.import_module(command).main(words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_an_interrupt_that_python_drops_in_a_callback_is_heard_all_the_same() -> None:
    class Figure:
        """Something whose end others wait for."""

    def draw() -> None:
        with command_line.user_errors():
            figure = Figure()
            ends = weakref.ref(figure, lambda _: signal.raise_signal(signal.SIGINT))
            del figure
            for _ in range(400):  # a single sleep would not be broken off: no signal arrives
                time.sleep(0.05)
            pytest.fail(f"nothing was heard of Ctrl-C in the callback of {ends}")

    before = sys.unraisablehook
    # What a shell starts in its background does not hear Ctrl-C.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as end:
            draw()
    finally:
        signal.signal(signal.SIGINT, heard)
    assert end.value.code == 130
    assert sys.unraisablehook is before


@pytest.mark.parametrize("words", [["zoo.export", "--help"], ["zoo.train", "--help"], ["zoo.train", "--list"]])
def test_help_that_nobody_reads_to_its_end_leaves_no_traceback(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", *words], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""
