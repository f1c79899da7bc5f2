"""The page in a real browser without a window: pick a sample, press, see the answer drawn, drop bad and good files."""

import contextlib
import io
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av_files
import numpy as np
import picture_files
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page needs the extra `demo`")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="the browser is driven by playwright, not installed here"
)
pytestmark = pytest.mark.slow

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium on this machine", allow_module_level=True)
SOFTWARE = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
"""WebGL without a graphics card."""
PATIENCE = 60_000
"""Milliseconds for an answer on a busy machine."""


class Served(NamedTuple):
    """A page, and what its command printed on standard error."""

    url: str
    errors: Path


@contextlib.contextmanager
def served(name: str, folder: Path) -> Iterator[Served]:
    """`python -m zoo.demo` of an adapter until the block ends; then it stops at once and leaves no upload behind."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary, errors = folder / "tmp", folder / "stderr"
    temporary.mkdir()
    command = [sys.executable, "-m", "zoo.demo", f"adapter={name}", f"port={port}"]
    with errors.open("w") as file:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env={**os.environ, "TMPDIR": str(temporary)}
        )
    try:
        assert process.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(process.stdout.readline()), daemon=True).start()
        line = lines.get(timeout=240)
        assert re.match(rf"http://127.0.0.1:{port}  \(ready after [\d.]+ s", line), line + errors.read_text()
        yield Served(f"http://127.0.0.1:{port}", errors)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert not list(temporary.glob("zoo-demo-*"))
        assert "Traceback" not in errors.read_text()
    finally:
        process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served("mantis-furniture", tmp_path_factory.mktemp("furniture")) as server:
        yield server


@contextlib.contextmanager
def opened(browser: Any, url: str) -> Iterator[Any]:
    """The page, cut off from everything but its own server, at which it must not even try."""
    elsewhere: list[str] = []

    def judge(route: Any) -> None:
        if route.request.url.startswith((url, "data:", "blob:")):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    page = browser.new_page(viewport={"width": 1360, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.route("**/*", judge)
    page.goto(url)
    page.wait_for_selector("#samples img")
    yield page
    page.close()
    assert elsewhere == []


def pick(page: Any, sample: int) -> None:
    page.locator("#samples button").nth(sample).click()
    playwright.expect(page.locator("#samples button.selected, #samples .selected")).to_have_count(1)
    page.wait_for_timeout(500)  # the fields are filled by the server


def press(page: Any) -> str:
    """Press Answer and wait for what is said."""
    page.click("#answer")
    page.wait_for_timeout(300)
    page.get_by_text(re.compile(r"Answered in [\d.]+ s")).wait_for()
    page.wait_for_timeout(2000)  # plots are drawn after the text
    said: str = page.locator("#result").inner_text()
    return said


def drop(page: Any, file: Path) -> None:
    clear = page.locator('#upload button[aria-label="Clear"]')
    if clear.count():
        clear.first.click()
    page.set_input_files("#upload input[type=file]", str(file))
    page.locator("#upload").get_by_text(file.stem).first.wait_for()
    page.wait_for_timeout(500)


def refused(page: Any, file: Path) -> str:
    """Drop a bad file and press; the one line that is shown."""
    drop(page, file)
    page.click("#answer")
    return said_no(page)


def said_no(page: Any) -> str:
    """What stands in the place of an answer; no message flies by, and no mark of an error stays elsewhere."""
    page.locator(".zoo-refused:visible").wait_for()
    assert page.locator("[data-testid=toast-body]").count() == 0
    assert page.locator("#result .error:visible").count() == 0
    message: str = page.locator(".zoo-refused").inner_text()
    return message


def drawn(page: Any, element: str) -> np.ndarray:
    """Pixels of an element, uint8 [H, W, 3], which must hold more than a frame and letters."""
    pixels = np.asarray(Image.open(io.BytesIO(page.locator(element).screenshot())).convert("RGB"))
    colours = pixels.astype(int)
    assert ((colours.max(-1) - colours.min(-1)) > 60).mean() > 0.005, f"nothing coloured is drawn in {element}"
    return pixels


def test_a_clip_gets_its_timeline_gates_and_table(browser: Any, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.mp4", tmp_path / "good.mp4"
    bad.write_bytes(b"no video at all")
    av_files.write_clip(good, seconds=10)
    with served("tb_ava-synthetic", tmp_path) as server, opened(browser, server.url) as page:
        heading = page.locator(".zoo-head").inner_text()
        assert re.search(r"Measured \d\d\.\d\d % segment accuracy on synthetic audio-visual events", heading)
        assert "synthetic data: not a benchmark result" in heading
        pick(page, 2)
        assert "of its segments are right" in press(page)
        assert page.locator("#film img").count() == 10
        assert page.locator("#timeline .heatmaplayer image").count() == 1
        assert page.locator("#gates .heatmaplayer image").count() == 2  # one site a stream
        assert page.locator("#result table").get_by_text("9 to 10").count() > 0
        drawn(page, "#timeline")
        assert "bad.mp4 cannot be decoded" in refused(page, bad)
        drop(page, good)
        said = press(page)
        assert "segments are right" not in said  # nobody knows
        assert page.locator("#timeline").get_by_text("truth").count() == 0


def test_a_cloud_can_be_turned(browser: Any, furniture: Served, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.xyz", tmp_path / "good.npy"
    bad.write_text("1 2\n3 4\n")
    np.save(good, np.random.default_rng(0).random((300, 3)))
    with opened(browser, furniture.url) as page:
        pick(page, 4)
        assert re.search(r"p = 0\.\d\d", press(page))
        before = drawn(page, "#cloud")
        drawn(page, "#control")
        box = page.locator("#cloud").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 120, y - 30, steps=8)
        page.mouse.up()
        page.wait_for_timeout(1000)
        assert (drawn(page, "#cloud") != before).any(-1).mean() > 0.01
        assert "bad.xyz has shape [2, 2]" in refused(page, bad)
        drop(page, good)
        assert "300 points are repeated to 512" in press(page)
        drawn(page, "#cloud")


def test_a_picture_gets_its_answer_and_where_its_scale_came_from(browser: Any, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.tif", tmp_path / "good.tif"
    bad.write_bytes(b"II*\0junk")
    bands = picture_files.picture(0, 3, 112).transpose(2, 0, 1)
    picture_files.geotiff(good, bands, crs=picture_files.UTM, pixel=0.5)
    with served("scale_earth-scenes", tmp_path) as server, opened(browser, server.url) as page:
        pick(page, 1)
        gsd, question, choices = (page.get_by_label(name) for name in ("Ground sampling", "Question", "Choices"))
        assert float(gsd.input_value()) > 0
        assert "|" in choices.input_value()
        said = press(page)
        assert "told, which goes before any estimate" in said
        assert re.search(r"90 % interval [\d.]+ to [\d.]+ m", said)
        assert page.locator("#result li.chosen").count() <= 1
        drawn(page, "#gsd")
        gsd.fill("")
        assert re.search("nobody tells it", press(page))
        gsd.fill("wide")
        page.click("#answer")
        page.get_by_text("gsd: expected metres per pixel, got 'wide'").wait_for()
        assert "bad.tif cannot be read" in refused(page, bad)
        pick(page, 2)
        assert float(gsd.input_value()) > 0
        drop(page, good)
        assert gsd.input_value() == ""  # it was of the sample before
        question.fill("Is there a <b>road</b>?")
        choices.fill("yes|no")
        said = press(page)
        assert "Is there a <b>road</b>?" in said
        assert re.search(r"0\.5 m\s+a pixel, as the file says", said)
        for path in ("/etc/hostname", server.errors, Path("pyproject.toml").resolve()):
            with pytest.raises(urllib.error.HTTPError) as refusal:
                urllib.request.urlopen(f"{server.url}/gradio_api/file={path}", timeout=10)
            assert refusal.value.code in (403, 404)


def test_two_visitors_at_once_get_their_own_answers(browser: Any, furniture: Served) -> None:
    with opened(browser, furniture.url) as one, opened(browser, furniture.url) as other:
        pick(one, 0)
        pick(other, 5)
        one.click("#answer")
        other.click("#answer")
        together = [said_first(page) for page in (one, other)]
        alone = []
        for page, sample in ((one, 5), (other, 0)):
            pick(page, sample)
            press(page)
            alone.append(said_first(page))
        assert together == alone[::-1]


def said_first(page: Any) -> str:
    """The headline, once it is there."""
    page.get_by_text(re.compile("Answered in")).wait_for()
    headline: str = page.locator("#result .zoo-said:visible").first.inner_text()
    return headline


@pytest.mark.parametrize("width", [390, 1200])
def test_a_page_fits_a_telephone_and_says_at_once_that_nothing_is_picked(
    browser: Any, tmp_path: Path, width: int
) -> None:
    with served("tb_ava-synthetic", tmp_path) as server, opened(browser, server.url) as page:
        page.set_viewport_size({"width": width, "height": 844})
        page.click("#answer")
        assert "Pick a sample or drop a file first" in said_no(page)
        pick(page, 2)
        assert page.locator(".zoo-refused:visible").count() == 0
        press(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for picture in page.locator("#film img").all():
            box = picture.bounding_box()
            assert box["width"] == pytest.approx(box["height"] - 5, abs=6), "pictures keep their shape"
            assert box["width"] >= 50
        for part in ("#segments td", "#segments th", "#gates .annotation-text", "#timeline .xtick text"):
            for found in page.locator(part).all():
                box = found.bounding_box()
                assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= width + 1), part
