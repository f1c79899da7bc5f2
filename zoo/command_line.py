"""Read the command line of every command; `--help`, `--list`, `--print`; no torch."""

import _thread
import contextlib
import difflib
import os
import re
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NoReturn

from data_modules.errors import DataError
from zoo import wording
from zoo.errors import UserError
from zoo.files import STORAGE
from zoo.recipe.compose import RecipeError, available, compose, to_yaml
from zoo.recipe.keys import describe
from zoo.recipe.request import Request
from zoo.wording import HELP, MEANT, asks_help

OPTIONS = {
    "--smoke": "apply the recipe's smoke block: seconds on a CPU",
    "--print": "print the resolved recipe and stop",
    "--list": "list the recipes and stop",
    "--help": "or -h; with recipe=NAME: every key, its type, default and meaning",
}


def parse_recipe_command(argv: Sequence[str] | None, command: str, *, extra: Mapping[str, str]) -> Request:
    """Read `recipe=NAME key=value ... [--smoke]`; answer `--help`, `--list` and `--print`, and exit.

    Args:
        argv: words after the command; the program's own when None.
        command: its dotted name.
        extra: keys that belong to the command rather than to the recipe, and their meanings.
    """
    given = ["--help" if word in HELP else word for word in (sys.argv[1:] if argv is None else argv)]
    flags = {word for word in given if word.startswith("-")}
    words = [word for word in given if word not in flags]
    own = {k: v for k, equals, v in (w.partition("=") for w in words) if equals and k in {"recipe", *extra}}
    request = Request(
        own.pop("recipe", ""),
        [word for word in words if word.partition("=")[0] not in {"recipe", *extra}],
        own,
        "--smoke" in flags,
    )
    if "--help" in flags and not request.recipe:
        print(usage(command, extra))
        sys.exit(0)
    bare = [word for word in words if "=" not in word]
    if unknown := sorted(flags - set(OPTIONS)):
        fail([f"unknown option '{f}'.{_meant(f, given, ['recipe', *extra], OPTIONS)}" for f in unknown])
    if "--list" in flags:
        print("\n".join(f"{name:18} {line}" for name, line in available().items()))
        sys.exit(0)
    if not request.recipe:
        if bare and (near := difflib.get_close_matches(bare[0], available(), n=1)):
            fail([f"unknown word '{bare[0]}'.{MEANT}'recipe={near[0]}'?"])
        fail([f"which recipe? {command} recipe=NAME; NAME is one of {', '.join(available())}, or a YAML file"])
    if flags & {"--help", "--print"}:
        try:
            if "--print" in flags:
                print(to_yaml(compose(request.recipe, request.overrides, smoke=request.smoke)), end="")
            else:
                print(describe(request.recipe, request.overrides))
        except RecipeError as error:
            fail(error.problems)
        sys.exit(0)
    return request


def parse_words(
    argv: Sequence[str] | None,
    doc: str,
    *,
    required: Collection[str] = (),
    optional: Collection[str] = (),
    flags: Collection[str] = (),
    bare: str = "",
    free: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """Read the words of a command that takes no recipe; `--help` prints `doc` and exits.

    Args:
        argv: words after the command; the program's own when None.
        doc: what `--help` prints.
        required: keys of `key=value` words that must be there.
        optional: keys that may be.
        flags: words such as `--json` that may be; those given are keys of the result.
        bare: the key whose value may stand alone, as in `zoo.show NAME`.
        free: let other words through, as overrides of a recipe.

    Returns:
        Values of the named keys, and the other words.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    if asks_help(given):
        print(doc.strip())
        sys.exit(0)
    known = [*required, *optional]
    alone = [word for word in given if not re.match(r"-|[\w.]+=", word)]
    if bare and alone:
        given[given.index(alone[0])] = f"{bare}={alone[0]}"
    named = {k: v for k, equals, v in (w.partition("=") for w in given) if equals and k in known}
    named |= {word: "" for word in given if word in flags}
    others = [word for word in given if word.partition("=")[0] not in named]
    problems = [f"missing '{key}=...'" for key in required if not named.get(key)]
    unknown = others if not free else [word for word in others if word.startswith("-")]
    problems += [f"unknown word '{w}'.{_meant(w, given, known, [*known, *flags])}" for w in unknown]
    if problems:
        fail([*problems, doc.strip().partition("\n")[0]])
    return named, others


def _meant(option: str, given: Sequence[str], keys: Collection[str], known: Collection[str]) -> str:
    """` Did you mean 'recipe=tb_ava'?` of `--recipe tb_ava` and of `--recipe=tb_ava`; else the nearest."""
    key, equals, value = option.lstrip("-").partition("=")
    if key.replace("-", "_") in keys and option.startswith("-"):
        after = [word for word in given[given.index(option) + 1 :][:1] if "=" not in word and word[:1] != "-"]
        return f"{MEANT}'{key.replace('-', '_')}={value if equals else next(iter(after), '...')}'?"
    return wording.nearest(option.partition("=")[0], known)


def usage(command: str, extra: Mapping[str, str]) -> str:
    """Help of a command that takes a recipe."""
    first = f"usage: python -m {command} recipe=NAME|FILE.yaml [key=value ...] [{'] ['.join(OPTIONS)}]"
    keys = [f"  {key + '=':13} {meaning}" for key, meaning in extra.items()]
    options = [f"  {option:13} {meaning}" for option, meaning in OPTIONS.items()]
    example = f"example: python -m {command} recipe=tb_ava trainer.max_epochs=3 method.rank=16"
    own = f"your own files: python -m {command} recipe=tb_ava data=folder data.root=DIR"
    return "\n".join([first, "", *keys, *options, "", example, own])


def fail(problems: Sequence[str]) -> NoReturn:
    """Print every problem, one a line, and exit with code 2."""
    for line in problems:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print an expected error as `error: ...` and exit: code 2 for a mistake in the command, 1 for any other;
    130 after Ctrl-C."""
    try:
        with _heard():
            yield
    except RecipeError as error:
        fail(error.problems)
    except (UserError, DataError) as error:
        message = str(error)
    except BrokenPipeError:  # whoever reads has seen enough, `| head` for instance
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in STORAGE and error.filename is None:
            raise
        message = f"{error.filename or 'writing'}: {error.strerror or error}"
    except (MemoryError, RuntimeError) as error:
        if not (message := told(error)):
            raise
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except SystemExit as error:
        if type(error).__name__ != "SIGTERMException":  # Lightning's, which would exit as if all had gone well
            raise
        print("stopped by SIGTERM", file=sys.stderr)
        sys.exit(143)
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Ctrl-C is raised anew where Python drops it, as it does in finalisers and callbacks of weak references, of which
    drawing makes thousands."""
    before = sys.unraisablehook

    def again(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # Not at once, which would raise it here, where it is dropped as well.
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            before(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def told(error: Exception) -> str:
    """One line of an error that libraries raise over what a user asked for; empty where it is another."""
    words = " ".join(str(error).split())
    if isinstance(error, MemoryError) or re.search("not enough memory|can't allocate memory|out of memory", words):
        size = re.search(r"allocate ([\d.]+ ?\w+(?: beside .* held)?)", words)
        much = f" ({size[1]})" if size else ""
        return f"the memory is too small for what is asked{much}: take smaller widths, ranks or batches"
    return words if type(error).__name__ == "MisconfigurationException" else ""
