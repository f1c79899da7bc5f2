"""Neither pull nor push takes what a link in an adapter directory leads to."""

import os
from pathlib import Path

import pytest
from adapter_files import NAMES, code, copied, left

from zoo import push
from zoo.adapter import links, places
from zoo.adapter.links import LinkError


def pushed(argv: list[str]) -> int:
    try:
        return push.main(argv)
    except SystemExit as end:
        return int(str(end.code))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hidden", ["absolute", "relative", "pipe"])
def test_a_link_in_place_of_a_file_is_refused(
    name: str, hidden: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tmp_path / "mine")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if hidden == "pipe":
        os.mkfifo(folder / name)
    else:
        (tmp_path / "secret").write_bytes(content)
        (folder / name).symlink_to(tmp_path / "secret" if hidden == "absolute" else "../secret")
    assert code([str(folder)]) == 1
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    why = f"{folder / name} is " + ("no regular file" if hidden == "pipe" else "a link, which is not followed")
    assert why in told.err
    assert places.installed() == {}
    assert left(cache) == []
    assert pushed([str(folder), "hf://me/mine", "--dry-run"]) == 1
    told = capsys.readouterr()
    assert why in told.err
    assert told.out == ""


def test_a_link_to_the_whole_folder_is_its_owners_way_of_naming_it(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "named").symlink_to(copied(tmp_path / "mine"))
    assert code([str(tmp_path / "named"), "name=x"]) == 0
    assert pushed([str(tmp_path / "named"), "hf://me/mine", "--dry-run"]) == 0


def test_links_of_the_hubs_cache_lead_into_it_and_nowhere_else(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    (hub / "blobs").mkdir(parents=True)
    (hub / "blobs" / "abc").write_bytes(b"whole")
    (tmp_path / "secret").write_bytes(b"secret")
    (hub / "good").symlink_to("blobs/abc")
    (hub / "bad").symlink_to("../secret")
    links.copy_plain(hub / "good", tmp_path / "copy", most=5, cache=hub)
    assert (tmp_path / "copy").read_bytes() == b"whole"
    with pytest.raises(LinkError, match="bad is a link, which is not followed"):
        links.copy_plain(hub / "bad", tmp_path / "copy", most=5, cache=hub)
    with pytest.raises(LinkError, match="has 5 bytes; at most 4 are taken"):
        links.copy_plain(hub / "good", tmp_path / "copy", most=4, cache=hub)
