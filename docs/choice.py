"""Which recipe to take, by the cards' own evidence: how each method stands to plain LoRA, a probe and its controls."""

from collections.abc import Sequence
from typing import Any

from zoo.catalog import card, evidence
from zoo.catalog.entries import Control, Entry
from zoo.metrics.names import named

SIMPLE = {
    "LoRA": ("lora", "static_lora"),
    "linear probe": ("linear_probe",),
    "head alone": ("head_only",),
}
"""Ways that need no method of the zoo, and the variants that train them."""

OPENING = """## Which one should I take?

By what you have: clips with sound take a `tb_ava*` recipe, point clouds `mantis*`, pictures from above with a label
`scale_earth_rsscn7` or `scale_aware_*`, questions about pictures `scale_earth` or `small_llava_rsscn7`, pictures with
masks `lite_medsam_isbi`, `sam2_kvasir` or `dinov2_cells`.
[Your own data](../own_data.md) go into any of them.

By what it is worth: every number below was measured by this code, on the same test split and the same frozen backbones
as the simpler ways beside it. A simpler way is *better* or *worse* than the method where the paired 95 % interval of
the difference says so, and otherwise not clearly different."""


def advice(recipes: Sequence[Entry]) -> str:
    """A paragraph and a table, made from the main comparison of every card."""
    compared = [(entry, rows) for entry in recipes if (rows := _rows(entry))]
    lines = [
        "| recipe | data | measured | " + " | ".join(SIMPLE) + " | best of all controls |",
        "| --- | --- | --- |" + " --- |" * (len(SIMPLE) + 1),
    ]
    verdicts: dict[str, list[str]] = {"better": [], "no clear difference": [], "worse": []}
    simple: list[str] = []
    for entry, rows in compared:
        controls = {name: next((rows[key] for key in keys if key in rows), None) for name, keys in SIMPLE.items()}
        best = max(rows.values(), key=lambda one: one.value)
        verdicts[best.verdict].append(f"[`{entry.name}`]({entry.name}.md)")
        if any(one and one.verdict != "worse" for one in controls.values()):
            simple.append(f"`{entry.name}`")
        assert entry.measured is not None
        cells = [_cell(one) for one in controls.values()]
        own = f"{entry.measured.value:.1f} % {entry.measured.metric} (n = {entry.measured.n}, {_seeds(entry)})"
        row = [f"[`{entry.name}`]({entry.name}.md)", entry.data, own, *cells, f"{best.name}: {_cell(best)}"]
        lines.append(f"| {' | '.join(row)} |")
    said = [
        f"Of the {len(compared)} recipes that were compared with controls,",
        f"the best control beats the method in {_listed(verdicts['better'])};",
        f"there is no clear difference in {_listed(verdicts['no clear difference'])};",
        f"the method beats all its controls in {_listed(verdicts['worse'])}.",
        f"Plain LoRA, a linear probe or a head alone is not clearly worse than the method in {_listed(simple)}.",
        "**So train those first**: they are among the `variants:` of the recipe, and",
        "`zoo compare recipe=NAME` puts them beside it on your own data.",
        "The other recipes have not been compared, or not been measured: their pages say which.",
    ]
    return "\n\n".join([OPENING, "\n".join(said), "\n".join(lines)])


def _rows(entry: Entry) -> dict[str, Control]:
    """The controls of a recipe's main comparison, by the name of the variant."""
    found: dict[str, Any] = evidence.read(card.folder() / f"{entry.name}.md")
    main = found["comparisons"].get("main")
    if not main or entry.measured is None:
        return {}
    metric = main["about"]["metric"]
    return {
        row["name"]: Control(named(row["name"]), row["metrics"][metric]["mean"], row["gap"])
        for row in main["rows"]
        if row["gap"]
    }


def _seeds(entry: Entry) -> str:
    count = len(entry.measured.seeds) if entry.measured else 0
    return f"{count} seed{'s' * (count > 1)}"


def _cell(control: Control | None) -> str:
    return "not trained" if control is None else f"{control.value:.1f} %, {control.verdict}"


def _listed(names: Sequence[str]) -> str:
    return "none" if not names else " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
