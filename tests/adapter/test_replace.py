"""Whatever happens while a folder takes another's place: one of both stands whole, and nothing is left behind."""

import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from saving import saved
from steps import at_step

from zoo import files
from zoo.adapter import directory, install, places


def value(folder: Path) -> int:
    """What the metrics of a whole adapter say."""
    directory.verify(folder)
    return int(json.loads((folder / "metrics.json").read_text())["n"])


def rewrite(folder: Path, number: int) -> None:
    directory.replace(folder, {"n": number}, card=lambda _: f"# card {number}\n")


def steps_of_a_rewrite(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        seen = at_step(0, lambda: None, patch)
        rewrite(folder, 1)
    return len(seen)


def raised() -> None:
    raise KeyboardInterrupt


def full() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fault", [raised, full])
def test_an_exception_at_any_step_loses_nothing_and_leaves_nothing(tmp_path: Path, fault: Callable[[], None]) -> None:
    folder = saved(tmp_path)
    count = steps_of_a_rewrite(folder)
    assert count > 20
    stood, left = [], []
    for number in range(1, count + 1):
        before = value(folder)
        with pytest.MonkeyPatch.context() as patch:
            seen = at_step(number, fault, patch)
            try:
                rewrite(folder, 1 + number)
            except (KeyboardInterrupt, OSError):
                stood.append(number)
        assert value(folder) in {before, 1 + number}
        if [path.name for path in tmp_path.iterdir()] != ["adapter"]:
            left.append(seen[number - 1])
    # Where removing what is left is what fails, it goes with the next.
    assert set(left) <= {"open", "unlink", "rmdir"}
    rewrite(folder, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assert len(stood) > count / 2
    print(f"{count} steps, {len(stood)} exceptions: 0 lost, {len(left)} with something left until the next")


def test_a_kill_at_any_step_loses_nothing_and_the_next_rewrite_clears_up(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    count, killed, aside, left = steps_of_a_rewrite(folder), 0, 0, 0
    for number in range(1, count + 1):
        before = value(folder)
        child = os.fork()
        if not child:
            with pytest.MonkeyPatch.context() as patch:
                at_step(number, lambda: os.kill(os.getpid(), signal.SIGKILL), patch)
                rewrite(folder, 1 + number)
            os._exit(0)
        killed += os.waitpid(child, 0)[1] == signal.SIGKILL
        aside += not folder.exists()
        left += len(list(tmp_path.iterdir())) > 1
        # The next command finds it, whatever its name was at that moment.
        assert places.find_adapter(str(folder)) == folder
        assert value(folder) in {before, 1 + number}
        rewrite(folder, 1 + number)
        assert [path.name for path in tmp_path.iterdir()] == ["adapter"], number
    assert killed == count
    assert aside
    print(f"{count} kills, {aside} while the name was free, {left} with leftovers: 0 lost, 0 left after the next")


def test_readers_and_writers_at_once_see_whole_adapters_only(tmp_path: Path) -> None:
    folder, seen = saved(tmp_path), []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                directory.verify(folder)
                seen.append("")
            except Exception as error:
                seen.append(repr(error))

    writers = []
    for first in range(1, 46, 15):
        if not (child := os.fork()):
            for number in range(first, first + 15):
                rewrite(folder, number)
            os._exit(0)
        writers.append(child)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert [os.waitpid(child, 0)[1] for child in writers] == [0, 0, 0]
    finally:
        done.set()
        reader.join()
    assert set(seen) == {""}
    assert value(folder) in range(1, 46)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_what_a_killed_process_left_goes_and_what_a_living_one_holds_stays(tmp_path: Path) -> None:
    (tmp_path / ".note.txt.123.tmp").write_text("half")
    (tmp_path / ".note.txt.mine").write_text("not a temporary file")
    (tmp_path / "unpack-abcdefgh.tmp").mkdir()
    (tmp_path / "unpack-abcdefgh.tmp" / "adapter.safetensors").write_bytes(b"0" * 99)
    (tmp_path / "unpack-by-hand").mkdir()
    with files.scratch(tmp_path, "unpack-") as living:
        with files.scratch(tmp_path, "unpack-") as other:
            assert living.exists()
            assert other != living
        files.write_whole(tmp_path / "note.txt", "whole")
        assert living.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".note.txt.mine", "note.txt", "unpack-by-hand"]


def test_an_installed_adapter_is_there_until_the_other_is_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(install, "inspect", directory.verify)

    def put(number: int) -> None:
        staged = saved(tmp_path / f"from{number}")
        rewrite(staged, number)
        with install.staging() as space:
            install.install(Path(shutil.copytree(staged, space / "a")), "mine", source="here", replace=True)

    put(1)
    target = tmp_path / "cache" / "adapters" / "mine"
    true, calls = os.rename, []

    def fail_to_take_its_place(source: Any, place: Any) -> None:
        calls.append(place)
        if Path(place) == target and len(calls) > 3:
            raise OSError(13, "Permission denied")
        true(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail_to_take_its_place)
        with pytest.raises(OSError, match="Permission denied"):
            put(2)
    # It could not even be put back: it is found again all the same.
    assert places.find_adapter("mine") == target
    assert value(target) == 1
    put(3)
    assert value(target) == 3
    assert [path.name for path in target.parent.iterdir()] == ["mine"]
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []
