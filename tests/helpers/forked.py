"""Commands in processes of their own, forked from one interpreter that has imported them and done nothing else.

A command in a new process spends seven of its eight seconds on imports. `command` gives what `python -m NAME WORDS`
would: an interpreter in which nothing has run yet, the caller's environment as it is at the call, its own streams and
process group, an exit code, and everything Python does at its end. It is for tests whose point is the *new process*;
those about imports or signals start Python itself.

`python forked.py` is that interpreter: it reads a request a line, forks, and answers with the child's number and, once
it has ended, with its exit code. It ends when nobody can ask any more.
"""

import contextlib
import importlib
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TextIO

ROOT = Path(__file__).parents[2]
WARM = ("zoo.training.fit", "zoo.inference.job", "zoo.recipe.build")
"""What commands import once their arguments are read: what most of their time goes into."""
LATER = (
    "timm",
    "transformers.models.auto.modeling_auto",
    "av",
    "scipy.signal",
    "matplotlib.pyplot",
    "numba.typed",
    "trimesh",
    "laspy",
    "rasterio",
    "torch.utils.tensorboard",
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
)
"""What these import only once they need it."""
READ_AT_IMPORT = ("CUDA", "GOTO", "HF_", "KMP_", "MKL", "MPL", "NUMBA", "OMP", "OPENBLAS", "PYTHON", "TORCH", "TQDM")
"""Beginnings of variables that libraries look at once, when they are imported."""


class Server:
    """The warmed interpreter, for one process of tests.

    Args:
        environment: that it starts with.

    Raises:
        RuntimeError: it could not start; what it said stands on standard error.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # OpenBLAS, which NumPy brings, would start its threads when it is imported, and a fork has one thread.
            env={**self.environment, "OPENBLAS_NUM_THREADS": "1"},
        )
        self.asking = threading.Lock()
        if self._line() != "ready":
            raise RuntimeError("the interpreter that commands are forked from did not start")

    def ask(self, request: Mapping[str, Any], seconds: float) -> int:
        """Exit code of a request; negative as `subprocess` has it where a signal ended it.

        Raises:
            TimeoutError: it took longer, and was killed with everything that it had started.
        """
        with self.asking:
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            child = int(self._line())
            late = threading.Event()

            def kill() -> None:
                late.set()
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)

            timer = threading.Timer(seconds, kill)
            timer.start()
            try:
                code = int(self._line())
            finally:
                timer.cancel()
        if late.is_set():
            raise TimeoutError(f"{request['name']} {request['words']} took longer than {seconds:g} s")
        return code

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether nothing that was read when the interpreter started differs."""
        named = {name for name in {*environment, *self.environment} if name.startswith(READ_AT_IMPORT)}
        return all(environment.get(name) == self.environment.get(name) for name in named)

    def close(self) -> None:
        """End it."""
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


_servers: list[Server] = []
_started: Any = subprocess.run  # tests put `run` in its place


def command(
    name: str,
    words: Sequence[object],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = False,
    seconds: float = 600,
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run([python, -m, name, *words], capture_output=True, text=True)` gives.

    Args:
        name: of a module, as behind `python -m`.
        words: behind it.
        cwd: the caller's by default.
        env: the whole environment; the caller's by default.
        check: as in `subprocess.run`.
        seconds: after which it is killed.

    Where `env` differs in what libraries read when they are imported, an interpreter with that is started first.

    Raises:
        TimeoutError: it took longer than `seconds`.
    """
    environment = dict(os.environ if env is None else env)
    environment.pop("PYTEST_CURRENT_TEST", None)
    if _servers and not _servers[0].fits(environment):
        close()
    if not _servers:
        _servers.append(Server(environment))
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        request = {
            "name": name,
            "words": [str(word) for word in words],
            "cwd": str(cwd or Path.cwd()),
            "env": environment,
            "out": str(out),
            "err": str(err),
        }
        code = _servers[0].ask(request, seconds)
        done = subprocess.CompletedProcess([name, *request["words"]], code, out.read_text(), err.read_text())
    if check:
        done.check_returncode()
    return done


def run(line: Sequence[object], **settings: Any) -> subprocess.CompletedProcess[str]:
    """In the place of `subprocess.run`: lines that begin with `python -m zoo.` or `data_modules.` are forked.

    Args:
        line: program, `-m`, module and words.
        **settings: those of `command`; what tells where the streams go means nothing, for they are always caught.
    """
    if line[:2] != [sys.executable, "-m"] or not str(line[2]).startswith(("zoo.", "data_modules.", "probe")):
        return _started(line, **settings)
    known = {name: settings[name] for name in ("cwd", "env", "check") if name in settings}
    return command(str(line[2]), line[3:], **known)


def close() -> None:
    """End the interpreter, where there is one."""
    while _servers:
        _servers.pop().close()


# --- the other side ---------------------------------------------------------------------------------------------------


def serve(requests: IO[str], answers: IO[str]) -> dict[str, Any] | None:
    """Fork a child a request until there are no more; in a child the request that it is for."""
    for line in requests:
        child = os.fork()
        if not child:
            request: dict[str, Any] = json.loads(line)
            return request
        # By both, so that the group is there whoever comes first.
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        print(child, file=answers, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    return None


def become(request: Mapping[str, Any]) -> None:
    """Be the process that a request describes, up to the command's first line."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    for number, path in ((1, request["out"]), (2, request["err"])):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
        os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.stdin, sys.stdout, sys.stderr = open(0), writing(1, sys.stdout), writing(2, sys.stderr)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    tempfile.tempdir = None
    # What draws at random at its start has drawn before the fork; the `random` module sees to itself.
    sys.modules["torch"].seed()
    sys.modules["numpy"].random.seed()
    sys.argv[1:] = request["words"]
    sys.path[:1] = [request["cwd"], sys.path[0]]
    # A command is imported by no other name before it runs, but for other commands.
    package, _, own = request["name"].rpartition(".")
    sys.modules.pop(request["name"], None)
    vars(sys.modules.get(package, sys)).pop(own, None)


def writing(number: int, like: TextIO) -> TextIO:
    """A stream as Python opens it at its start."""
    unbuffered = isinstance(like.buffer, io.RawIOBase)  # python -u
    raw = open(number, "wb", buffering=0 if unbuffered else -1)  # noqa: SIM115
    settings: dict[str, Any] = {"encoding": like.encoding, "errors": like.errors, "write_through": unbuffered}
    return io.TextIOWrapper(raw, line_buffering=number == 2, **settings)


def main() -> None:
    """Import, and serve; in a child, be the command."""
    sys.path[0] = sys.argv[1]  # as for `python -m` in the checkout
    for name in (*WARM, *LATER):
        importlib.import_module(name)
    with open("/proc/self/status", encoding="ascii") as status:
        threads = next(line.split()[1] for line in status if line.startswith("Threads:"))
    if threads != "1":
        sys.exit(f"imports have started {int(threads) - 1} threads, which no child would have")
    # Pipes of its own, so that a child's streams have nothing to do with them.
    with open(os.dup(0)) as requests, open(os.dup(1), "w") as answers:
        print("ready", file=answers, flush=True)
        request = serve(requests, answers)
    if request is not None:
        become(request)
        runpy.run_module(request["name"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
