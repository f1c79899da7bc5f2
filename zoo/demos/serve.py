"""Serve the page of an adapter on this machine."""

import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.adapter import directory
from zoo.errors import UserError
from zoo.recipe import data_roots
from zoo.recipe.compose import compose
from zoo.recipe.instantiate import instantiate

if TYPE_CHECKING:
    import gradio

HOST, LARGEST = "127.0.0.1", "200mb"


def page(
    folder: Path, overrides: list[str], samples: Path | None, *, force: bool, whole: bool = False
) -> "gradio.Blocks":
    """The page of an adapter.

    Args:
        folder: of the adapter.
        overrides: of its data.
        samples: folder whose files are offered.
        force: load although backbones or structure differ.
        whole: load what was trained in four bits onto whole weights.

    Raises:
        UserError: of the adapter.
        DataError: of its data, or of the samples.
    """
    from zoo.demos import offers
    from zoo.demos.heading import card, heading, metrics
    from zoo.demos.page import Answerer, build, defaults

    config = compose(str(folder / "recipe.yaml"), overrides)
    _, pairing = directory.load(folder, force=force, whole=whole)
    data = instantiate(config.data)
    data.seed = config.seed
    data.measured_in(pairing.ground)
    found, source = [], ""
    if samples:
        found, source = offers.from_folder(data, samples, defaults(data, pairing)), f"files of {samples.name}"
    elif data.synthetic or overrides:
        data_roots.require(config.data)
        found, source = offers.from_split(data), f"of the test split: {data.name}"
    record = metrics(folder)
    name = folder.parents[1].name if folder.name == "adapter" and len(folder.parents) > 1 else folder.name
    return build(
        Answerer(pairing, data, found),
        heading=heading(name, config, pairing, record),
        card=card(folder),
        window=f"{name}: try it",
        source=source,
    )


def serve(built: "gradio.Blocks", port: int, *, share: bool, since: float) -> None:
    """Serve a page until Ctrl-C or a termination."""
    from zoo.demos import style
    from zoo.demos.style import CSS

    built.launch(
        server_name=HOST,
        server_port=port,
        share=share,
        max_file_size=LARGEST,
        theme=style.theme(),
        css=CSS,
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


def require_port(port: int) -> None:
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
