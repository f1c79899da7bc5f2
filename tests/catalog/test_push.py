"""An adapter goes to the hub whole, in one commit, after it was verified; a dry run says so and sends nothing."""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from adapter_files import NAMES, copied, seal
from fake_hub import COMMIT, FakeHub, serving
from huggingface_hub import parse_eval_result_entries

from zoo.adapter import install, places
from zoo.catalog.card import END, Card
from zoo.catalog.push import PushError, evaluations
from zoo.push import main


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundled adapter's copy."""
    return copied(tmp_path / "mine")


def code(argv: list[str]) -> int:
    try:
        return main(argv)
    except SystemExit as end:
        return int(str(end.code))


def run(command: str, *argv: str, hub: FakeHub, home: Path, token: str = "secret") -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, where `huggingface_hub` knows no hub but the local one."""
    setting = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    setting |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "ZOO_CACHE": str(home / "zoo")}
    setting |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "127.0.0.1"}
    setting |= {"HF_TOKEN": token} if token else {}
    words = ["-c", *argv] if command == "python" else ["-m", f"zoo.{command}", *argv]
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=setting)


def test_a_dry_run_lists_every_byte_and_opens_no_connection(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a dry run touched the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    assert code([str(folder), "hf://me/mine", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("hf://me/mine: private if it is new; commit message 'Add mine'\n")
    total = 0
    for name in NAMES:
        content = (folder / name).read_bytes()
        total += len(content)
        assert f"  {len(content):>13,}  {hashlib.sha256(content).hexdigest()}  {name}\n" in out
    assert f"{total:,}  bytes in 5 files\n" in out
    for name in ("recipe.yaml", "metrics.json", "README.md", "SHA256SUMS"):
        assert f"--- {name}\n{(folder / name).read_text().rstrip()}\n" in out
    assert "--- adapter.safetensors, header\n{" in out
    assert out.endswith("\ndry run: nothing was sent\n")


def test_a_dry_run_needs_no_token_and_no_torch(folder: Path) -> None:
    program = (
        "import sys; from zoo import push; code = push.main([sys.argv[1], 'hf://me/mine', '--dry-run']); "
        "sys.exit(str({'torch', 'lightning', 'transformers'} & set(sys.modules) or code))"
    )
    setting = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False, env=setting
    )
    assert done.stderr == "0\n", done.stdout


def test_one_commit_carries_the_adapter_and_pull_brings_it_back(folder: Path, hub: FakeHub, tmp_path: Path) -> None:
    done = run("push", str(folder), "hf://me/mine", "message=Here it is", hub=hub, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert f"pushed: {hub.address}/me/mine/commit/{COMMIT}" in done.stdout
    (created,) = hub.created
    assert (created["organization"], created["name"], created["visibility"]) == ("me", "mine", "private")
    ((header, files),) = hub.commits
    assert header["summary"] == "Here it is"
    assert files == {name: (folder / name).read_bytes() for name in NAMES}
    assert hub.tokens == {"Bearer secret"}

    hub.files["evil.py"] = hub.files["model.pkl"] = b"import os"
    got = run("pull", f"hf://me/mine@{COMMIT}", hub=hub, home=tmp_path / "other")
    assert got.returncode == 0, got.stderr
    installed = tmp_path / "other" / "zoo" / "adapters" / "mine"
    assert {path.name: path.read_bytes() for path in installed.iterdir()} == files
    assert not any("evil.py" in call or "model.pkl" in call for call in hub.calls if "/resolve/" in call)
    assert not list((tmp_path / "other").rglob("*.p*l*"))


def test_python_pushes_and_loads_from_the_hub(folder: Path, hub: FakeHub, tmp_path: Path) -> None:
    hub.files |= {name: (folder / name).read_bytes() for name in NAMES}
    script = (
        f"import zoo; model = zoo.load('hf://me/mine@{COMMIT}'); assert model.name == 'mine'\n"
        "sent = model.push('hf://me/other', private=False, message='By Python')\n"
        "assert 'recipe.yaml' in [upload.path for upload in sent]"
    )
    done = run("python", script, hub=hub, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    ((header, files),) = hub.commits
    assert header["summary"] == "By Python"
    assert files == {name: (folder / name).read_bytes() for name in NAMES}
    assert hub.created[0]["visibility"] == "public"


def test_public_is_said_and_asked_for(folder: Path, hub: FakeHub, tmp_path: Path) -> None:
    done = run("push", str(folder), "hf://me/mine", "private=false", hub=hub, home=tmp_path)
    assert done.stdout.startswith("hf://me/mine: public if it is new; commit message 'Add mine'\n")
    assert hub.created[0]["visibility"] == "public"


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        ((401, ""), "HTTP 401: the hub does not know this token"),
        ((403, ""), "HTTP 403: this token may not write to me/mine"),
        ((500, ""), "HTTP 500"),
    ],
)
def test_what_the_hub_refuses_is_one_line(
    refuse: tuple[int, str], message: str, folder: Path, hub: FakeHub, tmp_path: Path
) -> None:
    hub.refuse = refuse
    done = run("push", str(folder), "hf://me/mine", hub=hub, home=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stdout + done.stderr


def test_no_token_and_no_hub_are_one_line_each(folder: Path, hub: FakeHub, tmp_path: Path) -> None:
    done = run("push", str(folder), "hf://me/mine", hub=hub, home=tmp_path, token="")
    assert (done.returncode, done.stderr) == (
        1,
        "error: no token of the hub: run `hf auth login`, or set HF_TOKEN to one that may write\n",
    )
    assert hub.calls == []
    hub.address = "http://127.0.0.1:9"
    done = run("push", str(folder), "hf://me/mine", hub=hub, home=tmp_path)
    assert done.returncode == 1
    assert "the hub cannot be reached" in done.stderr
    done = run("pull", "hf://me/mine", hub=hub, home=tmp_path)
    assert done.returncode == 1
    assert "its hub cannot be reached; connect once, or pull its folder by path" in done.stderr


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        ((401, "RepoNotFound"), "hf:me/mine does not exist, or is private to another account"),
        ((403, "GatedRepo"), "hf:me/mine is gated: accept its licence"),
        ((404, "RevisionNotFound"), "hf:me/mine has no revision 'v2'"),
    ],
)
def test_a_repository_that_cannot_be_pulled_says_why(
    refuse: tuple[int, str], message: str, hub: FakeHub, tmp_path: Path
) -> None:
    hub.refuse = refuse
    done = run("pull", "hf://me/mine@v2", hub=hub, home=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert not list(tmp_path.glob("zoo/pretrained/*"))


BROKEN = {
    "altered": ({"recipe.yaml": b"seed: 0\n"}, False, "recipe.yaml was altered"),
    "no card": ({"README.md": b"# mine\n"}, True, "README.md has no YAML front matter"),
    "foreign code": ({"recipe.yaml": b"method: {_target_: mine.Mine}\n"}, True, "names 'mine.Mine'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_not_pushed(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, sealed, message = BROKEN[name]
    for path, content in changes.items():
        (folder / path).write_bytes(content)
    if sealed:
        seal(folder)
    assert code([str(folder), "hf://me/mine", "--dry-run"]) == 1
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""


def test_a_method_of_your_own_is_no_use_to_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_pushed_method.py").write_text("class Mine:\n    def __init__(self) -> None: ...\n")
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((folder / "recipe.yaml").read_text())
    config["method"] = {"_target_": "my_pushed_method.Mine"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(config))
    install.inspect(seal(folder))
    assert code([str(folder), "hf://me/mine", "--dry-run"]) == 1
    assert "names 'my_pushed_method.Mine', which is no backbone" in capsys.readouterr().err


def test_an_edited_card_is_not_pushed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(text.replace(END, f"| 99.9 % |\n{END}"), encoding="utf-8")
    assert code([str(seal(folder)), "hf://me/mine", "--dry-run"]) == 1
    assert "is no sound model card: the results section differs" in capsys.readouterr().err


@pytest.mark.parametrize("name", places.bundled())
def test_every_bundled_adapter_can_be_pushed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code([name, f"hf://me/{name}", "--dry-run"]) == 0


def measured(synthetic: bool) -> Card:
    metric = {"type": "accuracy", "name": "accuracy", "value": 84.43}
    args = {"n": 700, "seeds": [0], "commit": "f" * 40, "date": "2026-11-25"}
    data = {"type": "rsscn7", "name": "RSSCN7", "split": "test", "synthetic": synthetic}
    results = [{"task": {"type": "classification"}, "dataset": data, "metrics": [{**metric, "args": args}]}]
    return Card({"model-index": [{"name": "mine", "results": results}]}, "")


def test_measured_numbers_go_as_evaluation_results_of_a_named_data_set() -> None:
    entries = evaluations(measured(False), "me/rsscn7")
    (entry,) = parse_eval_result_entries(yaml.safe_load(yaml.safe_dump(entries)))
    assert (entry.dataset_id, entry.task_id, entry.value, entry.date) == ("me/rsscn7", "accuracy", 84.43, "2026-11-25")
    assert entry.notes == f"test split, n = 700, commit {'f' * 40}"
    with pytest.raises(PushError, match="which is synthetic"):
        evaluations(measured(True), "me/rsscn7")
    with pytest.raises(PushError, match="the card has no measured numbers"):
        evaluations(Card({}, ""), "me/rsscn7")


MISTAKES = {
    (): "what to push?",
    ("tb_ava-grid",): "where to? Add hf://USER/REPO",
    ("tb_ava-grid", "hf://mine"): "'hf://mine': where to? Expected hf://USER/REPO",
    ("tb_ava-grid", "hf://a/b", "private=no"): "private=no: expected true or false",
    ("tb_ava-grid", "hf://a/b", "benchmark=x"): "benchmark=x: expected OWNER/NAME",
    ("tb_ava-grid", "hf://a/b", "--dry"): "Did you mean '--dry-run'?",
}


@pytest.mark.parametrize(("argv", "message"), MISTAKES.items())
def test_a_mistake_in_the_command_is_code_2(
    argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(list(argv)) == 2
    assert message in capsys.readouterr().err
