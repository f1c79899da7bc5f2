"""PAGE proposes layers by gradient energy: its closed form, the same at every call, words that train these layers."""

import re
import shlex
from pathlib import Path

import pytest
import small_vit
import tiny
import torch
import yaml
from torch import nn

from zoo import place
from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.lora import LoRA
from zoo.recipe.compose import compose
from zoo.train import main as train
from zoo.training import placement
from zoo.training.look import Look
from zoo.training.placement import Probe, energies, train_head

TINY = Path(__file__).parents[1] / "helpers" / "tiny.yaml"
WORDS = [
    "method={_target_: zoo.methods.lora.LoRA, rank: 2}",
    "method.targets={vision: ['1']}",
    "method.last={vision: 2}",
]


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_TRUST", "tiny,tiny_data")


def spread(model: nn.Module) -> None:
    """A head that has gradients."""
    with torch.no_grad():
        for parameter in model.task.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(0))


def singles(count: int = 3) -> list[Batch]:
    return [small_vit.batch([row]) for row in range(count)]


def test_energy_is_the_squared_gradient_that_lora_sees_at_its_start() -> None:
    """Monte Carlo over A, as peft draws it, with the gradients of B from autograd."""
    probed = small_vit.pairing(Probe())
    spread(probed)
    (one,) = singles(1)
    found = energies(Look(probed, [one]))
    places = [place.target for place in probed.method.places]
    rank, alpha = 96, 48.0
    for target in ("attn.qkv@11", "mlp.fc2@4"):
        model = small_vit.pairing(LoRA(rank=rank, alpha=alpha, targets={"vision": [target]}))
        spread(model)
        ((layer),) = model.method.wrapped()
        squares = []
        for _ in range(20):
            layer.reset_lora_parameters("default", True)
            model.zero_grad()
            model.losses(one)["task"].backward()
            squares.append(float(layer.lora_B["default"].weight.grad.square().sum()))
        expected = (alpha / rank) ** 2 * rank / 3 * float(found[places.index(target)])
        assert sum(squares) / len(squares) == pytest.approx(expected, rel=0.1)


def test_energy_is_averaged_over_samples_and_divided_by_the_width_of_the_input() -> None:
    model = small_vit.pairing(Probe())
    spread(model)
    found = energies(Look(model, singles()))
    index, one = next((i, place) for i, place in enumerate(model.method.places) if place.target == "mlp.fc2@10")
    expected = 0.0
    for batch in singles():
        seen: list[torch.Tensor] = []

        def keep(
            _: nn.Module, given: tuple[torch.Tensor], output: torch.Tensor, seen: list[torch.Tensor] = seen
        ) -> None:
            output.retain_grad()
            seen += [given[0].detach(), output]

        hook = one.layer.register_forward_hook(keep)
        one.layer.bias.requires_grad_(True)  # so that there is a graph
        model.losses(batch)["task"].backward()
        one.layer.bias.requires_grad_(False)
        hook.remove()
        gradient = torch.einsum("blo,bli->oi", seen[1].grad, seen[0])
        expected += float(gradient.square().sum()) / 768 / 3
    assert float(found[index]) == pytest.approx(expected, rel=1e-4)
    assert len(found) == 4 * 12


def test_only_the_head_is_trained_and_nothing_asks_for_gradients_afterwards() -> None:
    model = small_vit.pairing(Probe())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    asking = [name for name, value in model.named_parameters() if value.requires_grad]
    look = Look(model, [small_vit.batch([0, 1]), small_vit.batch([2])])
    first = train_head(look, 2)
    assert train_head(look, 60) < 0.5 * first
    energies(Look(model, singles()))
    changed = [name for name, value in model.state_dict().items() if not torch.equal(before[name], value)]
    assert changed
    assert all(name.startswith("task.") for name in changed)
    assert [name for name, value in model.named_parameters() if value.requires_grad] == asking
    assert all(value.grad is None for name, value in model.named_parameters() if name.startswith("backbones."))


def test_proposals_are_the_same_at_every_call() -> None:
    config = compose(str(TINY), WORDS)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(placement.propose(config, samples=4, steps=5))
    (one, own), (other, again) = found
    assert [(each.target, share) for each, share in one] == [(each.target, share) for each, share in other]
    assert {each.target for each, _ in one} == {"1@0", "1@1", "1@2"}
    assert sum(share for _, share in one) == pytest.approx(1)
    assert one[0][1] > one[1][1] > one[2][1]
    assert own == again == {"vision": ["1@1", "1@2"]}


def test_the_words_that_it_prints_train_the_layer_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.main([f"recipe={TINY}", *WORDS, "top=2", "steps=5", "samples=4"]) == 0
    sweep, trained = re.findall(r"python -m zoo\.(?:sweep|train) (.*)", capsys.readouterr().out)
    candidates = yaml.safe_load(shlex.split(sweep)[-1].partition("=")[2])
    first, second, both, own, none = candidates
    assert [len(each["vision"]) for each in (first, second, both, own)] == [1, 1, 2, 2]
    assert both["vision"] == [*first["vision"], *second["vision"]]
    assert own == {"vision": ["1@1", "1@2"]}
    assert none == {}
    words = shlex.split(trained)
    assert words[-1] == f'method.targets={{"vision": ["{first["vision"][0]}"]}}'
    monkeypatch.setattr(placement, "propose", lambda *_, **__: pytest.fail("asked again"))
    assert train([*words, f"into={tmp_path / 'run'}"]) == 0
    kept = yaml.safe_load((tmp_path / "run" / "adapter" / "recipe.yaml").read_text())
    assert kept["method"]["targets"] == first
    assert train([*words, f"into={tmp_path / 'run'}", "resume=true", "trainer.max_epochs=3"]) == 0


def test_who_does_not_know_targets_need_not_name_any(capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"recipe={TINY}", *WORDS[:1]]
    assert place.main([*words, "top=1", "steps=5", "samples=4"]) == 0
    sweep, trained = re.findall(r"python -m zoo\.(?:sweep|train) (.*)", capsys.readouterr().out)
    candidates = yaml.safe_load(shlex.split(sweep)[-1].partition("=")[2])
    assert candidates == [{"vision": [candidates[0]["vision"][0]]}, {}], "the layer, and none"
    assert compose(str(TINY), shlex.split(trained)[1:]).method.targets == candidates[0]
    with pytest.raises(SystemExit):
        place.main([*words, "trainer.max_epoch=3"])
    (line,) = capsys.readouterr().err.splitlines()
    assert "trainer.max_epoch" in line, "and nothing about targets"


def test_what_cannot_be_proposed_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["recipe=mantis"], "method: zoo.methods.mantis.Mantis names no layers by method.targets; choose method=lora"),
        ([f"recipe={TINY}", *WORDS, "top=0"], "top: expected a whole number above 0, got '0'"),
        ([f"recipe={TINY}", *WORDS[:1], "method.targets={vision: ['7']}"], "'7' matches no layer"),
    ):
        with pytest.raises(SystemExit) as end:
            place.main(words)
        assert end.value.code in (1, 2)
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


def test_a_backbone_without_linear_layers_is_refused() -> None:
    with pytest.raises(SettingError, match="backbones audio: no linear layer with a weight of its own"):
        Probe().attach({"audio": tiny.TinyAudio()})


def test_layers_of_fused_attention_are_no_candidates_and_shared_ones_count_once() -> None:
    backbone = tiny.TinyVision()
    attention = nn.MultiheadAttention(8, 2)
    backbone.layers = nn.ModuleList([backbone.layers[0], backbone.layers[0], nn.ModuleDict({"attn": attention})])
    method = Probe()
    method.attach({"vision": backbone})
    assert [one.target for one in method.places] == ["1@0"]
