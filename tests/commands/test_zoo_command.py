"""`zoo` runs every command as `python -m zoo.COMMAND` does, lists them, and answers what is no command in one line."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import zoo
from zoo import command_line
from zoo.__main__ import main
from zoo.shell.commands import GROUPS, commands, page

ROOT = Path(zoo.__file__).parents[1]
RUN = "import sys; from zoo.__main__ import script; sys.argv = ['zoo', *sys.argv[1:]]; sys.exit(script())"
"""What the console script does."""


def told(*words: str, script: bool = False, **settings: object) -> tuple[int, str, str]:
    """Exit code and output of `python -m zoo`, or of the console script, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"PYTHONSAFEPATH": "1"} if script else {})}
    line = [sys.executable, "-c", RUN] if script else [sys.executable, "-m", "zoo"]
    done = subprocess.run([*line, *words], capture_output=True, text=True, check=False, env=environment, **settings)
    return done.returncode, done.stdout, done.stderr


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is told of a line that is no command."""
    with pytest.raises(SystemExit) as end:
        main(words, way="zoo")
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("error: ").rstrip()


# --- the list ---------------------------------------------------------------------------------------------------------


def test_every_command_is_listed_once_with_what_it_does() -> None:
    runnable = {
        path.stem
        for path in (ROOT / "zoo").glob("[!_]*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert set(commands()) == runnable
    assert all(commands().values())
    lines = page("zoo").splitlines()
    for name, purpose in commands().items():
        assert lines.count(f"  {name:12} {purpose}") == 1
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= runnable


@pytest.mark.parametrize("words", [[], ["help"], ["-h"], ["--help"]])
def test_the_list_is_what_zoo_alone_says(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words, way="zoo") == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: zoo COMMAND ...\n")
    assert "  train        train, select on val, test once, save\n" in out


def test_the_line_of_a_command_is_that_of_its_own_help() -> None:
    for name, purpose in commands().items():
        docstring = importlib.import_module(f"zoo.{name}").__doc__ or ""
        assert docstring.partition("\n")[0].startswith(f"`python -m zoo.{name}")
        assert docstring.partition("\n")[0].rstrip(".").endswith(f": {purpose}")


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"zoo {zoo.__version__}\n"


def test_the_console_script_is_there() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = declared["zoo"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


# --- words that are no command ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["tb_ava"], "which command? zoo train recipe=tb_ava"),
        (["tb_ava", "seed=1"], "which command? zoo train recipe=tb_ava seed=1"),
        (["recipe=tb_ava", "--smoke"], "which command? zoo train recipe=tb_ava --smoke"),
        (["--smoke", "recipe=tb_ava"], "which command? zoo train --smoke recipe=tb_ava"),
        (["./mine.yaml"], "which command? zoo train recipe=./mine.yaml"),
        (["mantis-dales"], "which command? zoo predict adapter=mantis-dales input=FILE"),
        (["adapter=x", "input=y"], "which command? zoo predict adapter=x input=y"),
        (["trian", "recipe=tb_ava"], "which command? zoo train trian recipe=tb_ava"),
        (["predct"], "unknown command 'predct'. Did you mean 'predict'?"),
        (["import-peft"], "unknown command 'import-peft'. Did you mean 'import_peft'?"),
        (["help", "predct"], "unknown command 'predct'. Did you mean 'predict'?"),
        (["--verson"], "unknown command '--verson'. Did you mean '--version'?"),
        (["xyzzy"], "unknown command 'xyzzy'. Known: cards, compare, "),
        (["command_line"], "unknown command 'command_line'."),
    ],
)
def test_what_is_meant_is_said_in_one_line(words: list[str], answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(words, capsys).startswith(answer)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_help_of_a_command_is_its_own_and_names_it_as_it_was_called() -> None:
    code, out, err = told("help", "predict", script=True)
    assert (code, err) == (0, "")
    assert out == told("predict", "--help", script=True)[1]
    assert out.startswith("`zoo predict adapter=")
    assert "python -m zoo" not in out
    assert out == told("predict", "-h")[1].replace("python -m zoo predict", "zoo predict")


def test_mistakes_name_the_command_as_it_was_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from zoo.train import main as train

    for way, name in ((None, "python -m zoo.train"), ("zoo", "zoo train"), ("python -m zoo", "python -m zoo train")):
        if way:
            monkeypatch.setenv(command_line.CALLED, way)
        with pytest.raises(SystemExit):
            train([])
        assert f"which recipe? {name} recipe=NAME" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            train(["--help"])
        assert capsys.readouterr().out.startswith(f"usage: {name} recipe=NAME")
    assert command_line.called("python -m zoo.doctor recipe=x; python -m data_modules.ave") == (
        "python -m zoo doctor recipe=x; python -m data_modules.ave"
    )


def test_code_output_and_words_are_the_commands() -> None:
    assert told("show", "nosuch")[0] == 2
    code, out, _ = told("list", "method=mantis", "--json", script=True)
    assert code == 0
    assert {entry["method"] for entry in json.loads(out)["recipes"]} == {"Mantis"}


def test_the_command_is_the_main_module_as_lightning_starts_it_again() -> None:
    """`ddp` starts `python -m <name of the main module's spec> <words>` for every further process."""
    code = (
        "import sys; from zoo import __main__ as command, command_line\n"
        "from zoo.records import provenance\n"
        "command_line.parse_arguments = lambda *words, **more: sys.exit(' '.join(provenance.command()))\n"
        "command.main(['show', 'x', 'y=1'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr == "zoo.show x y=1\n"


def test_nothing_slow_is_imported_to_list_or_to_say_what_there_is() -> None:
    code = (
        "import sys; from zoo.__main__ import main\n"
        "try:\n    main([*sys.argv[1:]])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('torch' in sys.modules, 'zoo.list' in sys.modules, 'zoo.train' in sys.modules)"
    )
    for words in ([], ["list", "--json"], ["__complete", "train", "recipe=tb_ava", "method.", ""]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert done.stdout.splitlines()[-1].startswith("False False")


def test_the_console_script_imports_nothing_from_the_working_directory_but_a_method_of_yours(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text("raise SystemExit('a file of the working directory ran')")
    (tmp_path / "mine.py").write_text(
        "from zoo.methods.frozen import Frozen\n\n\nclass Mine(Frozen):\n    '''Nothing.'''\n"
    )
    code, out, err = told("train", "recipe=mantis", "method._target_=mine.Mine", "--print", script=True, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "_target_: mine.Mine" in out


@pytest.mark.parametrize("words", [[], ["list"]])
def test_a_reader_that_closes_the_pipe_ends_it_quietly(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "zoo", *words], stdout=writing, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
@pytest.mark.parametrize("script", [True, False])
def test_two_processes_train_as_of_python_m_zoo_train(tmp_path: Path, script: bool) -> None:
    settings = ["trainer.devices=2", "trainer.accelerator=cpu", "trainer.strategy=ddp"]
    code, out, err = told(
        "train", "recipe=mantis", "method=frozen", "--smoke", f"into={tmp_path / 'run'}", *settings, script=script
    )
    assert code == 0, err
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert record["manifest"]["command"].startswith("python -m zoo.train recipe=mantis method=frozen --smoke")
    assert "run folder" in out
