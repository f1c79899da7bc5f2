"""`python -m zoo.push ADAPTER hf://USER/REPO [KEY=VALUE ...] [--dry-run]`: share an adapter on the Hugging Face hub.

ADAPTER is a name or a directory. It is verified first: checksums, tensors, recipe, model card. Its files go in one
commit. Of recipe, command, numbers and card goes what is public (numbers, the zoo's own words, class names); folders,
addresses, names and whatever else was typed are left out. A token that may write comes from `hf auth login` or
$HF_TOKEN.

    --dry-run               print every file as it would go, and send nothing: the network is not touched
    private=false           make a new repository public; by default it is private (one that exists stays as it is)
    message="..."           of the commit
    benchmark=OWNER/NAME    the hub's own data set that the measured numbers belong to: they also go as
                            .eval_results/NAME.yaml, which the hub shows on that data set's page
"""

import hashlib
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from zoo import adapter, card, catalog, install, trust
from zoo.command import fail, parse_words, user_errors
from zoo.errors import UserError


class PushError(UserError):
    """An adapter is not fit to be shared, or the hub does not take it."""


@dataclass(frozen=True)
class Parcel:
    """What goes to the hub: a path in the repository and its bytes."""

    path: str
    content: bytes


def parcels(folder: Path, benchmark: str = "") -> list[Parcel]:
    """Verify an adapter directory and gather what is shared of it.

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
    found = [Parcel(name, (folder / name).read_bytes()) for name in (*adapter.FILES, "SHA256SUMS")]
    if benchmark:
        text = yaml.safe_dump(evaluations(page, benchmark), sort_keys=False, allow_unicode=True)
        found.append(Parcel(f".eval_results/{benchmark.rpartition('/')[2]}.yaml", text.encode()))
    return found


def evaluations(page: card.Card, benchmark: str) -> list[dict[str, Any]]:
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


def send(repo: str, content: list[Parcel], *, private: bool, message: str) -> str:
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


def listing(content: list[Parcel]) -> str:
    """A line a file: bytes, sha256, path; and their sum."""
    lines = [f"  {len(p.content):>13,}  {hashlib.sha256(p.content).hexdigest()}  {p.path}" for p in content]
    return "\n".join([*lines, f"  {sum(len(p.content) for p in content):>13,}  bytes in {len(content)} files"])


def shown(content: list[Parcel]) -> str:
    """Every file that goes, as it goes; of the tensors their header."""
    parts = []
    for parcel in content:
        title, text = parcel.path, parcel.content
        if parcel.path.endswith(".safetensors"):
            title, text = f"{title}, header", text[8 : 8 + int.from_bytes(text[:8], "little")].rstrip()
        parts.append(f"--- {title}\n{text.decode('utf-8', 'replace').rstrip()}")
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Push an adapter; exit code 2 on a mistake in the command, 1 where it is not sound or the hub refuses it."""
    keys = ("adapter", "private", "message", "benchmark")
    words = list(sys.argv[1:] if argv is None else argv)
    repo = next((word for word in words if word.startswith("hf:")), "")
    named, _ = parse_words(
        [word for word in words if word != repo], __doc__ or "", optional=keys, flags=("--dry-run",), bare="adapter"
    )
    if problems := _mistakes(named, repo):
        fail(problems)
    repo, private = repo.removeprefix("hf://"), named.get("private") != "false"
    with user_errors():
        folder = catalog.resolve(named["adapter"])
        with tempfile.TemporaryDirectory() as scratch:
            shared = adapter.share(folder, Path(scratch) / folder.name, card=card.for_adapter)
            try:
                content = parcels(shared, named.get("benchmark", ""))
            except UserError as error:
                raise type(error)(str(error).replace(str(shared), str(folder))) from None
        message = named.get("message") or f"Add {repo.rpartition('/')[2]}"
        print(f"hf://{repo}: {'private' if private else 'public'} if it is new; commit message {message!r}")
        print(listing(content))
        if "--dry-run" in named:
            print(shown(content))
            print("dry run: nothing was sent")
            return 0
        print(f"pushed: {send(repo, content, private=private, message=message)}")
    print(f"get it: python -m zoo.pull hf://{repo}")
    return 0


def _mistakes(named: dict[str, str], repo: str) -> list[str]:
    identifier = r"[\w.\-]+/[\w.\-]+"
    problems = [] if named.get("adapter") else ["what to push? The name of an adapter, or its directory"]
    if not re.fullmatch(f"hf://{identifier}", repo):
        problems.append(f"{repo!r}: where to? Expected hf://USER/REPO" if repo else "where to? Add hf://USER/REPO")
    if named.get("private", "true") not in ("true", "false"):
        problems.append(f"private={named['private']}: expected true or false")
    if not re.fullmatch(identifier, named.get("benchmark", "a/b")):
        problems.append(f"benchmark={named['benchmark']}: expected OWNER/NAME of a data set of the hub")
    return problems


if __name__ == "__main__":
    sys.exit(main())
