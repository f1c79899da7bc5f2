"""`python -m zoo.push ADAPTER hf://USER/REPO [KEY=VALUE ...] [--dry-run]`: share an adapter on the Hugging Face hub.

ADAPTER is a name or a directory. It is verified first: checksums, tensors, recipe, model card. Its files are uploaded
in one commit. Recipe, command, numbers and card are reduced to their public parts (numbers, the zoo's own names, class
names); folders, addresses, names and other typed text are left out. A token with write access comes from `hf auth
login` or $HF_TOKEN.

    --dry-run               print every file as it would be uploaded, without using the network
    private=false           make a new repository public; by default it is private (one that exists stays as it is)
    message="..."           commit message
    benchmark=OWNER/NAME    the hub's data set of the measured numbers: they are also uploaded as
                            .eval_results/NAME.yaml, which the hub shows on that data set's page
"""

import re
import sys

from zoo.adapter import places
from zoo.adapter.public import WEIGHTS
from zoo.catalog.push import IDENTIFIER, PushError, Upload, file_list, prepared, repository, send
from zoo.command_line import called, fail, parse_arguments, user_errors


def shown(content: list[Upload]) -> str:
    """Every file that goes, as it goes; of the tensors their header."""
    parts = []
    for upload in content:
        title, text = upload.path, upload.content
        if upload.path.endswith(".safetensors"):
            title, text = f"{title}, header", text[8 : 8 + int.from_bytes(text[:8], "little")].rstrip()
        parts.append(f"--- {title}\n{text.decode('utf-8', 'replace').rstrip()}")
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    """Push an adapter; exit code 2 on a mistake in the command, 1 where it is not sound or the hub refuses it."""
    keys = ("adapter", "private", "message", "benchmark")
    arguments = list(sys.argv[1:] if argv is None else argv)
    repo = next((word for word in arguments if word.startswith("hf:")), "")
    named, _ = parse_arguments(
        [word for word in arguments if word != repo], __doc__ or "", optional=keys, flags=("--dry-run",), bare="adapter"
    )
    if problems := _mistakes(named, repo):
        fail(problems)
    repo, private = repo.removeprefix("hf://"), named.get("private") != "false"
    with user_errors():
        folder = places.find_adapter(named["adapter"])
        content = prepared(folder, named.get("benchmark", ""))
        message = named.get("message") or f"Add {repo.rpartition('/')[2]}"
        print(f"hf://{repo}: {'private' if private else 'public'} if it is new; commit message {message!r}")
        print(file_list(content))
        if any(WEIGHTS.encode() in one.content for one in content if one.path == "recipe.yaml"):
            print(
                f"note: {WEIGHTS} stands for a backbone's file, which is not sent: who takes this needs the same file"
            )
        if "--dry-run" in named:
            print(shown(content))
            print("dry run: nothing was sent")
            return 0
        print(f"pushed: {send(repo, content, private=private, message=message)}")
    print(called(f"get it: python -m zoo.pull hf://{repo}"))
    return 0


def _mistakes(named: dict[str, str], repo: str) -> list[str]:
    problems = [] if named.get("adapter") else ["what to push? The name of an adapter, or its directory"]
    try:
        repository(repo)
    except PushError as error:
        problems.append(str(error))
    if named.get("private", "true") not in ("true", "false"):
        problems.append(f"private={named['private']}: expected true or false")
    if not re.fullmatch(IDENTIFIER, named.get("benchmark", "a/b")):
        problems.append(f"benchmark={named['benchmark']}: expected OWNER/NAME of a data set of the hub")
    return problems


if __name__ == "__main__":
    sys.exit(main())
