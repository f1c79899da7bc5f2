"""A split is measured with one part of a method replaced at a time, and what does nothing is said to."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import point_tiny
import pytest
import tiny
import torch
from scale_tiny import encoder
from tiny_data import Some, Tiny

from zoo.adapter import public_record
from zoo.backbones.base import TextEncoder
from zoo.batch import SampleSet
from zoo.catalog import card_tables
from zoo.methods.base import Backbones, Method
from zoo.methods.frozen import Frozen
from zoo.methods.lora import LoRA
from zoo.methods.mantis import Mantis
from zoo.methods.tb_ava import TBAVA
from zoo.pairing import Pairing
from zoo.records import interventions
from zoo.tasks.classification import Classification
from zoo.training.interventions import drawn, intervene
from zoo.training.loaders import Loaders

CPU = torch.device("cpu")
CLIPS: dict[str, Callable[[], Method]] = {
    "tb_ava": lambda: TBAVA(rank=4),
    "tb_ava cosine": lambda: TBAVA(rank=4, relevance="cosine"),
    "lora": lambda: LoRA(rank=2, targets={"vision": ["1"], "audio": ["conv1"]}),
}


def loaders_of(pairing: Pairing, kind: str = "clips") -> Loaders:
    loaders = Loaders(Tiny(kind=kind), pairing, batch_size=2)
    loaders.setup()
    return loaders


def moved(pairing: Pairing) -> Pairing:
    """With every trained tensor elsewhere than where it starts, strongly enough to change predictions."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in pairing.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
    return pairing.eval()


@pytest.mark.parametrize("name", CLIPS)
def test_without_the_method_features_are_the_frozen_ones_and_come_back(name: str) -> None:
    pairing, data = moved(tiny.pairing(CLIPS[name]())), tiny.batch(0, 1, 2)
    frozen, before = tiny.pairing(Frozen())(data), pairing(data)
    with pairing.method.interventions()["without"]():
        assert all(torch.equal(value, frozen[stream]) for stream, value in pairing(data).items())
    assert all(torch.equal(value, before[stream]) for stream, value in pairing(data).items())
    assert not any(torch.equal(before[stream], frozen[stream]) for stream in before)


def test_without_scale_earth_or_mantis_features_are_the_frozen_ones() -> None:
    from scale_tiny import pictures

    for pairing, plain, data in (
        (encoder(), encoder(scale="none", estimate=False), pictures(0.3, 10.0)),
        (
            point_tiny.pairing(Mantis(rank=2), Classification(hidden=(8,))),
            point_tiny.pairing(Frozen(), Classification(hidden=(8,))),
            point_tiny.batch(0, 1, 2),
        ),
    ):
        expected = plain.eval()(data)
        with moved(pairing).method.interventions()["without"]():
            assert all(torch.equal(value, expected[stream]) for stream, value in pairing(data).items())


@pytest.mark.parametrize("name", CLIPS)
def test_every_intervention_acts_on_a_method_that_has_moved(name: str) -> None:
    pairing = moved(tiny.pairing(CLIPS[name]()))
    before = {key: value.clone() for key, value in pairing.state_dict().items()}
    measured = intervene(loaders_of(pairing), "val", CPU)
    assert measured["n"] == 5
    assert set(measured["replaced"]) == set(pairing.method.interventions())
    assert measured["replaced"]["without"]["changed"] > 0
    for one in measured["replaced"].values():
        low, high = one["interval"]
        assert low <= one["change"] <= high
    assert set(measured["signals"]) == set(pairing.method.controlled())
    assert all(torch.equal(value, before[key]) for key, value in pairing.state_dict().items())
    again = intervene(loaders_of(pairing), "val", CPU)
    assert again == measured  # nothing of the first time is left


class Deaf(TBAVA):
    """Messages are drowned before anything is done with them."""

    def attach(self, backbones: Backbones, text: TextEncoder | None = None, classes: Sequence[str] = ()) -> None:
        super().attach(backbones, text, classes)
        for site in self.sites:
            for stream in site.streams.values():
                stream.shift.weight.requires_grad_(False).zero_()
                stream.shift.bias.requires_grad_(False).zero_()


def test_a_dead_bridge_is_found_and_named() -> None:
    pairing = moved(tiny.pairing(Deaf(rank=4)))
    record = {"interventions": {"val": intervene(loaders_of(pairing), "val", CPU)}}
    lines = interventions.inert(record)
    named = [line.partition(" is inert")[0] for line in lines]
    assert named == ["mechanism 'text'", "mechanism 'message'", "mechanism 'gate'"]
    assert all("replacing it changes 0.00 % of the predictions on validation" in line for line in lines)
    live = moved(tiny.pairing(TBAVA(rank=4, relevance="cosine", temperature=0.01)))
    with torch.no_grad():
        for site in live.method.sites:
            for stream in site.streams.values():
                stream.shift.weight *= 100
    assert interventions.inert({"interventions": {"val": intervene(loaders_of(live), "val", CPU)}}) == []


def test_a_head_alone_has_nothing_to_replace() -> None:
    assert intervene(loaders_of(tiny.pairing(Frozen())), "val", CPU) == {}


def record_of(values: dict[str, float], n: int = 40) -> dict[str, Any]:
    found = {
        name: {"changed": -change, "value": 0.8 + change, "change": change, "interval": [change - 0.1, change + 0.1]}
        for name, change in values.items()
    }
    for name, one in found.items():
        if name != "without":
            one["lost"] = one["change"] / found["without"]["change"]
    signals = {"message": {"channels": 4.0, "spread": 0.1, "effective_rank": 2.5}}
    return {"n": n, "signals": signals, "replaced": found}


def test_tables_say_what_was_replaced_and_what_it_cost() -> None:
    run = {"interventions": {"test": record_of({"text_alike": -0.05, "without": -0.2})}}
    measured = interventions.of([run])
    assert interventions.cells(interventions.summary(measured, 100), interventions.intervals(measured, 100)) == [
        ["text, by the mean of all classes", "5.00", "-5.00", "-15.00..+5.00", "25.00"],
        ["the trained method, by nothing", "20.00", "-20.00", "-30.00..-10.00", ""],
    ]
    other = {"interventions": {"test": record_of({"text_alike": -0.15, "without": -0.2})}}
    both = interventions.of([run, other])
    assert interventions.intervals(both, 100) is None
    first, _ = interventions.cells(interventions.summary(both, 100))
    assert first == ["text, by the mean of all classes", "10.00±7.07", "-10.00±7.07", "", "50.00±35.36"]
    assert interventions.summary([], 100) == {}
    page = card_tables.results({}, {}, [{"unit": "fraction", **run}])
    assert "| text, by the mean of all classes | 5.00 | -5.00 | -15.00..+5.00 | 25.00 |" in page
    assert "| message | 4 | 2.50 | 0.100 |  |" in page
    # An evaluation stands in for a training that measured none; the last one counts.
    evaluated = {"unit": "fraction", "evaluations": [other, run]}
    assert interventions.of([evaluated]) == [run["interventions"]["test"]]


def test_a_run_keeps_them_through_publication() -> None:
    measured = record_of({"text_alike": 0.0, "without": -0.2})
    record = {"metrics": {"accuracy": 0.8}, "manifest": {"recipe": "tb_ava"}, "interventions": {"val": measured}}
    kept = public_record.record(record)["interventions"]
    assert json.loads(json.dumps(kept)) == json.loads(json.dumps({"val": measured}))


def test_a_constant_that_was_moved_is_no_mechanism_at_work() -> None:
    measured = record_of(
        {"gate_mean": 0.0, "gate_other": -0.002, "gate_open": -0.3, "fuse_open": -0.2, "without": -0.4}
    )
    assert interventions.changes(measured) == {"gate": 0.002, "fuse": 0.2, "without": 0.4}
    assert interventions.inert({"interventions": {"val": measured}}) == [
        "mechanism 'gate' is inert: replacing it changes 0.20 % of the predictions on validation"
    ]


def test_few_pixels_that_decide_the_metric_are_a_mechanism_at_work() -> None:
    measured = record_of({"gate_mean": -0.005, "gate_other": -0.004, "text_alike": -0.005, "without": -0.4})
    measured["replaced"]["gate_mean"]["interval"] = [-0.007, -0.003]
    (line,) = interventions.inert({"interventions": {"val": measured}})
    assert line.startswith("mechanism 'text' is inert")


class Cut(SampleSet[Any]):
    """Thirty pictures of three squares each."""

    def __len__(self) -> int:
        return 90

    def together(self, index: int) -> range:
        return range(index // 3 * 3, index // 3 * 3 + 3)


def test_no_picture_is_measured_without_all_of_its_squares() -> None:
    rows = drawn(Cut(), 20)
    assert len(rows) == len(set(rows)) == 21
    assert {row // 3 for row in rows} == {rows[k] // 3 for k in range(0, 21, 3)}
    assert sorted(drawn(Cut(), 1000)) == list(range(90))


def test_samples_by_themselves_are_drawn_as_they_were() -> None:
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0)).tolist()
    assert drawn(Some("clouds", 0, 8), 5) == order[:5]
