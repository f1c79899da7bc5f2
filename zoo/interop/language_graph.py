"""A vision-language pairing as one graph: a picture and a prompt's tokens to the token that follows.

Tokenising stays outside, and so does generation: the caller appends the token to the prompt and runs the graph again
until one of the model's stops. An answer that is one letter is there after one run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.backbones.vision_language import VisionLanguage
from zoo.batch import Batch
from zoo.interop.graph import ExportError, Graph, Tensors
from zoo.pairing import Pairing
from zoo.tasks.language import LanguageTask


class NextToken(Graph):
    """A pairing whose answers are written, as a function from named tensors to the next token of each.

    Args:
        pairing: in evaluation mode.

    Raises:
        ExportError: its model takes pictures that differ in shape.
    """

    def __init__(self, pairing: Pairing) -> None:
        super().__init__(pairing)
        (self.name,) = pairing.depths
        model = pairing.backbones[self.name]
        if pairing.depths[self.name] is None or not isinstance(model, HFVisionLanguage):
            raise ExportError(
                f"backbones.{self.name} reads pictures that differ in shape, or its vision tower is adapted: no graph "
                "holds that; format=peft takes its trained part into other programs"
            )

    @property
    def free(self) -> dict[str, tuple[str, ...]]:
        """Batch, and the prompts' length."""
        return super().free | dict.fromkeys(("tokens", "mask"), ("batch", "length"))

    def inputs(self, batch: Batch) -> Tensors:
        """Pictures, conditions, and `tokens` and `mask` int64 [B, L] of the questions, padded on the left."""
        model = self._model
        tokens, mask = model.prompts(model.look(batch.inputs[self.name]), batch.questions)
        return super().inputs(batch) | {"tokens": tokens, "mask": mask}

    def forward(self, inputs: Tensors) -> Tensors:
        """-> `token`, the likeliest one, int64 [B], and `probabilities` of all, float32 [B, V]."""
        conditions = {condition: inputs[name] for name, condition in self.conditions.items()}
        batch = Batch(ids=[], inputs={self.name: inputs[self.name]}, target={}, conditions=conditions)
        backbones: Mapping[str, Any] = {self.name: _Asked(self._model, inputs["tokens"], inputs["mask"])}
        probabilities = self.pairing.method(backbones, self.pairing.prefix(batch), batch)[self.name]
        return {"token": probabilities.argmax(-1), "probabilities": probabilities}

    def chat(self) -> dict[str, Any]:
        """Facts about the tokens that a caller needs."""
        chat = self._model.chat
        return {"picture": chat.image, "stops": sorted(chat.stops), "template": chat.settings}

    @property
    def _model(self) -> HFVisionLanguage:
        model = self.pairing.backbones[self.name]
        assert isinstance(model, HFVisionLanguage)
        return model


def graph_of(pairing: Pairing) -> Graph:
    """A pairing as a graph: one step of writing where a language model answers, else all of it."""
    return (NextToken if isinstance(pairing.task, LanguageTask) else Graph)(pairing).eval()


class _Asked(VisionLanguage):
    """Replaces a method's model: its features are those after prompts given as tokens."""

    def __init__(self, model: HFVisionLanguage, tokens: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.models, self.tokens, self.mask = (model,), tokens, mask  # in a tuple, as the pairing owns the weights

    def look(self, inputs: Any) -> Any:
        """The model's own."""
        return self.models[0].look(inputs)

    def pooled(self, seen: Any) -> Tensor:
        """The model's own."""
        return self.models[0].pooled(seen)

    @property
    def towers(self) -> Mapping[str, Sequence[nn.Module]]:
        """The model's own."""
        return self.models[0].towers

    def rest(self, tokens: Any, depth: int | None, batch: Batch) -> Tensor:
        """Probabilities of the next token, [B, V]."""
        return self.models[0].next_token(tokens, self.tokens, self.mask)
