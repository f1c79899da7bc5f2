"""Which errors are the user's to mend: those are shown as one line each, all others with their traceback."""

import contextlib
import errno
import sys
from collections.abc import Iterator

from zoo.command import fail
from zoo.recipe import RecipeError

STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print an expected error as `error: ...` and exit: code 2 for a mistake in the command, 1 for any other."""
    from data_modules.base import DataError
    from zoo.adapter import AdapterError
    from zoo.backbones.weights import WeightsError
    from zoo.pairing import NonFiniteLossError

    try:
        yield
    except RecipeError as error:
        fail(error.problems)
    except (AdapterError, DataError, NonFiniteLossError, WeightsError) as error:
        message = str(error)
    except OSError as error:
        if error.errno not in STORAGE:
            raise
        message = f"{error.filename or 'writing'}: {error.strerror}"
    else:
        return
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
