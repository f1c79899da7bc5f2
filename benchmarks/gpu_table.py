"""`python benchmarks/gpu_table.py [results=FOLDER] [--write]`: what a GPU measured, as tables and in cards.

FOLDER (default: benchmarks/gpu_results) holds what `benchmarks/gpu.py` left there. Says which document does not follow
from these files, exit code 1; `--write` makes them follow: the tables of benchmarks/README.md, the sentences on GPUs
there and in README.md, and `zoo.hardware` with its table in the cards of the recipes that were measured. Nothing of it
is written by hand; without files the documents say that nothing was run.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpu_steps import CASES

from zoo.catalog import card
from zoo.files import write_whole

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "benchmarks/README.md")
SECTIONS = ("tests", "scan", "steps", "cache")
BEGIN, END = "<!-- gpu:begin -->", "<!-- gpu:end -->"
SAID, SAID_END = "<!-- gpu -->", "<!-- /gpu -->"
UNTRIED = "not yet run by us on a GPU"
Row = Mapping[str, Any]


class ResultError(Exception):
    """Results that no table may be made of."""


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Results by section; none where the folder has none.

    Raises:
        ResultError: a file was not measured on a GPU, at true sizes, from a clean commit; or on another GPU or commit
            than its neighbours.
    """
    files = {name: folder / f"{name}.json" for name in ("sections", *SECTIONS)}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in files.items() if path.is_file()}
    for name, content in found.items():
        wrong = {
            f"measured on {content['hardware']}": content["hardware"].startswith("CPU"),
            "measured at tiny sizes": content.get("tiny", False),
            "of uncommitted changes": content["commit"]["dirty"],
            "of no known commit": not content["commit"]["commit"],
        }
        for what, so in wrong.items():
            if so:
                raise ResultError(
                    f"{files[name]}: {what}; expected a GPU and a clean commit: run benchmarks/gpu.sh again"
                )
    for key, several in (("hardware", "GPUs"), ("commit", "commits")):
        if len({json.dumps(content[key]) for content in found.values()}) > 1:
            raise ResultError(f"{folder}: results of several {several}; expected those of one run of benchmarks/gpu.py")
    return found


def tables(results: Mapping[str, dict[str, Any]]) -> str:
    """Everything that was measured, in Markdown."""
    if not results:
        return f"{UNTRIED[0].upper()}{UNTRIED[1:]}, so there is no table here."
    about = next(iter(results.values()))
    torch = about["versions"]["torch"]
    parts = [f"Commit {about['commit']['commit'][:8]}, {about['date']}, {about['hardware']}, torch {torch}."]
    if "sections" in results:
        ended = [f"`{one['section']}` {one['ended']} ({one['seconds']} s)" for one in results["sections"]["sections"]]
        parts.append(f"{', '.join(ended)}; what was cut off keeps the rows it had.")
    parts += [MADE[name](results[name]) if name in results else f"`{name}`: not measured." for name in SECTIONS]
    return "\n\n".join(parts)


def _table(header: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def _tests(content: Row) -> str:
    outcomes = [row["outcome"] for row in content["rows"]]
    counted = ", ".join(f"{outcomes.count(one)} {one}" for one in ("passed", "failed", "skipped"))
    failed = [f"- `{row['test']}`: {row['error']}" for row in content["rows"] if row["outcome"] == "failed"]
    return "\n".join([f"`pytest -m gpu`: {counted}.", *failed])


def _scan(content: Row) -> str:
    def cells() -> Iterator[tuple[Any, ...]]:
        for row in content["rows"]:
            about = (row["L"], row["B"], row["dtype"], row["scan"])
            if "error" in row:
                yield *about, row["error"], "", "", "", ""
                continue
            times = [(row[f"{way}_ms"], row[f"{way}_limit_ms"]) for way in ("forward", "backward")]
            yield *about, *(cell for ms, least in times for cell in (f"{ms:.3f}", f"{ms / least:.1f}")), _gib(row)

    header = ("L", "B", "type", "scan", "forward, ms", "of the limit", "backward, ms", "of the limit", "peak, GiB")
    title = (
        f"The scan, D = {content['channels']}, S = {content['states']}, beside the time that its bytes take at the "
        f"{content['copied_gb_per_s']:.0f} GB/s of a measured copy:"
    )
    return f"{title}\n\n{_table(header, cells())}"


def _steps(content: Row) -> str:
    def cells() -> Iterator[tuple[Any, ...]]:
        for row in content["rows"]:
            about = (CASES[row["case"]].about, row["method"], row.get("kind", ""), row.get("batch", ""))
            if "error" in row:
                yield *about, row["error"], "", ""
            elif "median_ms" in row:
                yield *about, f"{row['median_ms']:.1f}", _gib(row), f"{100 * row['of_peak']:.1f} %"

    peaks = ", ".join(f"{name} {value:.0f}" for name, value in content["peak_tflop_per_s"].items())
    header = ("backbone", "method", "arithmetic", "batch", "step, ms", "peak, GiB", "of peak FLOP/s")
    return f"Training steps, and the TFLOP/s of one large product ({peaks}):\n\n{_table(header, cells())}"


def _cache(content: Row) -> str:
    rows = ((row["epoch"], row["samples"], f"{row['seconds']:.2f}") for row in content["rows"])
    return f"An epoch of `{content['recipe']}`:\n\n{_table(('frozen features', 'samples', 'seconds'), rows)}"


def _gib(row: Row) -> str:
    return f"{row['peak_mib'] / 1024:.2f}"


MADE: dict[str, Callable[[Row], str]] = {"tests": _tests, "scan": _scan, "steps": _steps, "cache": _cache}


def document(text: str, results: Mapping[str, dict[str, Any]]) -> str:
    """A document with what it says of GPUs made anew."""
    said = UNTRIED
    if results:
        said = f"run by us on {next(iter(results.values()))['hardware']}"
    before, found, rest = text.partition(SAID)
    if found:
        text = before + SAID + said + SAID_END + document(rest.partition(SAID_END)[2], results)
    before, found, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables(results)}\n{END}{rest.partition(END)[2]}" if found else text


def cards(results: Mapping[str, dict[str, Any]], root: Path) -> Iterator[tuple[Path, card.Card]]:
    """Every card of a measured kind of recipe, with its steps on the GPU or, where none was measured, without."""
    content = results.get("steps", {"rows": []})
    for recipe in sorted({case.recipe for case in CASES.values()}):
        path = root / "model_cards" / f"{recipe}.md"
        page = card.read(path)
        own = {key: value for key, value in page.front["zoo"].items() if key != "hardware"}
        steps = [
            {
                "what": CASES[row["case"]].about,
                "method": own["method"] if row["method"] == "recipe" else "LoRA (peft)",
                "arithmetic": row["kind"],
                "batch": row["batch"],
                "ms": round(row["median_ms"], 1),
                "gib": round(row["peak_mib"] / 1024, 2),
                "of_peak": round(100 * row["of_peak"], 1),
            }
            for row in content["rows"]
            if CASES[row["case"]].recipe == recipe and "median_ms" in row
        ]
        if steps:
            about = {"gpu": content["hardware"], "commit": content["commit"]["commit"], "date": content["date"]}
            own["hardware"] = {**about, "steps": steps}
        yield path, replace(page, front={**page.front, "zoo": own})


def main(argv: list[str], root: Path = ROOT) -> int:
    """Compare or write; exit code 1 where a document does not follow from the results, 2 for a mistake."""
    words = dict(word.partition("=")[::2] for word in argv)
    if strange := words.keys() - {"results", "--write"}:
        print(f"{', '.join(sorted(strange))}: expected results=FOLDER or --write", file=sys.stderr)
        return 2
    try:
        results = read(Path(words.get("results", root / "benchmarks" / "gpu_results")))
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    differing = []
    for path in (root / name for name in DOCUMENTS):
        text = path.read_text(encoding="utf-8")
        if (made := document(text, results)) != text:
            differing.append(path)
            if "--write" in words:
                write_whole(path, made)
    for path, page in cards(results, root):
        if page.front != card.read(path).front:
            differing.append(path)
            if "--write" in words:
                card.write(path, page)
    verb = "written" if "--write" in words else "does not follow from the results (--write)"
    print("\n".join(f"{path.relative_to(root)}: {verb}" for path in differing) or "every document follows from them")
    return int(bool(differing) and "--write" not in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
