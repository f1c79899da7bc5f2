"""Fetch one file over HTTP: resumable, bounded, and checked before anyone sees it under its own name.

What has arrived lies in the cache's `downloads/` as `*.part`, with the server's validator (ETag or date) beside it. The
next attempt asks for the rest with `Range` and `If-Range`, so a file that changed on the server starts over, as it does
where the server ignores ranges. Plain `http://` is refused except on this machine or where a sha256 is given: then it
does not matter who carried the bytes. A redirect never leads from https to anything else.
"""

import hashlib
import http.client
import logging
import os
import re
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urljoin, urlsplit

from filelock import FileLock

from zoo.errors import UserError
from zoo.files import cache_dir, file_hash
from zoo.version import __version__

ATTEMPTS = 5

PAUSE = 0.5
"""Seconds before the second attempt; each further pause is twice as long."""

TIMEOUT = 20.0
"""Seconds for connecting, and for each silence of the server."""

SLOWEST, WINDOW = 1024, 30.0
"""Bytes per second that a server must give over so many seconds."""

REDIRECTS = 5

LOCAL = ("localhost", "127.0.0.1", "::1")

log = logging.getLogger(__name__)


class DownloadError(UserError):
    """A file cannot be fetched, or is not what it should be; the message says why and what to do."""


class _PassingError(Exception):
    """A fault that another attempt may not meet."""


def fetch(url: str, target: Path, *, limit: int, sha256: str | None = None) -> str:
    """Download a file to `target`, on the disk of the cache.

    Args:
        url: https, or http as the module says.
        target: appears whole, and only when its checksum is right.
        limit: most bytes it may have.
        sha256: what it must have.

    Returns:
        Its sha256.

    Raises:
        DownloadError: refused, missing, truncated or slow time after time, too large, or other content than expected.
    """
    part = part_file(url)
    part.parent.mkdir(parents=True, exist_ok=True)
    lock = Path(f"{part}.lock")
    with FileLock(lock):  # a second pull of the same file waits, then goes on from what is there
        try:
            if not (sha256 and part.exists() and file_hash(part) == sha256):
                _persist(url, part, limit=limit, pinned=sha256 is not None)
            found = file_hash(part)
            if sha256 and found != sha256:
                _forget(part)
                raise DownloadError(
                    f"{shown(url)} has sha256 {found}, expected {sha256}: another file than the requested one, or "
                    "damaged on its way; it was deleted and nothing was installed"
                )
            os.replace(part, target)
            _forget(part)
        finally:
            lock.unlink(missing_ok=True)
    return found


def part_file(url: str) -> Path:
    """Path of a partial download."""
    name = re.sub(r"[^\w.\-]", "_", unquote(urlsplit(url).path).rpartition("/")[2]) or "file"
    return cache_dir() / "downloads" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name[-80:]}.part"


def shown(url: str) -> str:
    """An address without what may be secret in it: a query often carries a signature."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return repr(url.partition("?")[0].rpartition("@")[2])


def _persist(url: str, part: Path, *, limit: int, pinned: bool) -> None:
    """Attempt after attempt until `part` is whole."""
    fault = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            log.warning("%s: %s; trying again", shown(url), fault)
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _transfer(url, part, limit=limit, pinned=pinned)
            return
        except _PassingError as error:
            fault = str(error)
    kept = f"{part.stat().st_size:,} bytes are kept and the same command goes on from there" if part.exists() else ""
    raise DownloadError(f"{shown(url)}: {fault} ({ATTEMPTS} attempts); {kept or 'nothing has come yet, try later'}")


def _transfer(url: str, part: Path, *, limit: int, pinned: bool) -> None:
    """One attempt: the whole file, or the rest of it."""
    validator = _validator_file(part)
    start = part.stat().st_size if part.exists() and validator.exists() else 0
    known = validator.read_text(encoding="utf-8") if start else ""
    ranged = {"Range": f"bytes={start}-", "If-Range": known} if start else {}
    try:
        with _open(url, ranged, pinned) as response:
            if response.status == http.client.PARTIAL_CONTENT:
                _check_continues(response, part, start, known)
            elif response.status == http.client.OK:
                start = 0
                _forget(part)
                if fresh := _validator(response):
                    validator.write_text(fresh, encoding="utf-8")
            else:
                raise DownloadError(f"{shown(url)}: the server answered {response.status}, which is no file")
            _receive(response, part, start, limit, url)
    except HTTPError as error:
        _refused(error, url, part, start)
    except http.client.InvalidURL as error:
        raise DownloadError(f"{url!r} is no address: {error}") from None
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"{shown(url)}: its certificate is not trusted: {error.reason}") from None
        raise _PassingError(f"the server cannot be reached ({error.reason})") from None
    except TimeoutError:
        raise _PassingError(f"the server was silent for {TIMEOUT:g} s") from None
    except (ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        raise _PassingError(f"the connection broke ({error or type(error).__name__})") from None


def _open(url: str, headers: dict[str, str], pinned: bool) -> http.client.HTTPResponse:
    """Follow redirects to an answer; of urllib's handlers only those for http and https are there."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    agent = {"User-Agent": f"multimodal-peft-zoo/{__version__}", "Accept-Encoding": "identity"}
    requested = url
    for _ in range(REDIRECTS + 1):
        check_address(url, pinned=pinned)
        try:
            response: http.client.HTTPResponse = opener.open(
                urllib.request.Request(url, headers=agent | headers), timeout=TIMEOUT
            )
            return response
        except HTTPError as error:
            place = error.headers.get("Location")
            if error.code not in (301, 302, 303, 307, 308) or not place:
                raise
            error.close()
            if wrong := _malformed(url, place):
                raise DownloadError(f"{shown(requested)} redirects to what is no address: {wrong}") from None
            there = urljoin(url, place)
            if urlsplit(url).scheme == "https" and urlsplit(there).scheme != "https":
                raise DownloadError(f"{shown(requested)} redirects from https to {shown(there)}: refused") from None
            url = there
    raise DownloadError(f"{shown(requested)} redirects more than {REDIRECTS} times")


def check_address(url: str, *, pinned: bool) -> None:
    """Refuse what is no address, or neither https nor a safe kind of http.

    Raises:
        DownloadError: saying what would be taken.
    """
    if wrong := _malformed(url):
        raise DownloadError(f"{shown(url)} is no address: {wrong}; expected https://HOST/PATH")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DownloadError(f"{url!r}: expected https://HOST/PATH; no other kind of address is followed")
    if parts.username is not None:
        raise DownloadError(
            f"{shown(url)}: an address with a user name is refused; download it by hand and pull the file"
        )
    if parts.scheme == "http" and parts.hostname not in LOCAL and not pinned:
        raise DownloadError(
            f"{shown(url)} is not encrypted, so anyone on the way could change it: use https, or pin the content with "
            "sha256=..."
        )


def _malformed(url: str, place: str = "") -> str:
    """Why a text, or a path relative to it, is no valid address; empty if it is one."""
    try:
        whole = urljoin(url, place) if place else url
        _ = urlsplit(whole).port  # parsed lazily; an invalid port raises here
    except ValueError as error:
        return str(error)
    return "" if whole.isascii() and whole.isprintable() and " " not in whole else "letters beyond ASCII stand as %XX"


def _check_continues(response: http.client.HTTPResponse, part: Path, start: int, known: str) -> None:
    """A part is continued only by the same file, from the byte where it ended."""
    begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if begins is None or int(begins[1]) != start or (_validator(response) or known) != known:
        _forget(part)
        raise _PassingError("the file changed on the server, so the download starts over")


def _validator(response: http.client.HTTPResponse) -> str:
    """Strong validator of a file's version; a weak ETag does not guarantee equal bytes."""
    tag = str(response.headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(response.headers.get("Last-Modified", ""))


def _refused(error: HTTPError, url: str, part: Path, start: int) -> None:
    """An answer with an error code; returns where it means that all is there already."""
    error.close()
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        if error.headers.get("Content-Range", "") == f"bytes */{start}":
            return
        _forget(part)
        raise _PassingError("the file changed on the server, so the download starts over") from None
    if error.code in (401, 403):
        why = "the server does not give it to everyone; download it by hand and pull the file"
    elif error.code in (404, 410):
        why = "there is no such file; check the address"
    elif error.code in (408, 429) or error.code >= 500:
        raise _PassingError(f"the server answered HTTP {error.code}") from None
    else:
        why = "the server refuses the request"
    raise DownloadError(f"{shown(url)}: HTTP {error.code}: {why}") from None


def _receive(response: http.client.HTTPResponse, part: Path, start: int, limit: int, url: str) -> None:
    """Append the body to the part; a part that can never become the file is deleted."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    total = None if response.length is None else start + response.length
    have, since, mark = start, time.monotonic(), start
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(
        *columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True
    )
    with bar, part.open("ab") as file:
        task = bar.add_task(part.name.partition("-")[2].removesuffix(".part"), total=total, completed=start)
        while (total is None or have < total) and (chunk := response.read1(1 << 16)):
            have += len(chunk)
            if max(have, total or 0) > limit:
                _forget(part)
                raise DownloadError(f"{shown(url)} has {max(have, total or 0):,} bytes; at most {limit:,} are taken")
            file.write(chunk)
            bar.update(task, completed=have)
            if (passed := time.monotonic() - since) > WINDOW:
                if have - mark < SLOWEST * passed:
                    raise _PassingError(f"the server gave less than {SLOWEST} bytes a second")
                since, mark = time.monotonic(), have
    if total is not None and have < total:
        raise _PassingError(f"the connection ended after {have:,} of {total:,} bytes")


def _validator_file(part: Path) -> Path:
    return part.with_suffix(".validator")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_file(part).unlink(missing_ok=True)
