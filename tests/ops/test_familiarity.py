"""What is unlike training is noticed, kept in the adapter, and told in answers; no scale is estimated of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import run_tiny
import tiny
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from scale_tiny import encoder
from scipy.stats import binom
from tiny_data import Some
from torch import Tensor

from zoo import foreign
from zoo.adapter import directory, places
from zoo.adapter.learnt import learnt
from zoo.batch import Clip, Cloud, Picture
from zoo.catalog import card
from zoo.inference.predictor import predict_batch
from zoo.methods.scale_estimate import DEFAULT, ESTIMATE, METADATA, resolve
from zoo.methods.tb_ava import TBAVA
from zoo.ops.familiarity import CONFIDENCE, DIRECTIONS, LEAST, SHARE, UNLIKE, Familiarity, Stream, described, limit
from zoo.pairing import Pairing
from zoo.train import main as zoo_train
from zoo.training.loaders import Loaders

as_it_was = run_tiny.as_it_was
DRAWN = ("mantis-furniture", "scale_earth-scenes", "tb_ava-synthetic")
SHIPPED = ("mantis-dales", "scale_earth-rsscn7", "tb_ava-grid", *DRAWN)


class Own(run_tiny.Own):
    """Enough tiny samples to set a limit."""

    def splits(self):
        return {"train": Some(self.kind, 0, 60), "val": Some(self.kind, 60, 60), "test": Some(self.kind, 120, 20)}


def knowing(model: Pairing | None = None) -> Pairing:
    """A tiny pairing that has learnt what its clips are like."""
    model = model or tiny.pairing(TBAVA(rank=4, last=1))
    parts = [
        {name: described(tokens) for name, tokens in model.prefix(tiny.batch(*rows)).items()}
        for rows in (range(80), range(80, 140))
    ]
    model.familiarity = Familiarity.fitted(*parts)
    return model.eval()


def far(model: Pairing, *clips: Clip) -> Tensor:
    with torch.no_grad():
        model(model.batch(clips))
    assert model.unlike is not None
    return model.unlike


def silent(clip: Clip) -> Clip:
    return replace(clip, audio=np.zeros_like(clip.audio))


def test_the_distance_is_mahalanobis_where_every_direction_is_kept() -> None:
    rng = np.random.default_rng(0)
    spread = np.eye(12) + 0.2 * rng.normal(size=(12, 12))
    train, other = (torch.tensor(rng.normal(size=(n, 12)) @ spread, dtype=torch.float32) for n in (200, 50))
    assert train.shape[1] <= DIRECTIONS
    found = Stream.fitted(train)(other)
    off = other.double().numpy() - train.double().mean(0).numpy()
    inverse = np.linalg.inv(np.cov(train.double().numpy().T))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", off, inverse, off))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.02)  # directions are kept as float16


@pytest.mark.parametrize("size", [45, 60, 140, 700, 5000])
def test_a_limit_holds_with_the_confidence_it_claims(size: int) -> None:
    distances = torch.randperm(size, generator=torch.Generator().manual_seed(0)).double()
    above = int((distances > limit(distances)).sum())
    assert binom.cdf(above, size, SHARE) <= 1 - CONFIDENCE < binom.cdf(above + 1, size, SHARE)


def test_of_few_distances_the_largest_is_the_limit() -> None:
    assert limit(torch.tensor([1.0, 5.0, 3.0])) == 5.0


def test_too_few_samples_set_no_limit() -> None:
    many, few = ({"points": torch.randn(n, 4)} for n in (100, LEAST - 1))
    assert Familiarity.fitted(many, few) is None
    assert Familiarity.fitted(few, many) is None
    assert Familiarity.fitted({}, {}) is None


def test_samples_like_training_lie_within_the_limit_and_others_beyond() -> None:
    model = knowing()
    assert (far(model, *map(tiny.clip, range(80))) <= 1).float().mean() >= 0.95
    assert (far(model, *map(tiny.clip, range(200, 300))) <= 1).float().mean() >= 0.9
    white = replace(tiny.clip(7), frames=np.full_like(tiny.clip(7).frames, 255))
    assert far(model, white) > 1
    loud = replace(tiny.clip(7), audio=tiny.clip(7).audio * 20)
    assert far(model, loud) > 1, "a sound alone is enough"


def test_a_distance_does_not_depend_on_the_rest_of_the_batch() -> None:
    model, clips = knowing(), [tiny.clip(k) for k in range(6)]
    alone = torch.cat([far(model, clip) for clip in clips])
    assert torch.allclose(far(model, *clips), alone, rtol=1e-4)


def test_a_method_cannot_change_the_distance() -> None:
    model, clips = knowing(), [tiny.clip(k) for k in range(6)]
    before = far(model, *clips)
    tiny.train_steps(model.train())
    assert torch.allclose(far(model.eval(), *clips), before, rtol=1e-4)


def trained(folder: Path) -> Path:
    """The adapter of a tiny training."""
    words = [f"recipe={run_tiny.TINY}", "data._target_=test_familiarity.Own", f"into={folder}"]
    assert zoo_train(words) == 0
    return folder / "adapter"


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_TRUST", "tiny,run_tiny,test_familiarity,tiny_data")


def test_training_learns_it_and_the_adapter_answers_as_the_pairing_did(tmp_path: Path, trusted: None) -> None:
    folder = trained(tmp_path / "run")
    record = json.loads((folder / "metrics.json").read_text())
    assert record["familiarity"]["n"] == 20
    assert record["familiarity"]["fires"] <= 0.2
    _, model = directory.load(folder)
    _, again = directory.load(folder)
    clips = [tiny.clip(k) for k in (3, 130, 131)]
    one, two = (predict_batch(each, clips) for each in (model, again))
    assert [a.record for a in one] == [b.record for b in two]
    assert all(a.record["unlike_training"] > 0 for a in one)
    (odd,) = predict_batch(model, [replace(clips[0], audio=clips[0].audio * 20)])
    assert odd.record["unlike_training"] > 1
    assert UNLIKE in odd.record["notes"]
    assert "notes" not in one[0].record

    trained_part = directory.read(folder)[1]
    assert set(trained_part) == set(model.trainable_state())
    whole = load_file(folder / "adapter.safetensors")
    assert {name for name in whole if name not in trained_part} == {*learnt(model), "text.anchors"}


def test_an_adapter_without_it_answers_as_ever_and_can_learn_it_later(tmp_path: Path, trusted: None) -> None:
    folder = trained(tmp_path / "run")
    _, model = directory.load(folder)
    model.familiarity = None
    metrics = json.loads((folder / "metrics.json").read_text())
    recipe = (folder / "recipe.yaml").read_text()
    bare = directory.save(model, tmp_path / "bare", recipe=recipe, metrics=metrics, card=card.for_adapter)
    _, plain = directory.load(bare)
    (said,) = predict_batch(plain, [tiny.clip(0)])
    assert "unlike_training" not in said.record

    before = directory.read(bare)
    data = Own()
    data.setup("fit")
    found = foreign.measure(Loaders(data, plain), [])
    assert found["fires"] == metrics["familiarity"]["fires"]
    directory.replace(bare, metrics, card=card.for_adapter, beside=learnt(plain))
    after = directory.read(bare)
    assert before[0] == after[0]
    assert all(torch.equal(tensor, after[1][name]) for name, tensor in before[1].items())
    whole, first = (load_file(place / "adapter.safetensors") for place in (bare, folder))
    assert whole.keys() == first.keys()


@pytest.mark.parametrize("fault", ["missing", "shape", "nan", "zero", "stream"])
def test_a_damaged_signal_is_refused(tmp_path: Path, trusted: None, fault: str) -> None:
    state = knowing().familiarity.state_dict()
    widths = {name: len(state[f"{name}.mean"]) for name in ("vision", "audio")}
    if fault == "missing":
        del state["vision.rest"]
    elif fault == "stream":
        state["points.mean"] = torch.zeros(3)
    elif fault == "shape":
        state["vision.mean"] = torch.zeros(3)
    else:
        state["vision.variances"] = state["vision.variances"] * (float("nan") if fault == "nan" else 0)
    with pytest.raises(ValueError, match=r"familiarity\.(vision|points|\*)"):
        Familiarity.of(state, widths)


def test_an_estimate_of_the_scale_is_not_trusted_of_what_is_unlike_training() -> None:
    told = torch.tensor([float("nan"), float("nan"), 0.5])
    mean, sure = torch.full((3,), 0.2), torch.full((3,), -8.0)
    far_off = torch.tensor([0.9, 1.1, 7.0])
    z, branch = resolve(told, mean, sure, trust=0.3, default=-1.0, unlike=far_off)
    assert branch.tolist() == [ESTIMATE, DEFAULT, METADATA]
    torch.testing.assert_close(z, torch.tensor([0.2, -1.0, 0.5]))


def test_the_default_stands_in_for_the_estimate_and_the_answer_says_so() -> None:
    model, rng = encoder(trust=100.0).eval(), np.random.default_rng(0)
    model.method.low.fill_(-1.0)
    model.method.high.fill_(1.0)
    seen = [Picture(str(k), (rng.integers(0, 256, (32, 32, 3), dtype=np.uint8),)) for k in range(80)]
    features = {"vision": described(model.prefix(model.batch(seen))["vision"])}
    model.familiarity = Familiarity.fitted(features, features)
    blank = Picture("blank", (np.full((32, 32, 3), 255, np.uint8),))
    told = replace(blank, id="told", conditions={"gsd": torch.tensor(2.0)})
    unknown = {"gsd": torch.tensor(float("nan"))}
    near, odd, known = (
        predict_batch(model, [replace(one, conditions=unknown | one.conditions)])[0].record
        for one in (seen[0], blank, told)
    )
    assert near["gsd_from"] == "estimated"
    assert odd["gsd_from"] == "default"
    assert odd["gsd"] == pytest.approx(1.0)
    assert any("the default is used" in note for note in odd["notes"])
    assert (known["gsd_from"], known["gsd"]) == ("told", pytest.approx(2.0))
    assert not any("the default is used" in note for note in known["notes"])


def test_what_a_program_drew_is_said_in_every_answer(tmp_path: Path) -> None:
    for synthetic in (True, False):
        (tmp_path / "metrics.json").write_text(
            json.dumps({"manifest": {"data": {"name": "synthetic scenes", "synthetic": synthetic}}})
        )
        model = tiny.pairing(TBAVA(rank=4)).eval()
        model.caveats = directory.caveats.of_adapter(tmp_path)
        notes = predict_batch(model, [tiny.clip(0)])[0].record.get("notes", [])
        assert [("drawings" in note and "synthetic scenes" in note) for note in notes] == [True] * synthetic


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_adapters_tell_what_is_unlike_their_training(name: str) -> None:
    folder = places.find_adapter(name)
    kept = {n: t for n, t in load_file(folder / "adapter.safetensors").items() if n.startswith("familiarity.")}
    assert 0 < sum(tensor.numel() * tensor.element_size() for tensor in kept.values()) < 2**18
    record = json.loads((folder / "metrics.json").read_text())["familiarity"]
    assert record["fires"] <= 0.05
    assert len([set_ for set_ in record["foreign"] if not set_.startswith("own")]) >= 2
    assert record["manifest"]["dirty"] is False
    assert "**Unlike its training**" in (folder / "README.md").read_text()


def test_shipped_adapters_of_drawings_say_so() -> None:
    said = {name for name, folder in places.bundled().items() if directory.caveats.of_adapter(folder)}
    assert said == set(DRAWN)


def test_a_shipped_adapter_knows_its_own_scans_from_a_ball_of_noise() -> None:
    _, model = directory.load(places.find_adapter("mantis-furniture"))
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2048, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ball = Cloud("ball", (points * rng.random((2048, 1)) ** (1 / 3)).astype(np.float32), {})
    (said,) = predict_batch(model, [ball])
    assert said.record["unlike_training"] > 1
    assert any("drawings" in note for note in said.record["notes"])


def test_the_page_says_both(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the page needs the extra `demo`")
    from demo_tiny import Clips, hear

    from zoo.demos.heading import heading
    from zoo.demos.offers import Offer
    from zoo.demos.page import Answerer

    model = knowing(hear())
    model.caveats = ["drawn <b>by a program</b>"]
    record = {"monitor": "accuracy", "unit": "fraction", "n": 3, "split": "test", "metrics": {"accuracy": 0.5}}
    record |= {"intervals": {}, "manifest": {"data": {"name": "tiny", "synthetic": True}}}
    block = {"_target_": "a.B"}
    shown = heading("mine", OmegaConf.create({"method": block, "backbones": {"p": block}}), model, record)
    assert "drawn &lt;b&gt;by a program&lt;/b&gt;" in shown

    loud = replace(tiny.clip(0), audio=tiny.clip(0).audio * 20)
    page = Answerer(model, Clips(), [Offer(tiny.clip(0)), Offer(loud)])
    (near, near_headline, *_), (odd, odd_headline, *_) = (page.answer(k, None, {}) for k in (0, 1))
    assert not near["visible"]
    assert UNLIKE in odd["value"]
    assert "drawn" not in odd["value"], "it stands above already"
    assert "Distance from training: " in near_headline
    assert "Distance from training: " in odd_headline


def test_folders_that_are_none_are_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        foreign.main(["adapter=mantis-dales", f"folders={tmp_path / 'nowhere'}"])
    assert end.value.code == 2
    assert "expected a folder of folders" in capsys.readouterr().err
