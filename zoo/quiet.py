"""Silence of libraries that speak while a command works."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator


def quiet() -> None:
    """Silence what libraries say that is not about this run: notices, tips, bars of their own."""
    for name in ("lightning.pytorch", "lightning.fabric"):  # "[rank: 0] Received SIGTERM: 15", for instance
        # The loggers that speak as well: where Lightning is imported later, it sets the level of those above anew.
        for logger in (name, f"{name}.utilities.rank_zero"):
            logging.getLogger(logger).setLevel(logging.WARNING)
    # A faster kernel for some processors, which is not a wheel; whoever imports transformers imports bitsandbytes.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")
    warnings.filterwarnings("ignore", ".*exists and is not empty.*")
    # Every process counts the whole validation split, so what it logs is the same in all.
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")
    # Frozen encoders stay in eval mode by design.
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")
    # Its loader is resumable in its own way.
    warnings.filterwarnings("ignore", ".*checkpoint that ended before the epoch ended.*")
    warnings.filterwarnings("ignore", ".*Sparse invariant checks.*")  # of the sparse updates that peft's SHiRA makes
    _without_bars()


def _without_bars() -> None:
    """No bars of transformers, nor of the hub below it. Neither is imported for that: point clouds need neither, and it
    takes most of a second. transformers asks the hub's library when it is imported, that one the environment."""
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
    elif "huggingface_hub.constants" in sys.modules:
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
    else:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextlib.contextmanager
def without_bar() -> Iterator[None]:
    """No bar of transformers inside, over a second of reading a file; a program's own choice stands afterwards."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
