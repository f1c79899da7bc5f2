"""Fetch an adapter from a URL, a folder or a hub; it is verified before it is installed."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zoo import files
from zoo.adapter import directory, download, places
from zoo.adapter.install import check_name, copy, inspect, install, staging
from zoo.adapter.unpack import LIMITS, SUFFIXES, unpack
from zoo.backbones import hashes, hub, weights
from zoo.backbones.weights import WeightsError
from zoo.errors import UserError
from zoo.files import file_hash
from zoo.recipe import sources
from zoo.recipe.compose import compose


class PullError(UserError):
    """An adapter cannot be fetched from the given source."""


def pull(word: str, *, name: str = "", sha256: str | None = None, replace: bool = False) -> str:
    """Put an adapter into the cache, unless it comes with the zoo or is there already.

    Args:
        word: a name, an address or a path.
        name: what to call it; by default what the address ends in.
        sha256: of the archive or of the listing SHA256SUMS.
        replace: take the place of another adapter of this name.

    Returns:
        The name to use it by.

    Raises:
        UserError: the source is unreachable, another file, or not sound, or the name is taken.
    """
    known = places.bundled() | places.installed()
    if word in known:
        _pinned(known[word] / "SHA256SUMS", sha256, word)
        inspect(known[word])
        print(f"{word} is there already and sound: {known[word]}")
        return word
    if "://" in word and not word.startswith("hf://"):
        download.check_address(word, pinned=sha256 is not None)
    name = name or _last(word)
    check_name(name)
    with staging() as scratch:
        staged = Path(scratch) / name
        staged.mkdir()
        digest = _fetch(word, staged, Path(scratch) / "archive", sha256)
        new = install(staged, name, source=download.shown(word) if "://" in word else word, replace=replace)
    print(f"{name}: installed from {word}" if new else f"{name} is there already, with the same content")
    if new and sha256 is None and "://" in word:
        print(
            "its checksums came with it: they show that it is whole, not who made it; "
            f"sha256={digest} takes this content only"
        )
    return name


def _fetch(word: str, staged: Path, archive: Path, sha256: str | None) -> str:
    """Bring the files of an adapter into `staged`; returns the sha256 that pins them."""
    if word.startswith("hf://"):
        if not re.fullmatch(r"[\w.\-]+/[\w.\-]+(@[\w.\-/]+)?", word.removeprefix("hf://")):
            raise PullError(f"{word!r}: expected hf://USER/REPO or hf://USER/REPO@REVISION")
        source = hub.snapshot(word.removeprefix("hf://"), tuple(LIMITS), by_hand="pull its folder by path")
        return _copied(source, staged, sha256, word, cache=source.parents[1])  # .../snapshots/COMMIT
    if "://" in word:
        if urlsplit(word).path.endswith(SUFFIXES):
            digest = download.fetch(word, archive, limit=sum(LIMITS.values()), sha256=sha256)
            unpack(archive, staged, shown=download.shown(word))
            return digest
        return _fetch_directory(word, staged, sha256)
    path = Path(word).expanduser()
    if path.is_file():
        _pinned(path, sha256, word)
        unpack(path, staged)
        return file_hash(path)
    return _copied(places.find_adapter(word), staged, sha256, word)


def _fetch_directory(url: str, staged: Path, sha256: str | None) -> str:
    """The files of a directory that a server offers one by one: first their checksums, then what those name."""
    base = f"{url.rstrip('/')}/"
    if urlsplit(url).query:
        raise PullError(
            f"{download.shown(url)}: expected an archive ({', '.join(SUFFIXES)}), or a folder's plain address"
        )
    listing = staged / "SHA256SUMS"
    digest = download.fetch(f"{base}SHA256SUMS", listing, limit=LIMITS["SHA256SUMS"], sha256=sha256)
    for name, expected in directory.checksums(staged).items():
        # A download of another version of a file ends here; it is never requested twice.
        download.fetch(f"{base}{name}", staged / name, limit=LIMITS[name], sha256=expected)
    return digest


def _copied(source: Path, staged: Path, sha256: str | None, word: str, *, cache: Path | None = None) -> str:
    copy(source, staged, cache=cache)
    _pinned(staged / "SHA256SUMS", sha256, word)
    return file_hash(staged / "SHA256SUMS")


def _pinned(file: Path, sha256: str | None, word: str) -> None:
    if sha256 and file.is_file() and (found := file_hash(file)) != sha256:
        raise PullError(f"{word}: {file.name} has sha256 {found}, expected {sha256}; nothing was installed")


def _last(word: str) -> str:
    """Last part of an address or path, without the suffix of an archive."""
    path = unquote(urlsplit(word).path) if "://" in word and not word.startswith("hf://") else word.partition("@")[0]
    name = Path(path).expanduser().resolve().name if "://" not in word else path.rstrip("/").rpartition("/")[2]
    name = next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)
    if name == "adapter":
        raise PullError(f"{word} ends in 'adapter', as every run's does: say what to call it with name=NAME")
    return name


def fetch_weights(folder: Path) -> list[str]:
    """Fetch and check the weights that an adapter's backbones start from; imports no torch and builds no model.

    Returns:
        A line for every source that cannot be had now.
    """
    config = compose(str(folder / "recipe.yaml"))
    problems = []
    named = [
        source for block in config.backbones.values() if block for source in sources.weight_sources(block).values()
    ]
    for source in dict.fromkeys(named):
        kind = weights.parse(source).kind
        if kind in ("timm", "open_clip"):
            if not weights.here(source):
                problems.append(f"{source}: its library fetches it at first use, which needs the hub once")
        elif kind != "random":
            try:
                print(f"weights {source}: {weights.resolve(source)}")
            except UserError as error:
                problems.append(str(error))
    return problems


def verify() -> bool:
    """Check every adapter and every stored weight file, a line each; whether all are sound."""
    sound = True
    for kind, label, problem in _checks():
        sound = sound and not problem
        print(f"{'FAILED' if problem else 'ok':6}  {kind:18}  {label}{f': {problem}' if problem else ''}")
    return sound


def _checks() -> Iterator[tuple[str, str, str]]:
    """Kind, name and problem (empty where there is none) of everything that has a checksum."""
    for kind, folders, advice in (
        ("bundled adapter", places.bundled(), "install the zoo again"),
        ("installed adapter", places.installed(), "pull it again"),
    ):
        for name, folder in folders.items():
            try:
                inspect(folder)
                problem = ""
            except (UserError, OSError) as error:
                problem = f"{error}; {advice}"
            yield kind, name, problem
    for name in weights.shipped():
        try:
            with hashes.anew():
                weights.resolve(f"zoo:{name}")
            problem = ""
        except WeightsError as error:
            problem = str(error)
        yield "shipped weights", name, problem
    for path, intact in hashes.stored(files.cache_dir()):
        label = path.relative_to(files.cache_dir()).as_posix()
        yield "fetched weights", label, "" if intact else f"{path} was altered; it is fetched again at its next use"
