"""Lists of samples that benchmarks publish: their lines, whether their files exist, whether a sample stands twice."""

from collections.abc import Sequence
from pathlib import Path

from data_modules.errors import DataError
from data_modules.readers.lines import FEW


def read_lines(path: Path, distributor: str) -> list[tuple[str, str]]:
    """(`file, line number`, text) of every line that is not blank.

    Raises:
        DataError: no such file, or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. {distributor}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no text: {error}. {distributor}") from error
    return [(f"{path}, line {n}", line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]


def require(paths: Sequence[Path], what: str, distributor: str) -> None:
    """All of these files exist.

    Raises:
        DataError: listing a few of those that do not.
    """
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{what}: {len(missing)} of {len(paths)} files are missing, e.g. {', '.join(missing[:FEW])}. {distributor}"
        )


def require_apart(splits: dict[str, list[str]], what: str) -> None:
    """No sample is listed twice, in one split or in two.

    Raises:
        DataError: listing a few that are.
    """
    seen: dict[str, str] = {}
    for split, names in splits.items():
        for name in names:
            if name in seen:
                raise DataError(
                    f"{what}: {name} is listed in {seen[name]} and again in {split}; every sample has one place"
                )
            seen[name] = split
