"""Parses the arguments of every command, with `--help`, `--list` and `--print`; imports no torch.

A command that names itself, or another one, does so in the way in which it was called: see `called`.
"""

import _thread
import contextlib
import difflib
import os
import re
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from zoo import wording
from zoo.errors import OPTIONAL, UserError, lacking
from zoo.files import STORAGE
from zoo.recipe.compose import RecipeError, available, compose, to_yaml
from zoo.recipe.keys import describe
from zoo.recipe.request import Request
from zoo.records import torchaudio
from zoo.wording import HELP, MEANT, asks_help

OPTIONS = {
    "--smoke": "apply the recipe's smoke block: seconds on a CPU",
    "--print": "print the resolved recipe and stop",
    "--list": "list the recipes and stop",
    "--help": "or -h; with recipe=NAME: every key, its type, default and meaning",
}

CALLED = "ZOO_CALLED"
"""Environment variable: how `zoo` itself was called, `zoo` or `python -m zoo`. Unset where a command was called without
it. The processes that a command starts inherit it, so that they speak alike."""

TAKES = "--takes"
"""What completion says to a command in place of arguments."""


@dataclass(frozen=True)
class Takes:
    """What a command takes.

    Attributes:
        keys: of its own `key=value` arguments; meanings where there are any.
        options: that begin with a dash; likewise.
        bare: the key whose value may be given without `key=`.
        recipe: whether it takes a recipe's keys as well.
        help: what its own values are told in.
    """

    keys: Mapping[str, str]
    options: Mapping[str, str] = field(default_factory=dict)
    bare: str = ""
    recipe: bool = False
    help: str = ""


class Asked(SystemExit):
    """Ends a command that was asked what it takes, before it does anything."""

    def __init__(self, takes: Takes) -> None:
        super().__init__(0)
        self.takes = takes


def called(text: str) -> str:
    """A text with its commands named as the user calls them: `zoo train` for `python -m zoo.train`."""
    way = os.environ.get(CALLED, "")
    return re.sub(r"python -m zoo\.([a-z]\w*)", lambda found: f"{way} {found[1]}", text) if way else text


def parse_recipe_command(argv: Sequence[str] | None, command: str, doc: str, *, extra: Mapping[str, str]) -> Request:
    """Read `recipe=NAME key=value ... [--smoke]`; answer `--help`, `--list` and `--print`, and exit.

    Args:
        argv: arguments after the command; the program's own when None.
        command: its dotted name.
        doc: what it does, which `--help` prints; it begins with the command in backquotes and a colon.
        extra: keys of the command itself, not of the recipe, and their meanings.
    """
    supplied = ["--help" if argument in HELP else argument for argument in (sys.argv[1:] if argv is None else argv)]
    if supplied == [TAKES]:
        raise Asked(Takes({"recipe": "a recipe's name, or a YAML file", **extra}, OPTIONS, recipe=True))
    flags = {argument for argument in supplied if argument.startswith("-")}
    arguments = [argument for argument in supplied if argument not in flags]
    own = {k: v for k, equals, v in (w.partition("=") for w in arguments) if equals and k in {"recipe", *extra}}
    request = Request(
        own.pop("recipe", ""),
        [argument for argument in arguments if argument.partition("=")[0] not in {"recipe", *extra}],
        own,
        "--smoke" in flags,
    )
    if "--help" in flags and not request.recipe:
        _tell(called(usage(command, doc, extra)))
    bare = [argument for argument in arguments if "=" not in argument]
    if unknown := sorted(flags - set(OPTIONS)):
        fail([f"unknown option '{f}'.{_meant(f, supplied, ['recipe', *extra], OPTIONS)}" for f in unknown])
    if "--list" in flags:
        _tell("\n".join(f"{name:18} {line}" for name, line in available().items()))
    if not request.recipe:
        if bare and (near := difflib.get_close_matches(bare[0], available(), n=1)):
            fail([f"unknown argument '{bare[0]}'.{MEANT}'recipe={near[0]}'?"])
        names = ", ".join(available())
        fail([f"which recipe? python -m {command} recipe=NAME; NAME is one of {names}, or a YAML file"])
    if flags & {"--help", "--print"}:
        try:
            if "--print" in flags:
                told = to_yaml(compose(request.recipe, request.overrides, smoke=request.smoke)).removesuffix("\n")
            else:
                told = called(describe(request.recipe, request.overrides))
        except RecipeError as error:
            fail(error.problems)
        _tell(told)
    return request


def parse_arguments(
    argv: Sequence[str] | None,
    doc: str,
    *,
    required: Collection[str] = (),
    optional: Collection[str] = (),
    flags: Collection[str] = (),
    bare: str = "",
    free: bool = False,
) -> tuple[dict[str, str], list[str]]:
    """Parse the arguments of a command that takes no recipe; `--help` prints `doc` and exits.

    Args:
        argv: arguments after the command; the program's own when None.
        doc: what `--help` prints.
        required: keys of required `key=value` arguments.
        optional: keys of optional ones.
        flags: options such as `--json`; those present are keys of the result.
        bare: the key whose value may be given without `key=`, as in `zoo.show NAME`.
        free: pass other arguments through, as overrides of a recipe.

    Returns:
        Values of the named keys, and the other arguments.
    """
    supplied = list(sys.argv[1:] if argv is None else argv)
    if asks_help(supplied):
        _tell(called(doc.strip()))
    known = [*required, *optional]
    if supplied == [TAKES]:
        raise Asked(Takes(dict.fromkeys(known, ""), dict.fromkeys([*flags, "--help"], ""), bare, free, doc))
    alone = [argument for argument in supplied if not re.match(r"-|[\w.]+=", argument)]
    if bare and alone:
        supplied[supplied.index(alone[0])] = f"{bare}={alone[0]}"
    named = {k: v for k, equals, v in (w.partition("=") for w in supplied) if equals and k in known}
    named |= {argument: "" for argument in supplied if argument in flags}
    others = [argument for argument in supplied if argument.partition("=")[0] not in named]
    problems = [f"missing '{key}=...'" for key in required if not named.get(key)]
    unknown = others if not free else [argument for argument in others if argument.startswith("-")]
    problems += [f"unknown argument '{w}'.{_meant(w, supplied, known, [*known, *flags])}" for w in unknown]
    if problems:
        fail([*problems, doc.strip().partition("\n")[0]])
    return named, others


def _meant(option: str, supplied: Sequence[str], keys: Collection[str], known: Collection[str]) -> str:
    """` Did you mean 'recipe=tb_ava'?` of `--recipe tb_ava` and of `--recipe=tb_ava`; else the nearest."""
    key, equals, value = option.lstrip("-").partition("=")
    if key.replace("-", "_") in keys and option.startswith("-"):
        after = [
            argument
            for argument in supplied[supplied.index(option) + 1 :][:1]
            if "=" not in argument and argument[:1] != "-"
        ]
        return f"{MEANT}'{key.replace('-', '_')}={value if equals else next(iter(after), '...')}'?"
    return wording.nearest(option.partition("=")[0], known)


def usage(command: str, doc: str, extra: Mapping[str, str]) -> str:
    """Help of a command that takes a recipe."""
    does = doc.strip().partition("`: ")[2]
    first = f"usage: python -m {command} recipe=NAME|FILE.yaml [key=value ...] [{'] ['.join(OPTIONS)}]"
    keys = [f"  {key + '=':13} {meaning}" for key, meaning in extra.items()]
    options = [f"  {option:13} {meaning}" for option, meaning in OPTIONS.items()]
    example = f"example: python -m {command} recipe=tb_ava trainer.max_epochs=3 method.rank=16"
    own = f"your own files: python -m {command} recipe=tb_ava data=folder data.root=DIR"
    return "\n".join([first, "", does[:1].upper() + does[1:], "", *keys, *options, "", example, own])


def fail(problems: Sequence[str]) -> NoReturn:
    """Print every problem on its own line and exit with code 2."""
    for line in problems:
        print(f"error: {called(line)}", file=sys.stderr)
    sys.exit(2)


def _tell(text: str) -> NoReturn:
    """Print what was asked for and exit; whoever reads it may stop before its end (`| head`)."""
    with user_errors():
        print(text, flush=True)
    sys.exit(0)


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print an expected error as `error: ...` and exit: code 2 for a mistake in the command, 1 for any other;
    130 after Ctrl-C."""
    try:
        with _heard():
            yield
    except RecipeError as error:
        fail(error.problems)
    except UserError as error:
        message = str(error)
    except BrokenPipeError:  # the reader has closed the pipe, `| head` for instance
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ImportError, MemoryError, RuntimeError, OSError) as error:
        if not (message := message_of(error)):
            raise
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except SystemExit as error:
        if type(error).__name__ != "SIGTERMException":  # Lightning's, which would exit with code 0
            raise
        print("stopped by SIGTERM", file=sys.stderr)
        sys.exit(143)
    else:
        return
    print(f"error: {called(message)}", file=sys.stderr)
    sys.exit(1)


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Raise Ctrl-C again if Python drops it, as it does in finalisers and weak-reference callbacks; drawing runs
    thousands of these."""
    before = sys.unraisablehook

    def again(dropped: "sys.UnraisableHookArgs") -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # Later, because it would be dropped again if it were raised here.
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            before(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def message_of(error: Exception) -> str:
    """One line about a library's error that the user's settings or machine caused; empty for any other error."""
    arguments = " ".join(str(error).split())
    if isinstance(error, MemoryError) or re.search("not enough memory|can't allocate memory|out of memory", arguments):
        size = re.search(r"allocate ([\d.]+ ?\w+(?: beside .* held)?)", arguments)
        much = f" ({size[1]})" if size else ""
        return f"the memory is too small for these settings{much}: take smaller widths, ranks or batches"
    if isinstance(error, ModuleNotFoundError) and (name := str(error.name).partition(".")[0]) in OPTIONAL:
        return f"this needs {lacking(name)}"
    if torchaudio.broke(error):
        return torchaudio.remedy()
    if isinstance(error, OSError) and (error.errno in STORAGE or error.filename is not None):
        return f"{error.filename or 'writing'}: {error.strerror or error}"
    return arguments if type(error).__name__ == "MisconfigurationException" else ""
