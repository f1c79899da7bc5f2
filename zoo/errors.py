"""Which errors are the user's to mend: those are shown as one line, all others with their traceback."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print an expected error as `error: ...` and exit with code 1."""
    from data_modules.base import DataError
    from zoo.adapter import AdapterError
    from zoo.backbones.weights import WeightsError
    from zoo.pairing import NonFiniteLossError

    try:
        yield
    except (AdapterError, DataError, NonFiniteLossError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
