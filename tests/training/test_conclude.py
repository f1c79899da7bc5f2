"""What a method makes of the training split after selection, and probabilities that it owns itself."""

from collections.abc import Callable, Mapping, Sequence

import lightning as L
import point_tiny
import pytest
import tiny
import torch
from tiny_data import Tiny
from torch import Tensor

from zoo.batch import Batch
from zoo.errors import SettingError
from zoo.methods.base import Backbones
from zoo.methods.frozen import Frozen
from zoo.pairing import Pairing
from zoo.tasks.classification import Classification
from zoo.training.conclude import conclude
from zoo.training.interventions import intervene
from zoo.training.loaders import Loaders
from zoo.training.look import Look
from zoo.training.measure import measure, single_trainer
from zoo.training.module import TrainingModule


class Shares(Frozen):
    """Says the shares of the training split's classes, whatever it sees; and counts how often it is asked."""

    shares: Tensor
    owns_probabilities = True

    def attach(self, backbones: Backbones, classes: Sequence[str] = ()) -> None:
        super().attach(backbones)
        self.register_buffer("shares", torch.zeros(len(classes)))
        self.asked: list[bool] = []
        self.seen: list[str] = []

    def conclude(self, look: Look) -> Mapping[str, float]:
        for batch in look.batches():
            self.shares += batch.target["label"].bincount(minlength=len(self.shares))
            self.seen += batch.ids
        self.shares /= self.shares.sum()
        self.noise = torch.rand(())
        return {"classes": len(self.shares)}

    def probabilities(self, logits: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        with torch.enable_grad():
            self.asked.append(logits(batch).requires_grad)
        return self.shares.expand(len(batch), -1)


def loaders(task: Classification | None = None) -> Loaders:
    pairing = point_tiny.pairing(Shares(), task or Classification(hidden=()))
    return Loaders(Tiny(kind="clouds"), pairing.eval(), batch_size=5)


def test_a_method_concludes_from_the_training_split_in_order_always_the_same() -> None:
    one, other = loaders(), loaders()
    torch.manual_seed(1)
    assert conclude(one, torch.device("cpu")) == {"classes": 3}
    before = torch.get_rng_state()
    conclude(other, torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before), "what follows draws as if nothing had been concluded"
    assert one.pairing.method.seen == [f"sample{k}" for k in range(12)]
    assert torch.equal(one.pairing.method.shares, torch.full((3,), 1 / 3))
    assert one.pairing.method.noise == other.pairing.method.noise
    assert "method.shares" in one.pairing.trainable_state()


def test_a_look_is_differentiable_and_gives_what_the_pairing_gives() -> None:
    own = loaders()
    own.setup()
    look = Look(own.pairing, own.loader(own.data.sets["train"]))
    first, second = next(look.batches()), next(look.batches())
    assert first.ids == second.ids
    with torch.no_grad():
        logits, loss = look.logits(first), look.loss(first)
        expected = own.pairing.logits(first)
    assert torch.equal(logits, expected)
    assert loss.shape == (5,)
    torch.testing.assert_close(
        loss, torch.nn.functional.cross_entropy(expected, first.target["label"], reduction="none")
    )
    (gradient, *_) = torch.autograd.grad(loss.sum(), list(own.pairing.task.parameters()))
    assert bool(gradient.any())


def test_probabilities_of_a_method_are_measured_and_predicted_and_validation_goes_without() -> None:
    own = loaders()
    method, trainer = own.pairing.method, single_trainer("cpu", own.pairing)
    conclude(own, torch.device("cpu"))
    trainer.validate(TrainingModule(own.pairing), own, verbose=False)
    assert method.asked == []
    record, predictions = measure(own, trainer)
    assert method.asked
    assert all(method.asked)
    found = predictions.concatenated(predictions.prediction)
    assert torch.equal(found["probabilities"], torch.full((3, 3), 1 / 3))
    assert found["label"].tolist() == [0, 0, 0]
    assert record["calibration"]["raw"]["nll"] == pytest.approx(torch.tensor(3.0).log().item())
    with torch.no_grad():
        assert torch.equal(own.pairing.predict(point_tiny.batch(0, 1))["probabilities"], torch.full((2, 3), 1 / 3))
    assert all(method.asked)
    method.removable = True
    before = len(method.asked)
    assert intervene(own, "val", torch.device("cpu"))["replaced"]["without"]["changed"] == 0
    assert len(method.asked) == before + 2


def test_only_such_methods_are_measured_without_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def say(module: TrainingModule, batch: Batch, batch_idx: int) -> None:
        modes.append(torch.is_inference_mode_enabled())

    monkeypatch.setattr(TrainingModule, "test_step", say)
    monkeypatch.setattr(TrainingModule, "on_test_epoch_end", lambda module: None)
    for method in (Shares(), Frozen()):
        pairing = point_tiny.pairing(method)
        own = Loaders(Tiny(kind="clouds"), pairing.eval(), batch_size=5)
        trainer: L.Trainer = single_trainer("cpu", pairing)
        trainer.test(TrainingModule(pairing), own, verbose=False)
    assert modes == [False, True]


def test_a_task_without_use_for_them_is_refused() -> None:
    with pytest.raises(SettingError, match="which task audio-visual-event-localization has no use for"):
        tiny.pairing(Shares())


def test_a_task_that_has_no_use_for_a_posterior_is_refused_before_weights_are_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from zoo.recipe import build
    from zoo.recipe.compose import compose

    monkeypatch.setattr(build, "instantiate", lambda block: pytest.fail("weights are fetched"))
    words = ["data.root=/nowhere", "method={_target_: laplace_lora_xs, rank: 2, targets: {image: [attn.qkv]}}"]
    with pytest.raises(SettingError, match="which task segmentation has no use for"):
        build.build_pairing(compose("lite_medsam_isbi", words), ["one", "two"])


def test_the_prefix_of_several_passes_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    through = Pairing.through

    def count(pairing: Pairing, *words: object) -> list[Tensor]:
        computed.append(1)
        return through(pairing, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(Pairing, "through", count)
    pairing = point_tiny.pairing(Shares()).eval()
    pairing.predict(point_tiny.batch(0, 1))
    assert len(computed) == 1
