"""Damage of a file that a seed and a number repeat exactly, and a bound on the time and memory of reading it."""

import contextlib
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import numpy as np

SECONDS = 20
ROOM = 3 << 30
"""Bytes beyond what the process has."""
EDGES = [b"\0" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x80" + b"\0" * 7, b"\xff\xff\xff\x7f"]
EDGES += [b"nan ", b"-1", b"1e999"]
WORDS = ["", "null", "nan", ".inf", "-1", "1e400", "9" * 5000, "[" * 3000, "{", "}", "&a", "*a", "~", "true", "\0"]
WORDS += ["!!python/object:x.y ", "\ud7ff", "é", "'", '"', "`", "../..", "/etc/passwd", "${oc.env:HOME}", "<<: ", "- "]
WORDS += [": ", "#", "\t", "os.system", "data_modules.", "zoo.methods.mantis.Mantis", "[1, [2, [3]]]", "{a: b}"]
WORDS += ["2 " * 200, "\r", "\n\n", "|"]


class HangError(BaseException):
    """Not an `Exception`: what catches those of decoders must not take it for one of theirs."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """A block that may take SECONDS and ROOM."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise HangError(f"more than {SECONDS} s")

    before, limits = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes, of which half lie in the first 512 bytes, where headers are."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        if not data:
            break
        reach = min(512, len(data)) if rng.random() < 0.5 else len(data)
        at, length = int(rng.integers(reach)), int(rng.integers(1, 64))
        match int(rng.integers(9)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2:
                del data[at:]
            case 3:
                data[at : at + length] = bytes(len(data[at : at + length]))
            case 4:
                data[at:at] = rng.bytes(length)
            case 5:
                del data[at : at + length]
            case 6:
                data[at:at] = data[at : at + length]
            case 7:
                edge = EDGES[rng.integers(len(EDGES))]
                data[at : at + len(edge)] = edge
            case 8:
                other = int(rng.integers(len(data)))
                data[at : at + length] = data[other : other + length]
    return bytes(data)


def misspelt(text: str, rng: np.random.Generator) -> str:
    """One to four changes of a text's lines, words and letters."""
    for _ in range(rng.integers(1, 5)):
        lines = text.splitlines(keepends=True) or [""]
        row, word = int(rng.integers(len(lines))), WORDS[rng.integers(len(WORDS))]
        line = lines[row]
        at = int(rng.integers(len(line) + 1))
        match int(rng.integers(7)):
            case 0:
                lines[row] = line[:at] + word + line[at:]
            case 1:
                head, mark, _ = line.partition(":")
                lines[row] = f"{head}{mark} {word}\n"
            case 2:
                lines[row] = ""
            case 3:
                lines[row] = line * 2
            case 4:
                lines[row] = " " * int(rng.integers(1, 6)) + line
            case 5:
                lines[row] = line.lstrip()
            case 6:
                other = int(rng.integers(len(lines)))
                lines[row], lines[other] = lines[other], line
        text = "".join(lines)
    return text


def faults(number: int, case: Callable[[np.random.Generator, int], str], seed: int = 0) -> list[str]:
    """What is wrong with each of so many cases.

    Args:
        number: of cases.
        case: makes one and tries it; says what is wrong, nothing where it is read or refused as it should be.
        seed: of all cases.
    """
    found = []
    for k in range(number):
        try:
            with bounded():
                wrong = case(np.random.default_rng([seed, k]), k)
        except (Exception, HangError, SystemExit) as error:
            wrong = f"{type(error).__name__}: {error}"[:300]
        if wrong:
            found.append(f"case {k}: {wrong}")
    return found


def refusal(error: Exception, names: Sequence[str]) -> str:
    """Whether a message is one line that names what it is about."""
    text = str(error)
    if "\n" in text.strip() and "mistakes:" not in text:
        return f"several lines: {text[:300]!r}"
    return "" if any(name in text for name in names) else f"it names none of {', '.join(names)}: {text[:300]!r}"
