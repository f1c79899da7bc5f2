"""Repositories of the Hugging Face hub, from its own cache where it can."""

from collections.abc import Sequence
from pathlib import Path

from zoo.backbones.weights import WeightsError


def snapshot(
    name: str,
    patterns: Sequence[str],
    *,
    by_hand: str = "download it elsewhere and name the folder as file:FOLDER",
) -> Path:
    """Folder of the files of a Hugging Face repository that match `patterns`; from the hub's own cache where it can.

    Args:
        name: `REPO[@REVISION]`.
        patterns: of file names; only such as carry no code.
        by_hand: what a message advises where the hub cannot be used.

    Raises:
        WeightsError: gated, missing, or neither cached nor reachable.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repo, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        raise WeightsError(
            f"hf:{repo} is gated: accept its licence at https://huggingface.co/{repo}, then run `hf auth login`; "
            f"or {by_hand}"
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(f"hf:{repo} does not exist, or is private to another account") from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"hf:{repo} has no revision {revision!r}") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"hf:{repo} is not in the cache and its hub cannot be reached; connect once, or {by_hand} "
            f"({str(error).splitlines()[0]})"
        ) from error
