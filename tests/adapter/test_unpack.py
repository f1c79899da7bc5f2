"""An archive cannot write outside its folder, fill the disk, or bring anything but the files of one adapter."""

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from adapter_files import NAMES, copied, tarred, zipped
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from zoo.adapter import directory
from zoo.adapter.unpack import ArchiveError, unpack
from zoo.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sound adapter directory."""
    return copied(tmp_path_factory.mktemp("made") / "mine", {"adapter.safetensors": b"x" * 100})


def into(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse(archive: Path, message: str) -> None:
    """Unpacking raises, and not one file stands anywhere."""
    out = into(archive.parent / "deep" / "out")
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(ArchiveError, match=message):
        unpack(archive, out)
    assert sorted(archive.parent.rglob("*")) == before


def member(name: str, **settings: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in settings.items():
        setattr(info, key, value)
    return info


def in_tar(archive: Path, folder: Path, *extra: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(archive, "w:gz") as out:
        for info, content in extra:
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
        out.add(folder, folder.name)
    return archive


def in_zip(archive: Path, folder: Path, *extra: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for info, content in extra:
            out.writestr(info, content)
        for name in NAMES:
            out.write(folder / name, f"{folder.name}/{name}")
    return archive


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_the_files_of_an_adapter_come_out_as_they_went_in(
    pack: Callable[[Path, Path], Path], folder: Path, tmp_path: Path
) -> None:
    unpack(pack(folder, tmp_path / "a"), into(tmp_path / "out"))
    for name in NAMES:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(NAMES)


ESCAPES = [
    "../adapter.safetensors",
    "mine/../../adapter.safetensors",
    "/adapter.safetensors",
    "C:/adapter.safetensors",
    "..\\adapter.safetensors",
    "mine\\adapter.safetensors",
    "../",
    "/etc/",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_leaves_the_folder_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    kind = {"type": tarfile.DIRTYPE} if name.endswith("/") else {}
    refuse(in_tar(tmp_path / "a.tar.gz", folder, (member(name, **kind), b"")), "would leave its folder")
    refuse(in_zip(tmp_path / "a.zip", folder, (name, b"")), "would leave its folder")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_a_link_or_a_device_in_a_tar_is_refused(kind: bytes, folder: Path, tmp_path: Path) -> None:
    info = member("mine/README.md", type=kind, linkname="../../escaped")
    refuse(in_tar(tmp_path / "a.tar.gz", folder, (info, b"")), "is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_a_link_or_a_device_in_a_zip_is_refused(kind: int, folder: Path, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("mine/README.md")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    refuse(in_zip(tmp_path / "a.zip", folder, (info, b"/etc/passwd")), "is a link or a device")


def test_a_link_that_a_later_file_would_follow_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    info = member("mine", type=tarfile.SYMTYPE, linkname=str(tmp_path / "outside"))
    refuse(in_tar(tmp_path / "a.tar.gz", folder, (info, b"")), "is a link or a device")
    assert list((tmp_path / "outside").iterdir()) == []


UNEXPECTED = {
    "mine/evil.py": "is no file of an adapter",
    "mine/model.pkl": "a pickle can run code",
    "adapter.bin": "a pickle can run code",
    "mine/sub/README.md": "is no file of an adapter",
    "mine/README.md": "README.md is there twice",
    "README.md": "README.md is there twice",
    "a/b/": "belongs to no adapter",
}


@pytest.mark.parametrize(("name", "message"), UNEXPECTED.items())
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_anything_but_one_adapter_is_refused(name: str, message: str, folder: Path, tmp_path: Path) -> None:
    kind = {"type": tarfile.DIRTYPE} if name.endswith("/") else {}
    refuse(in_tar(tmp_path / "a.tar.gz", folder, (member(name, **kind), b"")), message)
    refuse(in_zip(tmp_path / "a.zip", folder, (name, b"")), message)


def test_a_missing_file_two_places_and_many_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "less.zip", "w") as out:
        out.write(folder / "README.md", "README.md")
    refuse(tmp_path / "less.zip", "holds no adapter: missing adapter.safetensors, recipe.yaml")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as out:
        for name in NAMES:
            out.write(folder / name, name if name == "README.md" else f"mine/{name}")
    refuse(tmp_path / "two.zip", "lie in several folders")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as out:
        for i in range(1000):
            out.writestr(f"folder{i}/", b"")
    refuse(tmp_path / "many.zip", "belongs to no adapter")


def test_a_bomb_is_refused_before_it_grows(folder: Path, tmp_path: Path) -> None:
    bomb = b"\0" * (64 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("adapter.safetensors", bomb)
    assert (tmp_path / "bomb.zip").stat().st_size < 100_000
    refuse(tmp_path / "bomb.zip", "claims 67,108,864 bytes, which is absurd")
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as tar:
        tar.addfile(member("adapter.safetensors", size=len(bomb)), io.BytesIO(bomb))
    refuse(tmp_path / "bomb.tar.gz", "claims 67,108,864 bytes, which is absurd")
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as out:
        out.writestr("SHA256SUMS", random.Random(0).randbytes(100_000))
    refuse(tmp_path / "long.zip", "SHA256SUMS claims 100,000 bytes")


def test_a_header_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as out:
        out.addfile(member("x", type=tarfile.XHDTYPE, size=1 << 30))
    refuse(tmp_path / "a.tar.gz", "a header claims 1,073,741,824 bytes")


def test_a_zip_that_holds_more_than_it_says_is_refused(folder: Path, tmp_path: Path) -> None:
    archive = zipped(folder, tmp_path / "a.zip")
    content = archive.read_bytes()
    size = (folder / "README.md").stat().st_size.to_bytes(4, "little")
    assert content.count(size) >= 2
    archive.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(ArchiveError, match=r"damaged|another length"):
        unpack(archive, into(tmp_path / "out"))


def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    for content in (b"", b"\x1f\x8b", b"<html>not found</html>", b"PK\x03\x04", b"\0" * 2000):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(ArchiveError):
            unpack(tmp_path / "a.zip", into(tmp_path / "out"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(".zip", 5528, 1, 0)
@given(st.sampled_from([".zip", ".tar", ".tar.gz"]), st.integers(0, 10**6), st.integers(1, 255), st.integers(0, 3))
def test_a_damaged_archive_is_a_plain_error_or_fails_its_checksums(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, suffix: str, place: int, flip: int, cut: int
) -> None:
    base = tmp_path_factory.mktemp("fuzz")
    archive = (zipped if suffix == ".zip" else tarred)(folder, base / f"a{suffix}")
    content = bytearray(archive.read_bytes())
    content[place % len(content)] ^= flip
    archive.write_bytes(content[: len(content) - cut * place % len(content)])
    try:
        unpack(archive, into(base / "out"))
        directory.verify(base / "out")
    except UserError:
        return
    for name in NAMES[:-1]:
        assert (base / "out" / name).read_bytes() == (folder / name).read_bytes()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="./\\:ab\0~ äREADM.md", min_size=1, max_size=20))
def test_no_name_whatever_writes_anything(folder: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    base = tmp_path_factory.mktemp("names")
    info = member(name)
    archive = in_tar(base / "a.tar.gz", folder, (info, b"x"))
    with pytest.raises(ArchiveError):
        unpack(archive, into(base / "deep" / "out"))
    assert sorted(path.name for path in base.rglob("*")) == ["a.tar.gz", "deep", "out"]
