"""Whatever an adapter calls its classes, data and numbers, the page shows it as text; and it shows no other file."""

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import h5py
import pytest
from demo_tiny import Clips, Clouds, Pictures, cloud, feel, hear, look, picture
from omegaconf import OmegaConf
from tiny import clip

gradio = pytest.importorskip("gradio", reason="the page needs the extra `demo`")
from data_modules.errors import DataError  # noqa: E402 - it needs the extra
from zoo.demos.heading import card, heading  # noqa: E402 - it needs the extra
from zoo.demos.offers import Offer  # noqa: E402 - it needs the extra
from zoo.demos.page import Answerer, build, refusal  # noqa: E402 - it needs the extra

EVIL = '<img src=x onerror="alert(1)"><script>steal()</script></p><a href="https://elsewhere">&amp;'
OURS = {"div", "h1", "p", "b", "span", "small", "ul", "li", "h3", "br"}
OURS |= {"figure", "figcaption", "img", "@src", "@alt", "table", "tr", "th", "td"}
RECORD: dict[str, Any] = {
    "monitor": EVIL,
    "unit": EVIL,
    "n": EVIL,
    "split": EVIL,
    "metrics": {EVIL: 0.793},
    "intervals": {EVIL: [0.761, 0.823]},
    "manifest": {"data": {"name": EVIL, "synthetic": EVIL}},
}


class Seen(HTMLParser):
    """Tags and text as a browser's parser finds them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text = ""
        self.feed(str(html))

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] += 1
        self.tags.update(f"@{name}" for name, _ in attrs if name not in ("class", "style"))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_value_of_the_heading_becomes_markup() -> None:
    pairing = feel()
    pairing.forced = [EVIL]
    block = {"_target_": f"a.{EVIL}"}
    seen = Seen(heading(EVIL, OmegaConf.create({"method": block, "backbones": {"p": block}}), pairing, RECORD))
    assert set(seen.tags) <= OURS
    assert seen.text.count(EVIL) >= 6
    assert f"n = {EVIL}" in seen.text


def test_a_card_brings_no_markup_no_script_and_loads_no_picture(tmp_path: Path) -> None:
    text = (
        f"---\nfront: matter\n---\n# Mine {EVIL}\n<!-- hidden -->\n![seen](https://elsewhere/pixel.png)\n"
        "[run](javascript:alert(1)) [data](data:text/html,x) [paper](https://arxiv.org/abs/1)\n\n"
        "| a | b |\n|---|---|\n| 1 | <b> |\n\n```bash\nrun/<time>\n```\n"
    )
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    seen = Seen(shown := card(tmp_path))
    assert not {"img", "script", "b", "iframe"} & set(seen.tags)
    assert "run/<time>" in seen.text
    assert seen.tags["table"] == 1
    assert "hidden" not in shown
    assert "matter" not in shown
    assert 'href="https://arxiv.org/abs/1"' in shown
    assert 'href="javascript' not in shown
    assert 'href="data' not in shown


@pytest.mark.parametrize(
    ("pairing", "data", "sample"),
    [(hear, Clips(), clip(0)), (feel, Clouds(), cloud()), (look, Pictures(), picture())],
    ids=["clips", "clouds", "pictures"],
)
def test_no_class_and_no_note_becomes_markup(pairing: Any, data: Any, sample: Any) -> None:
    loaded = pairing()
    loaded.classes = [f"{k} {EVIL}" for k, _ in enumerate(loaded.classes)]
    loaded.forced = [EVIL]
    answerer = Answerer(loaded, data, [Offer(sample)])
    page = build(answerer, heading="<h1>x</h1>", card="<p>card</p>", window=EVIL, source=EVIL)
    fields = {"gsd": "0.5", "question": EVIL, "choices": f"{EVIL}|two"} if data.name == "tiny pictures" else {}
    told_fields = dict(fields)
    shown = answerer.answer(0, None, fields)
    (press,) = [found for found in page.fns.values() if found.name == "answer"]
    for component, value in zip(press.outputs[3:], shown, strict=True):
        told = value.get("value", "") if isinstance(value, dict) else value
        if isinstance(component, gradio.HTML) and told:
            assert set(Seen(str(told)).tags) <= OURS
        elif isinstance(component, gradio.Plot) and told is not None:
            assert "<img" not in told.to_json().replace("\\u003c", "<")
    assert set(Seen(answerer.parts(0, None, dict(told_fields))).tags) <= OURS
    for block in page.blocks.values():
        if isinstance(block, gradio.HTML):
            assert set(Seen(str(block.value)).tags) <= OURS


def test_a_visitor_of_the_page_gets_no_byte_of_another_file(tmp_path: Path) -> None:
    stolen = tmp_path / "steal.h5"
    (tmp_path / "key.bin").write_bytes(bytes(range(96)))
    with h5py.File(stolen, "w") as file:
        file.create_dataset("data", (32, 3), "u1", external=[(str(tmp_path / "key.bin"), 0, 96)])
    page = Answerer(feel(), Clouds(points=40), [])
    with pytest.raises(DataError) as caught:
        page.answer(None, str(stolen), {})
    told = refusal(caught.value, str(stolen))
    assert "<span>steal.h5: " in told
    assert "which is not followed" in told
    assert str(tmp_path) not in told


def test_nothing_of_a_refusal_becomes_markup() -> None:
    for path in (None, "/tmp/x/file"):
        seen = Seen(refusal(DataError(f"{EVIL} is none"), path))
        assert set(seen.tags) <= OURS
        assert f"{EVIL} is none" in seen.text
