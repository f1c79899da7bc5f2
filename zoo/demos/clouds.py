"""Clouds on the page: turnable, coloured by height or by part, beside the control signal where a method has one."""

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
import matplotlib
import numpy as np
import plotly.graph_objects as go
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from zoo.batch import Cloud
from zoo.demos.answer import Answer
from zoo.demos.style import CLASSES, caption, shares, styled, verdict
from zoo.pairing import Pairing
from zoo.report.kinds.clouds import AXES, Up, draw, upwards
from zoo.tasks.part_segmentation import PartSegmentation

if TYPE_CHECKING:
    from data_modules.base import DataModule

FILES = "a cloud"

HEIGHT = 430

EYE = {"x": 1.6, "y": -1.9, "z": 0.95}
"""From where the clouds are seen at first, in their own extents."""


def fields(data: "DataModule", pairing: Pairing) -> dict[str, gr.components.Component]:
    """What can be told about a file, by the name of the setting."""
    as_known = f"as its format says, else {upwards(data)}"
    up = gr.Dropdown([(as_known, ""), *AXES], value="", label="Axis that points up in a file of your own")
    if not isinstance(pairing.task, PartSegmentation):
        return {"up": up}
    categories = pairing.task.categories
    category = gr.Dropdown(categories, value=categories[0], label="What a file of your own shows")
    return {"category": category, "up": up}


def filled(cloud: Cloud) -> dict[str, str]:
    """Fields of an offered cloud."""
    return {}


def retold(cloud: Cloud, data: "DataModule", settings: dict[str, str]) -> Cloud:
    """An offered cloud: its category is known."""
    return cloud


def thumbnail(cloud: Cloud, data: "DataModule") -> NDArray[np.uint8]:
    """The cloud from aside, coloured by height."""
    figure = Figure(figsize=(1.6, 1.6), dpi=100, layout="constrained")
    height = cloud.points[:, AXES.index(up := upwards(data))]
    share = (height - height.min()) / (np.ptp(height) or 1.0)
    draw(figure.subplots(), cloud.points, matplotlib.colormaps["viridis"](0.88 * share), up)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def outputs() -> list[gr.components.Component]:
    """Components for `show`."""
    said = gr.HTML(padding=False)
    with gr.Row():
        with gr.Column(min_width=360):
            caption("The cloud", "drag to turn, scroll to come nearer")
            points = gr.Plot(show_label=False, elem_id="cloud")
        with gr.Column(min_width=360, visible=False) as steered:
            caption("Control signal", "at the centres of the groups")
            signal = gr.Plot(show_label=False, elem_id="control")
    with gr.Column(visible=False) as scored:
        caption("Probabilities")
        likely = gr.Label(show_label=False, show_heading=False, num_top_classes=5)
    return [said, points, steered, signal, scored, likely]


def show(answered: Answer, data: "DataModule", pairing: Pairing) -> list[Any]:
    """Headline, cloud, control signal and probabilities of one answer."""
    likely = answered.output.get("probabilities")
    known = {"control", "centres"} <= set(answered.observed)
    return [
        headline(answered, pairing),
        cloud(answered, pairing.classes, upwards(data)),
        gr.update(visible=known),
        control(answered, upwards(data)) if known else None,
        gr.update(visible=likely is not None),
        None if likely is None else shares(pairing.classes, likely),
    ]


def headline(answered: Answer, pairing: Pairing) -> str:
    """What the cloud, or most of it, was said to be, as HTML."""
    output, truth = answered.output, answered.truth("label")
    if "label" in output:
        name = pairing.classes[int(output["label"])]
        said = f"{escape(name)} <small>p = {output['probabilities'].max():.2f}</small>"
    elif pairing.task.wants("parts"):
        counts = Counter(pairing.classes[k] for k in output["parts"].tolist())
        said = ", ".join(f"{escape(name)} <small>{number}</small>" for name, number in counts.most_common())
    elif "explained" in answered.record:
        said = f"{answered.record['explained']:.0%} of the hidden groups' shape is reconstructed"
    else:
        said = answered.plain
    judged = ""
    if truth is not None and "label" in output:
        right = int(truth) == int(output["label"])
        judged = verdict(right, f"it is: {pairing.classes[int(truth)]}")
    points = f"{len(answered.sample.points):,} points. "
    return f'<p class="zoo-said">{said}</p><p class="zoo-note">{judged}{points}{answered.footer}</p>'


def cloud(answered: Answer, classes: list[str], up: Up) -> go.Figure:
    """The points, by part where there are parts, else by height."""
    points, parts = answered.sample.points, answered.output.get("parts")
    figure = go.Figure()
    size = float(np.clip(1500 / len(points), 1.5, 4))
    if parts is None:
        height = points[:, AXES.index(up)]
        marker = {"size": size, "color": height, "colorscale": "Viridis"}
        figure.add_scatter3d(**_placed(points, up), mode="markers", marker=marker, hoverinfo="skip", showlegend=False)
    else:
        for place, part in enumerate(np.unique(parts).tolist()):
            marker = {"size": size, "color": CLASSES[place % len(CLASSES)]}
            figure.add_scatter3d(
                **_placed(points[parts == part], up), mode="markers", marker=marker, name=classes[part]
            )
    return _scene(figure)


def control(answered: Answer, up: Up) -> go.Figure:
    """The channel of the control signal that varies most over the cloud, at the centres of its groups."""
    signal, centres = answered.observed["control"][0], answered.observed["centres"][0]  # [blocks, G, r], [G, 3]
    spread = signal.std(1)
    block, channel = (int(k) for k in np.unravel_index(spread.argmax(), spread.shape))
    values = signal[block, :, channel]
    title = {"text": f"channel {channel + 1} of mixer {block + 1}", "side": "top"}
    figure = go.Figure()
    figure.add_scatter3d(
        **_placed(centres, up),
        mode="markers",
        marker={
            "size": 6,
            "color": values,
            "colorscale": "Plasma",
            "colorbar": {"title": title, "orientation": "h", "y": -0.02, "thickness": 10, "len": 0.6},
        },
        customdata=values,
        hovertemplate="%{customdata:.3f}<extra></extra>",
    )
    return _scene(figure).update_layout(scene_domain_y=[0.16, 1])  # above its scale


def _placed(points: NDArray[np.float32], up: Up) -> dict[str, NDArray[np.float32]]:
    """Coordinates with the up axis as z; cyclic, so that nothing is mirrored."""
    k = AXES.index(up)
    return {"x": points[:, (k + 1) % 3], "y": points[:, (k + 2) % 3], "z": points[:, k]}


def _scene(figure: go.Figure) -> go.Figure:
    axis = {"visible": False}
    scene = {"aspectmode": "data", "xaxis": axis, "yaxis": axis, "zaxis": axis, "camera": {"eye": EYE}}
    legend = {"itemsizing": "constant", "orientation": "h"}
    return styled(figure, height=HEIGHT, scene=scene, legend=legend)
