"""The page to try an adapter, without a browser: what it offers and asks, how it takes mistakes, and its command."""

import io
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import media_files
import numpy as np
import pytest
import tiny
import torch
from demo_tiny import Clips, Clouds, Pictures, cloud, feel, hear, look, picture
from omegaconf import OmegaConf
from PIL import Image

from data_modules.errors import DataError
from data_modules.kinds.sounds import SoundDataModule
from zoo import demo
from zoo.demos import clips, clouds, pictures
from zoo.demos.heading import heading, measured
from zoo.demos.offers import Offer, from_folder
from zoo.demos.page import Answerer, build, defaults, refusal
from zoo.errors import SettingError, UserError
from zoo.methods.frozen import Frozen

gradio = pytest.importorskip("gradio", reason="the page needs the extra `demo`")

RECORD: dict[str, Any] = {
    "monitor": "accuracy",
    "unit": "fraction",
    "n": 204,
    "split": "test",
    "metrics": {"accuracy": 0.793},
    "intervals": {"accuracy": [0.761, 0.823]},
    "manifest": {"data": {"name": "made-up things", "synthetic": True}},
}


def test_sounds_are_not_asked_about_pictures() -> None:
    class Sounds(SoundDataModule):
        segments, segment_seconds, sample_rate = 2, 0.5, 16

    assert list(clips.fields(Sounds(), hear())) == ["start"]
    assert list(clips.fields(Clips(), hear())) == ["missing_audio", "missing_pictures", "start"]


def test_an_offered_picture_is_asked_as_the_fields_say() -> None:
    sample, data = picture(0.5), Pictures()
    fields = pictures.filled(sample)
    assert fields == {"gsd": "0.5", "question": "How many <cars>?", "choices": "one|two", "bands": "", "stretch": ""}
    same = pictures.retold(sample, data, dict(fields))
    assert same.question is sample.question
    assert same.conditions is sample.conditions
    other = pictures.retold(sample, data, fields | {"gsd": "3", "choices": "one|two|three"})
    assert float(other.conditions["gsd"]) == 3
    assert other.question.choices == ("one", "two", "three")
    assert other.question.answer == ""
    emptied = pictures.retold(sample, data, {})
    assert torch.isnan(emptied.conditions["gsd"])
    assert emptied.question is None
    with pytest.raises(DataError, match="bands: this sample is read already; expected a file of your own"):
        pictures.retold(sample, data, fields | {"bands": "naip"})


@pytest.mark.parametrize("fields", [{"gsd": "wide"}, {"gsd": "-1"}, {"choices": "a|b"}])
def test_a_field_that_makes_no_sense_is_refused_in_words(fields: dict[str, str]) -> None:
    with pytest.raises(DataError, match="expected"):
        pictures.retold(picture(), Pictures(), fields)


def test_a_picture_without_a_question_is_refused_by_an_adapter_that_answers_them() -> None:
    with pytest.raises(SettingError, match="question="):
        Answerer(look(), Pictures(), [Offer(picture())]).answer(0, None, {"gsd": "1"})


def test_a_file_that_is_no_cloud_is_named_as_its_owner_knows_it(tmp_path: Path) -> None:
    page, bad = Answerer(feel(), Clouds(points=40), []), tmp_path / "chair.npy"
    bad.write_bytes(b"no array")
    with pytest.raises(DataError) as caught:
        page.answer(None, str(bad), {})
    told = refusal(caught.value, str(bad))
    assert "<span>chair.npy " in told
    assert str(tmp_path) not in told
    assert "\n" not in told
    np.save(bad, np.random.default_rng(0).random((50, 3)))
    assert len(page.answer(None, str(bad), {})) == 7


def test_a_film_is_answered_from_the_second_that_is_said(tmp_path: Path) -> None:
    film = media_files.write(tmp_path / "film.mkv", film=media_files.Film(size=(16, 16)))
    data = Clips()
    data.frame_size = 4
    page = Answerer(hear(), data, [])
    notes, headline, film, timeline, *_, rows = page.answer(None, str(film), {"start": "4"})
    assert "the first of" in notes["value"]
    times = re.findall(r"<tr><td>([^<]+)</td>", rows)
    assert times[0] == "4 to 4.5"
    assert times[-1].endswith(f"to {4 + data.seconds:g}")
    assert re.findall(r"<figcaption>([\d.]+) s<br>", film)[:2] == ["4", "4.5"]
    assert tuple(timeline.layout.xaxis.range) == (4, 4 + data.seconds)
    assert "0 to" not in headline


def test_pressing_without_a_choice_says_what_to_do_where_the_answer_would_stand() -> None:
    answerer = Answerer(feel(), Clouds(points=40), [Offer(cloud())])
    page = build(answerer, heading="<h1>x</h1>", card="card", window="x", source="somewhere")
    (press,) = [found for found in page.fns.values() if found.name == "answer"]
    hint, result, *others = press.fn(None, None, *[""] * (len(press.inputs) - 2))
    assert "No answer. <span>Pick a sample or drop a file first</span>" in hint["value"]
    assert (hint["visible"], result["visible"]) == (True, False)
    assert len(others) == len(press.outputs) - 2
    (pick,) = [found for found in page.fns.values() if found.name == "pick"]
    cleared = pick.fn(SimpleNamespace(index=0))[2]
    assert "No answer" not in cleared["value"], "what was said before is not said of another sample"


def test_files_of_a_folder_are_offered_and_others_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("b.npy", "a.npy"):
        np.save(tmp_path / name, np.random.default_rng(0).random((50, 3)))
    (tmp_path / "bad.npy").write_bytes(b"no array")
    (tmp_path / "notes.docx").write_text("not a cloud")
    found = from_folder(Clouds(points=40), tmp_path, {})
    assert [offer.path.name for offer in found if offer.path] == ["a.npy", "b.npy"]
    noted = capsys.readouterr().err.splitlines()
    assert len(noted) == 2
    assert ".docx" in noted[0]
    assert "bad.npy" in noted[1]
    with pytest.raises(UserError, match="no such file or folder"):
        from_folder(Clouds(), tmp_path / "none", {})


def test_what_a_file_says_of_itself_is_not_overruled_by_the_fields(tmp_path: Path) -> None:
    Image.fromarray(picture().images[0]).save(tmp_path / "a.png")
    data = Pictures()
    page = Answerer(look(), data, from_folder(data, tmp_path, defaults(data, look())))
    assert page.fill(0) == dict.fromkeys(("gsd", "question", "choices", "bands", "stretch"), "")


def test_the_heading_names_pairing_number_and_that_data_are_synthetic() -> None:
    said = measured(RECORD)
    assert "<b>79.30 %</b> accuracy on made-up things, test split (n = 204)" in said
    assert "76.10 % to 82.30 %" in said
    assert "synthetic" in said
    real = RECORD | {"manifest": {"data": {"name": "things", "synthetic": False}}}
    assert "synthetic" not in measured(real)


def test_a_forced_adapter_says_so() -> None:
    pairing = feel()
    pairing.forced = ["it was trained on <another> backbone"]
    config = OmegaConf.create({"method": {"_target_": "a.Mantis"}, "backbones": {"points": {"_target_": "b.Mamba3D"}}})
    said = heading("mine", config, pairing, RECORD)
    assert "Mantis on frozen Mamba3D" in said
    assert "forced: it was trained on &lt;another&gt; backbone" in said
    shown, *_ = Answerer(pairing, Clouds(), [Offer(cloud())]).answer(0, None, {})
    assert "another" in shown["value"]


@pytest.mark.parametrize(
    ("pairing", "data", "sample"),
    [(hear, Clips(), tiny.clip(0)), (feel, Clouds(), cloud()), (look, Pictures(), picture())],
    ids=["clips", "clouds", "pictures"],
)
def test_the_page_builds_and_its_button_fills_every_output(pairing: Any, data: Any, sample: Any) -> None:
    answerer = Answerer(pairing(), data, [Offer(sample)])
    page = build(answerer, heading="<h1>x</h1>", card="card", window="x", source="somewhere")
    (press,) = [found for found in page.fns.values() if found.name == "answer"]
    fields = pictures.filled(sample) if data.name == "tiny pictures" else {}
    fields |= {"up": ""} if data.name == "tiny clouds" else {}
    shown = press.fn(0, None, *fields.values(), *(["error", "error", ""] if data.name == "tiny clips" else []))
    assert len(shown) == len(press.outputs)
    for component, value in zip(press.outputs, shown, strict=True):
        if not (isinstance(value, dict) and "__type__" in value):
            component.postprocess(value)
    assert page.analytics_enabled is False
    assert "fonts.googleapis" not in str(page.get_config_file())


def test_its_parts_are_replaced_for_one_answer_and_stand_again_after_it() -> None:
    pairing = hear()
    answerer = Answerer(pairing, Clips(), [Offer(tiny.clip(0))])
    before = [value.clone() for value in pairing(tiny.batch(0)).values()]
    table = answerer.parts(0, None, {})
    assert all(torch.equal(*pair) for pair in zip(before, pairing(tiny.batch(0)).values(), strict=True))
    for words in ("text, by the mean of all classes", "gate, by 1", "the trained method, by nothing", " of 4</td>"):
        assert words in table
    assert "another sample" not in table  # one answer has none
    with pytest.raises(UserError, match="pick a sample"):
        answerer.parts(None, None, {})


def test_a_method_without_parts_offers_no_button() -> None:
    page = build(
        Answerer(tiny.pairing(Frozen()), Clips(), []), heading="<h1>x</h1>", card="", window="x", source="nowhere"
    )
    (button,) = [block for block in page.blocks.values() if getattr(block, "elem_id", "") == "replace"]
    assert not button.visible


def test_a_thumbnail_is_a_picture_whatever_the_sample() -> None:
    samples = ((clips, tiny.clip(0), Clips()), (clouds, cloud(), Clouds()), (pictures, picture(), Pictures()))
    for module, sample, data in samples:
        image = module.thumbnail(sample, data)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] == 3
        Image.fromarray(image).save(io.BytesIO(), "PNG")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["port=7860"], "missing 'adapter=...'"),
        (["adapter=x", "port=none"], "port=none: expected a number from 1 to 65535"),
        (["adapter=x", "port=70000"], "port=70000"),
        (["adapter=x", "share=maybe"], "share=maybe: expected true or false"),
        (["adapter=x", "method.rank=3"], "only data.* of an adapter may be changed"),
    ],
)
def test_a_mistake_in_the_command_is_said_before_anything_is_loaded(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        demo.main(words)
    assert stopped.value.code == 2
    assert expected in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_with_another(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as stopped:
            demo.main(["adapter=x", f"port={port}"])
    assert stopped.value.code == 1
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_without_gradio_one_line_says_what_to_install() -> None:
    code = (
        "import sys, importlib.util as u; real = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'gradio' else real(name, *a)\n"
        "from zoo.demo import main; main(['adapter=x'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines() == [
        "error: the page needs gradio, which is not installed: pip install 'multimodal-peft-zoo[demo]'"
    ]
