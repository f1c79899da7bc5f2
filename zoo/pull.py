"""`python -m zoo.pull NAME|hf://USER/REPO[@REVISION]|https://...|PATH [KEY=VALUE ...]`, or `--verify`: get an adapter.

Fetches an adapter, checks it and puts it into the cache, with the weights of its backbones, so that every later use
works offline. NAME is an adapter that comes with the zoo: it is checked and its weights are fetched. An address or path
names an archive (.zip, .tar, .tar.gz) or an adapter directory. The same command resumes an interrupted download.

    name=NAME        name of the installed adapter; by default the last part of the address
    sha256=HEX       required digest of the archive, or of the directory's SHA256SUMS
    weights=false    do not fetch the backbones' weights now
    replace=true     replace another adapter of that name
    --verify         check every adapter and every stored weight file; fetch nothing
"""

import re
import sys

from zoo import files
from zoo.adapter import places
from zoo.adapter.get import PullError, fetch_weights, pull, verify
from zoo.command_line import called, fail, parse_arguments, user_errors
from zoo.files import STORAGE


def main(argv: list[str] | None = None) -> int:
    """Pull an adapter; exit code 2 on a mistake in the command, 1 where it cannot be had or is not sound."""
    keys = ("adapter", "name", "sha256", "weights", "replace")
    named, _ = parse_arguments(argv, __doc__ or "", optional=keys, flags=("--verify",), bare="adapter")
    if problems := _mistakes(named):
        fail(problems)
    with user_errors():
        if "--verify" in named:
            return 0 if verify() else 1
        try:
            name = pull(
                named["adapter"],
                name=named.get("name", ""),
                sha256=named.get("sha256", "").lower() or None,
                replace=named.get("replace") == "true",
            )
        except OSError as error:
            advice = ". Free some room, or set ZOO_CACHE to a folder that you may write; the same command then goes on"
            raise PullError(
                f"{error.filename or files.cache_dir()}: {error.strerror or error}; nothing was installed"
                f"{advice if error.errno in STORAGE else ''}"
            ) from None
        problems = fetch_weights(places.find_adapter(name)) if named.get("weights") != "false" else []
        for line in problems:
            print(f"error: {line}", file=sys.stderr)
        if problems:
            print(f"{name} is installed, but cannot be used before it has these weights", file=sys.stderr)
            return 1
    print(called(f"use it: python -m zoo.predict adapter={name} input=FILE"))
    return 0


def _mistakes(named: dict[str, str]) -> list[str]:
    if "--verify" in named:
        return [
            f"'{key}' has no meaning beside --verify, which checks everything" for key in named if key != "--verify"
        ]
    problems = [] if named.get("adapter") else ["what to pull? NAME, hf://USER/REPO, https://... or a path"]
    problems += [
        f"{key}={named[key]}: expected true or false"
        for key in ("weights", "replace")
        if named.get(key, "true") not in ("true", "false")
    ]
    if not re.fullmatch(r"[0-9a-fA-F]{64}", named.get("sha256", "0" * 64)):
        problems.append(f"sha256={named['sha256']}: expected 64 hexadecimal digits")
    return problems


if __name__ == "__main__":
    sys.exit(main())
