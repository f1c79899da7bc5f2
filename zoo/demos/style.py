"""How the page and its figures look: no font, script or picture comes from elsewhere."""

from html import escape
from typing import Any

import gradio as gr
import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

BLUE, ORANGE, GREY = "#2563eb", "#c2410c", "#718096"

BACKGROUND, FAINT = "#e2e8f0", "rgba(113,128,150,0.25)"

CLASSES = [
    *("#2563eb", "#c2410c", "#15803d", "#7e22ce", "#be123c", "#0f766e", "#a16207", "#4338ca", "#9d174d", "#3f6212"),
    *("#0e7490", "#7c2d12", "#1d4ed8", "#86198f", "#166534", "#92400e", "#075985", "#6b21a8", "#9f1239", "#365314"),
]
"""Of classes and parts in turn, dark enough for white letters."""

SANS = ["ui-sans-serif", "system-ui", "Helvetica Neue", "Arial", "sans-serif"]

MONO = ["ui-monospace", "SFMono-Regular", "Consolas", "monospace"]

CSS = """
.zoo-head h1 {font-size: 1.7rem; font-weight: 700; margin: 0 0 .2rem}
.zoo-head p {margin: .15rem 0; line-height: 1.5}
.zoo-badge {background: #fef3c7; color: #92400e; border-radius: 999px; padding: .12rem .6rem; font-size: .8rem;
  white-space: nowrap}
.zoo-warning {color: #b45309; font-weight: 600; margin: 0 0 .2rem}
.zoo-caption {margin-bottom: -.6rem}
.prose h3.zoo-title {font-size: 1rem; font-weight: 600; margin: 0}
.zoo-title small {font-size: .85rem; font-weight: 400; opacity: .7}
.zoo-said {font-size: 1.35rem; font-weight: 700; line-height: 1.35; margin: 0}
.zoo-said small {font-size: .9rem; font-weight: 400; opacity: .75}
.zoo-line {margin: .25rem 0 0; line-height: 1.5}
.zoo-chip {display: inline-block; color: #fff; border-radius: 6px; padding: .1rem .55rem; margin: 0 .35rem .3rem 0;
  font-size: 1rem; font-weight: 600}
.zoo-right {color: #15803d; font-weight: 600}
.zoo-wrong {color: #b91c1c; font-weight: 600}
.zoo-choices {margin: .4rem 0 0; padding: 0; list-style: none}
.zoo-choices li {padding: .15rem .6rem; border-radius: 6px; margin: .1rem 0}
.zoo-choices li.chosen {background: #dbeafe; color: #1e3a8a; font-weight: 600}
.zoo-note {opacity: .75; font-size: .9rem; margin: .3rem 0 0}
.zoo-refused {color: #b91c1c; font-size: 1.35rem; font-weight: 700; line-height: 1.35; margin: 0;
  overflow-wrap: anywhere}
.zoo-refused span {display: block; font-size: 1rem; font-weight: 400}
.zoo-film {display: grid; grid-template-columns: repeat(auto-fill, minmax(54px, 1fr)); gap: 4px}
.zoo-film figure {margin: 0; min-width: 0}
.zoo-film img {width: 100%; aspect-ratio: 1; border-radius: 4px; border-bottom: 5px solid}
.zoo-film figcaption {font-size: .75rem; opacity: .75; text-align: center; overflow-wrap: anywhere; line-height: 1.2}
.zoo-table {width: 100%; border-collapse: collapse; font-size: .9rem}
.zoo-table th {text-align: left; font-weight: 600}
.prose .zoo-table, .prose .zoo-table tr {border: 0}
.prose .zoo-table td, .prose .zoo-table th {padding: .2rem .4rem; border: 0;
  border-bottom: 1px solid rgba(113,128,150,0.25); overflow-wrap: break-word}
.dark .zoo-refused {color: #f87171}
.dark .zoo-right {color: #4ade80}
.dark .zoo-wrong {color: #f87171}
.dark .zoo-warning {color: #fbbf24}
"""


def theme() -> gr.themes.Base:
    """Fonts of the reader's own system."""
    found: gr.themes.Base = gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=SANS, font_mono=MONO)
    return found.set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
        block_title_text_weight="600",
    )


def caption(words: str, more: str = "") -> gr.HTML:
    """A heading above a component, whose own label would lie over its content."""
    small = f" <small>{escape(more)}</small>" if more else ""
    return gr.HTML(f'<h3 class="zoo-title">{escape(words)}{small}</h3>', padding=False, elem_classes="zoo-caption")


def styled(figure: go.Figure, *, height: int, **layout: Any) -> go.Figure:
    """The figure with the page's letters and no frame of its own; grey letters can be read on light and on dark."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": ", ".join(SANS), "size": 13, "color": GREY},
        **layout,
    )
    figure.update_xaxes(gridcolor=FAINT)
    figure.update_yaxes(gridcolor=FAINT)
    # Plotly reads HTML in every text: a class of a foreign adapter would be a link.
    figure.for_each_trace(_literal)
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        axis.ticktext = _escaped(axis.ticktext)
    return figure


def _literal(trace: Any) -> None:
    for key in ("name", "x", "y", "text"):
        if key in trace and (value := trace[key]) is not None:
            trace[key] = _escaped(value)


def _escaped(value: Any) -> Any:
    """Text escaped, also in a sequence; numbers as they are."""
    if isinstance(value, str):
        return escape(value, quote=False)
    if isinstance(value, tuple | list) or (isinstance(value, np.ndarray) and value.dtype.kind in "OU"):
        return [_escaped(part) for part in value]
    return value


def shares(classes: list[str], probabilities: NDArray[np.float32]) -> dict[str, float]:
    """Probabilities [K] by the classes' names, for `gr.Label`."""
    return dict(zip((words(name) for name in classes), probabilities.tolist(), strict=True))


def words(name: str) -> str:
    """A class for a reader."""
    return name.replace("_", " ")


def verdict(right: bool, otherwise: str) -> str:
    """Right or wrong, as HTML; what would be right stands in plain words."""
    return f'<span class="zoo-{"right" if right else "wrong"}">{"right" if right else escape(otherwise)}</span>. '
