"""Uploads an adapter and its evaluations to a hub."""

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo.adapter import install, sharing, trust
from zoo.adapter.directory import FILES
from zoo.catalog import card
from zoo.catalog.card import Card
from zoo.errors import UserError

IDENTIFIER = r"[\w.\-]+/[\w.\-]+"
"""OWNER/NAME on the hub."""


class PushError(UserError):
    """An adapter cannot be shared, or the hub refuses it."""


@dataclass(frozen=True)
class Upload:
    """A file to upload: its path in the repository and its bytes."""

    path: str
    content: bytes


def uploads(folder: Path, benchmark: str = "") -> list[Upload]:
    """Verify an adapter directory and collect the files to upload.

    Args:
        folder: an adapter directory.
        benchmark: OWNER/NAME of the hub's data set that the numbers of the card belong to.

    Raises:
        UserError: naming what is wrong with it.
    """
    install.inspect(folder)
    # Whoever pulls it will not run code that does not come with the zoo, so it would be of no use to them.
    trust.check(folder, pulled=True)
    page = card.read(folder / "README.md")
    if problems := card.validate(page):
        raise PushError(f"{folder / 'README.md'} is no sound model card: {'; '.join(problems)}")
    found = [Upload(name, (folder / name).read_bytes()) for name in (*FILES, "SHA256SUMS")]
    if benchmark:
        text = yaml.safe_dump(evaluations(page, benchmark), sort_keys=False, allow_unicode=True)
        found.append(Upload(f".eval_results/{benchmark.rpartition('/')[2]}.yaml", text.encode()))
    return found


def prepared(folder: Path, benchmark: str = "") -> list[Upload]:
    """What is uploaded of an adapter directory: its public parts.

    Raises:
        UserError: as `uploads`, and of what cannot be made public.
    """
    with tempfile.TemporaryDirectory() as scratch:
        shared = sharing.copy_for_sharing(folder, Path(scratch) / folder.name, card=card.for_adapter)
        try:
            return uploads(shared, benchmark)
        except UserError as error:
            raise type(error)(str(error).replace(str(shared), str(folder))) from None


def repository(word: str) -> str:
    """USER/REPO of hf://USER/REPO.

    Raises:
        PushError: it is none.
    """
    if not re.fullmatch(f"hf://{IDENTIFIER}", word):
        raise PushError(f"{word!r}: where to? Expected hf://USER/REPO" if word else "where to? Add hf://USER/REPO")
    return word.removeprefix("hf://")


def evaluations(page: Card, benchmark: str) -> list[dict[str, Any]]:
    """The card's measured numbers in the hub's format of evaluation results, in the unit of the card.

    Raises:
        PushError: there are none, or they were measured on a synthetic set.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    results = [result for model in page.front.get("model-index") or [] for result in model["results"]]
    if not results:
        raise PushError(
            f"benchmark={benchmark}: the card has no measured numbers (only those from a clean commit enter it)"
        )
    if made_up := [r["dataset"]["name"] for r in results if r["dataset"].get("synthetic")]:
        raise PushError(f"benchmark={benchmark}: the numbers were measured on {made_up[0]}, which is synthetic")
    return eval_result_entries_to_yaml(
        [
            EvalResultEntry(
                dataset_id=benchmark,
                task_id=metric["type"],
                value=metric["value"],
                date=str(metric["args"]["date"]),
                notes="{split} split, n = {n}, commit {commit}".format(**result["dataset"] | metric["args"]),
            )
            for result in results
            for metric in result["metrics"]
        ]
    )


def send(repo: str, content: list[Upload], *, private: bool, message: str) -> str:
    """Create the repository where there is none, and commit.

    Returns:
        Address of the commit.

    Raises:
        PushError: no token, no right to write, or no connection.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

    if get_token() is None:
        raise PushError("no token of the hub: run `hf auth login`, or set HF_TOKEN to one that may write")
    api = HfApi(library_name="multimodal-peft-zoo")
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.create_commit(
            repo,
            [CommitOperationAdd(path_in_repo=p.path, path_or_fileobj=p.content) for p in content],
            commit_message=message,
        )
    except HfHubHTTPError as error:
        why = {
            401: "the hub does not know this token; run `hf auth login` again",
            403: f"this token may not write to {repo}; use one that may, or another repository",
        }.get(error.response.status_code, str(error.server_message or error).partition("\n")[0])
        raise PushError(f"hf://{repo}: HTTP {error.response.status_code}: {why}") from None
    except (OSError, HTTPError) as error:
        raise PushError(f"hf://{repo}: the hub cannot be reached: {error}; nothing was committed") from None
    return done.commit_url


def file_list(content: list[Upload]) -> str:
    """One line per file with bytes, sha256 and path; then the total."""
    lines = [f"  {len(p.content):>13,}  {hashlib.sha256(p.content).hexdigest()}  {p.path}" for p in content]
    return "\n".join([*lines, f"  {sum(len(p.content) for p in content):>13,}  bytes in {len(content)} files"])
