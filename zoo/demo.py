"""`python -m zoo.demo adapter=NAME|DIR [port=7860] [share=false] [samples=DIR] [--force]`: a page to try an adapter.

Pick a sample or drop a file of your own. For a clip the page shows the timeline of events and the gates; for a cloud a
turnable plot and the control signal; for an overhead picture the answer, and the ground sampling distance with its
source and the estimate's interval; for a picture to segment its mask, shares of the classes, and the mask to download.

    port=7860         of 127.0.0.1: other machines do not see the page
    share=true        also makes a public address, for three days, through Gradio's servers
    samples=DIR       offers the files of a folder
    data.root=DIR     offers the test split of the adapter's own data in this folder
    --force           take an adapter onto other backbones than it was trained on; the page says so
    --unquantized     take what was trained in four bits onto whole weights in bfloat16; the page says so

Without samples= and data.root=, adapters of synthetic data offer generated samples of their test split. Needs
the extra `demo`: pip install 'multimodal-peft-zoo[demo]'. No data are sent, and the page loads nothing from other
servers; dropped files are removed when the command stops.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from zoo.adapter import places, unquantized
from zoo.command_line import fail, parse_arguments, user_errors
from zoo.demos.serve import page, require_port, serve
from zoo.errors import require_packages
from zoo.quiet import quiet


def main(argv: list[str] | None = None) -> int:
    """Serve a page; exit code 2 on a mistake in the command, 1 on one in the adapter, the data or the machine."""
    since = time.perf_counter()
    arguments, overrides = parse_arguments(
        argv,
        __doc__ or "",
        required=("adapter",),
        optional=("port", "share", "samples"),
        flags=("--force", unquantized.FLAG),
        free=True,
    )
    port, share = arguments.get("port", "7860"), arguments.get("share", "false")
    problems = [f"'{word}': only data.* of an adapter may be changed" for word in overrides if word[:5] != "data."]
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        problems.append(f"port={port}: expected a number from 1 to 65535")
    if share not in ("true", "false"):
        problems.append(f"share={share}: expected true or false")
    if problems:
        fail(problems)
    quiet()
    with user_errors(), tempfile.TemporaryDirectory(prefix="zoo-demo-") as uploads:
        require_packages("the page", "gradio", "plotly")
        require_port(int(port))
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": uploads}
        folder, samples = places.find_adapter(arguments["adapter"]), arguments.get("samples")
        given, whole = Path(samples) if samples else None, unquantized.FLAG in arguments
        built = page(folder, overrides, given, force="--force" in arguments, whole=whole)
        serve(built, int(port), share=share == "true", since=since)
    return 0


if __name__ == "__main__":
    sys.exit(main())
