"""`python -m zoo.demo adapter=NAME|DIR [port=7860] [share=false] [samples=DIR] [--force]`: a page to try an adapter.

Pick a sample or drop a file of your own. Of a clip the page shows the timeline of events and the gates; of a cloud a
turnable picture and the control signal; of a picture from above the answer, and the ground sampling distance with the
estimate's interval and where it came from.

    port=7860         of 127.0.0.1: other machines do not see the page
    share=true        also makes a public address, for three days, through Gradio's servers
    samples=DIR       offers the files of a folder
    data.root=DIR     offers the test split of the adapter's own data, which lie there
    --force           take an adapter onto other backbones than it was trained on; the page says so

Without samples= and data.root=, adapters of synthetic data offer samples of their test split, made on the fly. Needs
the extra `demo`: pip install 'multimodal-peft-zoo[demo]'. Nothing is sent anywhere, and the page loads nothing from
elsewhere; dropped files are removed when the command stops.
"""

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from zoo import adapter, catalog, data_roots, recipe
from zoo.command import fail, parse_words, quiet, user_errors
from zoo.errors import UserError

if TYPE_CHECKING:
    import gradio

HOST, LARGEST = "127.0.0.1", "200mb"


def page(folder: Path, overrides: list[str], samples: Path | None, *, force: bool) -> "gradio.Blocks":
    """The page of an adapter.

    Args:
        folder: of the adapter.
        overrides: of its data.
        samples: folder whose files are offered.
        force: load although backbones or structure differ.

    Raises:
        UserError: of the adapter.
        DataError: of its data, or of the samples.
    """
    from zoo.demos import heading, offers, page

    config = recipe.compose(str(folder / "recipe.yaml"), overrides)
    _, pairing = adapter.load(folder, force=force)
    data = recipe.instantiate(config.data)
    data.seed = config.seed
    found, source = [], ""
    if samples:
        found, source = offers.from_folder(data, samples, page.defaults(data, pairing)), f"files of {samples.name}"
    elif data.synthetic or overrides:
        data_roots.require(config.data)
        found, source = offers.from_split(data), f"of the test split: {data.name}"
    record = heading.metrics(folder)
    name = folder.parents[1].name if folder.name == "adapter" and len(folder.parents) > 1 else folder.name
    return page.build(
        page.Answerer(pairing, data, found),
        heading=heading.heading(name, config, pairing, record),
        card=heading.card(folder),
        window=f"{name}: try it",
        source=source,
    )


def serve(built: "gradio.Blocks", port: int, *, share: bool, since: float) -> None:
    """Serve a page until Ctrl-C or a termination."""
    from zoo.demos import style

    built.launch(
        server_name=HOST,
        server_port=port,
        share=share,
        max_file_size=LARGEST,
        theme=style.theme(),
        css=style.CSS,
        footer_links=[],
        ssr_mode=False,
        inbrowser=False,
        quiet=True,
        prevent_thread_lock=True,
    )
    print(f"http://{HOST}:{port}  (ready after {time.perf_counter() - since:.1f} s; Ctrl-C stops)", flush=True)
    if share:
        print(f"public: {built.share_url or 'no address was given'}", flush=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    built.close(verbose=False)


def main(argv: list[str] | None = None) -> int:
    """Serve a page; exit code 2 on a mistake in the command, 1 on one in the adapter, the data or the machine."""
    since = time.perf_counter()
    words, overrides = parse_words(
        argv,
        __doc__ or "",
        required=("adapter",),
        optional=("port", "share", "samples"),
        flags=("--force",),
        free=True,
    )
    port, share = words.get("port", "7860"), words.get("share", "false")
    problems = [f"'{word}': only data.* of an adapter may be changed" for word in overrides if word[:5] != "data."]
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        problems.append(f"port={port}: expected a number from 1 to 65535")
    if share not in ("true", "false"):
        problems.append(f"share={share}: expected true or false")
    if problems:
        fail(problems)
    quiet()
    with user_errors(), tempfile.TemporaryDirectory(prefix="zoo-demo-") as uploads:
        _require_extra()
        _require_port(int(port))
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
        folder, samples = catalog.resolve(words["adapter"]), words.get("samples")
        built = page(folder, overrides, Path(samples) if samples else None, force="--force" in words)
        serve(built, int(port), share=share == "true", since=since)
    return 0


def _require_extra() -> None:
    """Gradio and plotly are installed.

    Raises:
        UserError: saying how.
    """
    if lacking := [name for name in ("gradio", "plotly") if find_spec(name) is None]:
        raise UserError(
            f"the page needs {' and '.join(lacking)}, which {'is' if len(lacking) == 1 else 'are'} not installed: "
            "pip install 'multimodal-peft-zoo[demo]'"
        )


def _require_port(port: int) -> None:
    """The port is free, which is better known before weights are loaded.

    Raises:
        UserError: it is not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"port {port} cannot be used ({error.strerror}): say another, port={port + 1}") from None


if __name__ == "__main__":
    sys.exit(main())
