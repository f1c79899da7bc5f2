"""A download that meets a fault goes on where it stopped, or ends in one line with nothing installed."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from adapter_files import code, copied, left, metrics, zipped
from faulty_server import Fault, FaultyServer, serving

from zoo.adapter import download, install, places


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a patience that suits a test."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    monkeypatch.setattr(download, "SLOWEST", 1000)
    monkeypatch.setattr(download, "WINDOW", 0.4)
    return tmp_path / "cache"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with serving() as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    return zipped(copied(tmp_path / "furniture"), tmp_path / "furniture.zip").read_bytes()


CUT = 100_000
MENDED: dict[str, tuple[list[Fault], list[str]]] = {
    "cut off twice": ([Fault(keep=CUT), Fault(keep=CUT)], ["", f"bytes={CUT}-", f"bytes={2 * CUT}-"]),
    "reset": ([Fault(keep=CUT, reset=True)], ["", f"bytes={CUT}-"]),
    "silent": ([Fault(keep=CUT, pause=1.5)], ["", f"bytes={CUT}-"]),
    "dripping": ([Fault(keep=CUT, drip=0.01)], ["", "bytes="]),
    "busy": ([Fault(status=503), Fault(status=500), Fault(status=429)], ["", "", "", ""]),
    "ignores ranges": ([Fault(keep=CUT), Fault(ranges=False)], ["", f"bytes={CUT}-"]),
    "resumes elsewhere": ([Fault(keep=CUT), Fault(shift=1)], ["", f"bytes={CUT}-", ""]),
}


@pytest.mark.parametrize("name", MENDED)
def test_a_passing_fault_is_mended_by_going_on(name: str, cache: Path, server: FaultyServer, archive: bytes) -> None:
    faults, ranges = MENDED[name]
    assert code([server.put("furniture.zip", archive, *faults)]) == 0
    asked = server.ranges("furniture.zip")
    assert len(asked) == len(ranges)
    assert all(found.startswith(expected) for found, expected in zip(asked, ranges, strict=True))
    assert list(places.installed()) == ["furniture"]
    assert left(cache) == []


FINAL: dict[str, tuple[list[Fault], str, list[str]]] = {
    "forbidden": ([Fault(status=403)], "HTTP 403: the server does not give it to everyone", []),
    "missing": ([Fault(status=404)], "HTTP 404: there is no such file; check the address", []),
    "odd request": ([Fault(status=418)], "HTTP 418: the server refuses the request", []),
    "no content": ([Fault(status=204)], "the server answered 204, which is no file", []),
    "down": ([Fault(status=500)] * 5, "the server answered HTTP 500 (5 attempts); nothing has come yet", []),
    "always cut": (
        [Fault(keep=1000)] * 5,
        "the connection ended after 5,000 of {size:,} bytes (5 attempts); 5,000 bytes are kept and the same command",
        [".part", ".validator"],
    ),
    "always resets": ([Fault(keep=1000, reset=True)] * 5, "the connection broke", [".part", ".validator"]),
    "always silent": ([Fault(keep=1000, pause=1.5)] * 5, "the server was silent for 0.5 s", [".part", ".validator"]),
    "always drips": ([Fault(drip=0.01)] * 5, "the server gave less than 1000 bytes", [".part", ".validator"]),
    "absurd": ([Fault(length=1 << 40)], "has 1,099,511,627,776 bytes; at most", []),
    "corrupt": ([Fault(corrupt=True)], "furniture.zip is damaged", []),
    "cut without a length": ([Fault(keep=CUT, sized=False)], "furniture.zip is damaged, or none of", []),
    "to a file": ([Fault(status=302, location="file:///etc/passwd")], "no other kind of address is followed", []),
    "to ftp": ([Fault(status=302, location="ftp://127.0.0.1/x")], "no other kind of address is followed", []),
    "to plain http": ([Fault(status=302, location="http://example.org/x.zip")], "is not encrypted", []),
    "with a password": ([Fault(status=302, location="http://a:b@127.0.0.1/x")], "a user name is refused", []),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ("always silent", "always drips") else n for n in FINAL]
)
def test_a_lasting_fault_is_one_line_and_installs_nothing(
    name: str, cache: Path, server: FaultyServer, archive: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    faults, message, kept = FINAL[name]
    assert code([server.put("furniture.zip", archive, *faults)]) == 1
    told = capsys.readouterr()
    assert message.format(size=len(archive)) in told.err
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    assert places.installed() == {}
    assert left(cache) == kept


def test_a_good_redirect_is_followed_and_a_loop_is_not(
    cache: Path, server: FaultyServer, archive: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put("there.zip", archive)
    assert code([server.put("here.zip", b"", Fault(status=307, location="/there.zip"))]) == 0
    assert list(places.installed()) == ["here"]
    url = server.put("loop.zip", b"", *[Fault(status=302, location="loop.zip")] * 9)
    assert code([url]) == 1
    assert "redirects more than 5 times" in capsys.readouterr().err
    assert len(server.ranges("loop.zip")) == download.REDIRECTS + 1
    assert left(cache) == []


def test_https_is_never_left(
    cache: Path,
    tmp_path: Path,
    server: FaultyServer,
    archive: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pem = certificate(tmp_path)
    plain = server.put("furniture.zip", archive)
    with serving(pem) as secure:
        url = secure.put("furniture.zip", archive)
        assert code([url]) == 1
        assert "its certificate is not trusted" in capsys.readouterr().err
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        secure.put("furniture.zip", archive, Fault(status=302, location=plain))
        assert code([url, f"sha256={hashlib.sha256(archive).hexdigest()}"]) == 1
        assert "redirects from https to http://127.0.0.1" in capsys.readouterr().err
        assert server.requests == []
        assert code([url]) == 0
    assert left(cache) == []


def certificate(folder: Path) -> Path:
    pem = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes a certificate, is not installed")
    subprocess.run(command, check=True, capture_output=True)
    pem.write_bytes((folder / "key").read_bytes() + (folder / "crt").read_bytes())
    return pem


def test_a_second_command_goes_on_where_the_first_broke_off(cache: Path, server: FaultyServer, archive: bytes) -> None:
    url = server.put("furniture.zip", archive, *[Fault(keep=CUT // 5)] * 5)
    assert code([url]) == 1
    assert left(cache) == [".part", ".validator"]
    assert code([url]) == 0
    assert server.ranges("furniture.zip")[-1] == f"bytes={CUT}-"
    assert left(cache) == []


def test_a_file_that_changed_on_the_server_starts_anew(
    cache: Path, server: FaultyServer, archive: bytes, tmp_path: Path
) -> None:
    changed = zipped(copied(tmp_path / "newer", {"metrics.json": metrics(newer=True)}), tmp_path / "n.zip")
    for strict in (True, False):  # a server that heeds If-Range, and one that does not
        url = server.put("furniture.zip", archive, *[Fault(keep=1000)] * 5)
        assert code([url, "replace=true"]) == 1
        server.put("furniture.zip", changed.read_bytes(), Fault(strict=strict))
        assert code([url, "replace=true"]) == 0
        assert (places.installed()["furniture"] / "metrics.json").read_bytes() == metrics(newer=True)
        assert left(cache) == []


def test_a_whole_part_asks_for_no_byte_again(cache: Path, server: FaultyServer, archive: bytes) -> None:
    url = server.put("furniture.zip", archive, *[Fault(keep=1000)] * 5)
    assert code([url]) == 1
    (part,) = (cache / "downloads").glob("*.part")
    part.write_bytes(archive)
    assert code([url]) == 0
    assert server.ranges("furniture.zip")[-1] == f"bytes={len(archive)}-"
    server.put("furniture.zip", archive[:-7], *[Fault(keep=1000)] * 5)
    assert code([url]) == 1
    (part,) = (cache / "downloads").glob("*.part")
    part.write_bytes(archive)  # longer than what the server has now
    server.put("furniture.zip", archive)
    assert code([url]) == 0


def test_a_server_that_names_no_version_is_never_resumed(cache: Path, server: FaultyServer, archive: bytes) -> None:
    server.tagged = False
    assert code([server.put("furniture.zip", archive, Fault(keep=CUT), Fault(keep=CUT))]) == 0
    assert server.ranges("furniture.zip") == ["", "", ""]


def test_a_wrong_sha256_deletes_what_came(
    cache: Path, server: FaultyServer, archive: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.put("furniture.zip", archive)
    assert code([url, f"sha256={'0' * 64}"]) == 1
    assert "expected 0000" in (told := capsys.readouterr().err)
    assert "nothing was installed" in told
    assert left(cache) == []
    right = hashlib.sha256(archive).hexdigest()
    assert code([url, f"sha256={right}"]) == 0
    assert "sha256=" not in capsys.readouterr().out
    assert code([url, "name=unpinned"]) == 0
    assert f"they show that it is whole, not who made it; sha256={right} takes this content only" in (
        capsys.readouterr().out
    )


def test_a_folder_on_a_server_comes_by_its_checksums(
    cache: Path, server: FaultyServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tmp_path / "furniture")
    url = server.put_folder("of/furniture", folder)
    assert code([f"{url}/", "name=first"]) == 0
    assert server.requests[0][0] == "of/furniture/SHA256SUMS"
    listing = hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    assert f"sha256={listing} takes" in capsys.readouterr().out
    assert code([url, f"sha256={listing}"]) == 0
    assert set(places.installed()) == {"first", "furniture"}
    server.faults["of/furniture/adapter.safetensors"] = [Fault(corrupt=True)]
    assert code([url, "name=second"]) == 1
    assert "adapter.safetensors has sha256" in capsys.readouterr().err
    server.put("of/furniture/SHA256SUMS", b"<html>not here</html>")
    assert code([url, "name=third"]) == 1
    assert "SHA256SUMS has no sha256 of adapter.safetensors" in capsys.readouterr().err
    assert set(places.installed()) == {"first", "furniture"}
    assert left(cache) == []


def test_plain_http_is_for_this_machine_or_for_pinned_content() -> None:
    for host in ("127.0.0.1", "localhost", "[::1]"):
        download.check_address(f"http://{host}:8/x.zip", pinned=False)
    download.check_address("http://example.org/x.zip", pinned=True)
    for url in ("http://example.org/x", "http://127.0.0.1.example.org/x", "http://localhost@example.org/x", "x.zip"):
        with pytest.raises(download.DownloadError):
            download.check_address(url, pinned=False)


def test_a_signature_in_an_address_is_not_shown(
    cache: Path, server: FaultyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code([f"{server.url('none.zip')}?signature=secret"]) == 1
    assert "secret" not in capsys.readouterr().err


def test_pulls_at_once_of_one_name_all_succeed(cache: Path, server: FaultyServer, archive: bytes) -> None:
    url = server.put("furniture.zip", archive, *[Fault(keep=CUT, pause=0.3), Fault(keep=CUT, reset=True)] * 3)
    program = (
        "import sys; from zoo import pull; from zoo.adapter import download; download.PAUSE = 0.01; "
        "sys.exit(pull.main(sys.argv[1:]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    assert [process.wait() for process in started] == [0] * 4, [process.communicate() for process in started]
    assert server.most == 1
    assert list(places.installed()) == ["furniture"]
    assert left(cache) == []


def test_a_stopped_download_keeps_its_part(cache: Path, server: FaultyServer, archive: bytes) -> None:
    url = server.put("furniture.zip", archive, Fault(keep=CUT, pause=30))
    program = "import sys; from zoo import pull; sys.exit(pull.main(sys.argv[1:]))"
    # A shell starts what runs in its background deaf to Ctrl-C, and the deafness is inherited.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        [sys.executable, "-c", program, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hearing
    )
    while not list(cache.glob("downloads/*.part")):
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, b"stopped\n")
    assert left(cache) == [".part", ".validator"]
    assert code([url]) == 0
    assert server.ranges("furniture.zip")[-1].startswith("bytes=")


@pytest.mark.parametrize(("number", "why"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")])
def test_a_full_or_read_only_disk_is_one_line(
    number: int,
    why: str,
    cache: Path,
    server: FaultyServer,
    archive: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    url = server.put("furniture.zip", archive)
    for module, name in ((download.os, "replace"), (install.os, "rename")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            assert code([url]) == 1
        told = capsys.readouterr().err
        assert why in told
        assert "nothing was installed" in told
        assert told.count("\n") == 1
        assert set(left(cache)) <= {".part", ".validator"}
    assert code([url]) == 0
