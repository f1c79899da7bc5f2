"""What the page to try an adapter says and draws of an answer, without a browser."""

import re
from dataclasses import replace

import numpy as np
import point_tiny
import pytest
import tiny
import torch
from demo_tiny import Clips, cloud, feel, hear, look, picture

from zoo.demos import clips, clouds, pictures
from zoo.demos.answer import ask
from zoo.demos.offers import Offer
from zoo.demos.page import Answerer
from zoo.methods.frozen import Frozen
from zoo.methods.mantis import Mantis
from zoo.tasks.part_segmentation import PartSegmentation
from zoo.tasks.video_parsing import VideoParsing

pytest.importorskip("gradio", reason="the page needs the extra `demo`")


def test_a_clips_page_shows_events_pictures_probabilities_and_gates() -> None:
    answered = ask(hear(), tiny.clip(0))
    names = [*tiny.CLASSES, "background"]
    figure = clips.timeline(answered, names, 0.5)
    (heat,) = figure.data
    assert sorted(heat.y) == sorted(names)
    assert np.array(heat.z).shape == (len(names), tiny.T)
    film = clips.filmstrip(answered, names, 0.5)
    assert film.count('<img src="data:image/jpeg;base64,') == tiny.T
    shown = ["" if name == "background" else name for name in answered.record["segments"]]
    assert re.findall("s<br>([^<]*)<", film) == shown
    assert figure.layout.yaxis.ticktext == ("prediction", "truth")
    gates = {name: value for name, value in answered.observed.items() if name.startswith("gate/")}
    maps = clips.gate_maps(gates, 0.5).data
    assert len(maps) == 4
    assert {np.array(one.z).shape for one in maps} == {(4, tiny.T)}
    rows = clips.table(answered, names, 0.5)
    assert [row[0] for row in rows] == ["0 to 0.5", "0.5 to 1", "1 to 1.5", "1.5 to 2"]
    assert [row[1] for row in rows] == answered.record["segments"]


def test_stretches_of_equal_labels_are_one_event() -> None:
    assert clips.runs(np.array([2, 2, 0, 2])) == [(2, 0, 2), (0, 2, 3), (2, 3, 4)]


def test_a_clip_of_several_events_at_once_has_a_line_for_each() -> None:
    answered = ask(hear(task=VideoParsing(hidden=8, threshold=0.0)), replace(tiny.clip(0), target={}))
    names = [*tiny.CLASSES, "background"]
    assert list(clips.lines(answered, names)) == [f"{m}: {name}" for m in ("audio", "visual") for name in tiny.CLASSES]
    assert len(clips.timeline(answered, names, 1.0).data) == 2
    assert "audio: bell, 0 to 4 s" in clips.headline(answered, names, 1.0)


def test_a_method_without_gates_leaves_their_place_empty() -> None:
    page = Answerer(hear(Frozen()), Clips(), [Offer(tiny.clip(0))])
    *_, gated, gates, _ = page.answer(0, None, {})
    assert gates is None
    assert not gated["visible"]


def test_a_cloud_turns_in_three_dimensions_beside_its_control_signal() -> None:
    sample = cloud(target={"label": torch.tensor(1)})
    answered = ask(feel(), sample)
    points = clouds.cloud(answered, point_tiny.CLASSES, "y").data[0]
    assert points.type == "scatter3d"
    assert np.array_equal(np.stack([points.y, points.z, points.x], 1), sample.points)  # y is drawn upwards
    signal = clouds.control(answered, "y").data[0]
    assert len(signal.x) == point_tiny.GROUPS
    said = point_tiny.CLASSES[int(answered.output["label"])]
    assert clouds.headline(answered, feel()).startswith(f'<p class="zoo-said">{said} ')
    assert ("right" if said == "table" else "it is: table") in clouds.headline(answered, feel())


def test_every_part_of_a_cloud_has_a_colour_and_a_name() -> None:
    task = PartSegmentation(propagation=(8,), hidden=(8, 8))
    pairing = point_tiny.pairing(Mantis(rank=4), task, classes=point_tiny.PARTS, taps=(1, 2)).eval()
    sample = cloud()
    asked = replace(sample, conditions={"category": torch.tensor(1), "points": torch.from_numpy(sample.points)})
    answered = ask(pairing, asked)
    figure = clouds.cloud(answered, point_tiny.PARTS, "z")
    assert {trace.name for trace in figure.data} == set(answered.record["parts"]) <= {"Table/0", "Table/1", "Table/2"}
    assert sum(len(trace.x) for trace in figure.data) == len(sample.points)
    assert len({trace.marker.color for trace in figure.data}) == len(figure.data)


def test_a_picture_says_which_scale_was_used_and_why() -> None:
    pairing = look()
    told = pictures.scale(ask(pairing, picture(0.5)), "m")
    assert "0.5 m <small>a pixel, told" in told
    assert "90 % interval" in told
    unknown = pictures.scale(ask(pairing, picture(float("nan"))), "m")
    assert "2 m <small>a pixel, default" in unknown
    trusting = pictures.scale(ask(look(trust=99.0), picture(float("nan"))), "m")
    assert "estimated" in trusting
    assert "told" not in trusting.replace("tells", "")


def test_a_scale_outside_of_training_is_said_to_be_moved() -> None:
    pairing = look()
    pairing.method.low.fill_(0.0)
    pairing.method.high.fill_(1.0)
    assert "Moved from 0.5 m to the border" in pictures.scale(ask(pairing, picture(0.5)), "m")


def test_the_gates_are_drawn_over_the_scale_with_the_estimates_interval() -> None:
    answered = ask(look(), picture(0.5))
    curve = (np.linspace(-1, 1, 5), np.random.default_rng(0).random((5, 6)))
    figure = pictures.scale_figure(answered, curve, "m")
    assert sum(trace.x[0] is not None for trace in figure.data) == 7  # six gates and their mean
    band, line = figure.layout.shapes
    estimate = answered.record["gsd_estimate"]
    assert (band.x0, band.x1, line.x0) == (estimate["low"], estimate["high"], answered.record["gsd"])


def test_what_a_model_writes_and_what_was_asked_cannot_be_markup() -> None:
    answered = ask(look(), picture())
    answered.record["written"] = "<script>alert(1)</script>"
    html = pictures.headline(answered, look())
    assert "<script>" not in html
    assert "How many &lt;cars&gt;?" in html
