"""Vision-language models of transformers: what LLaVA, LLaVA-NeXT, Qwen2.5-VL, Qwen3-VL and SmolVLM share.

The vision tower runs once (`look`), and its features are put in the place of the pictures' tokens. Prompts of a batch
are padded on the left, so that every answer ends at the same place, and nothing but the positions that predict an
answer is projected to the vocabulary.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zoo.backbones import weights
from zoo.backbones.chat import ByteChat, Chat, Prompt, TemplateChat
from zoo.backbones.fingerprint import Fingerprint, fingerprint
from zoo.backbones.hf_modules import LANGUAGE, PROJECTORS, VISION, blocks, padded, part, replayable, require_causal
from zoo.backbones.hf_weights import (
    Precision,
    Quantization,
    files_print,
    load,
    processor_of,
    quantization_of,
    require_kind,
)
from zoo.backbones.vision_language import Contexts, VisionLanguage
from zoo.batch import Picture, Question


class HFVisionLanguage(VisionLanguage):
    """A vision-language model of transformers.

    Subclasses implement `architecture`, `width`, `image_processor` and `look`; what `look` gives holds
    `features` [sum of tokens, D], `tokens` int64 [images] and `images` int64 [B] (how many of the one belong to each
    image and how many of the other to each sample), and `pooled`.

    Args:
        source: `hf:REPO[@REVISION]`, `file:FOLDER` in transformers' layout, or `random:SEED`.
        config: settings of a `random:` model, as its transformers configuration takes them; refused with real weights.
        quantize: `4bit` keeps the language model's weights as NF4 with double quantisation and computes in bfloat16
            (QLoRA); vision tower, projector and output layer stay whole. Needs bitsandbytes; slow without CUDA.
        dtype: of the weights, where they are not quantised.
        checkpointing: forget activations inside the blocks while training and run the blocks again for the gradients.
    """

    net: Any

    def __init__(
        self,
        *,
        source: str,
        config: dict[str, Any] | None = None,
        quantize: Quantization = "none",
        dtype: Precision = "float32",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.source = source
        # The cheap first: what a source lacks is said before gigabytes are read.
        model, configuration = self.architecture()
        require_causal(configuration.model_type, (config or {}).get("text_config", {}), source)
        quantization = quantization_of(source) if quantize == "4bit" else None
        require_kind(source, configuration)
        processor = processor_of(source)
        self.net = load(source, model, configuration, config, quantization, getattr(torch, dtype))
        self.chat = self._chat(processor, source)
        self.images = self.image_processor() if processor is None else processor.image_processor
        self.image_dim = self.width()
        # Renamed by transformers 5.24.
        named = inspect.signature(self._language.forward).parameters
        self._cache_name = "cache" if "cache" in named else "past_key_values"
        text = self.net.config.text_config
        self.dims = (text.hidden_size,) * (text.num_hidden_layers + 1)
        # About a second a gigabyte, once for a file: a cheaper name would not notice an altered tensor.
        settings = {"images": self.images.to_dict(), "chat": self.chat.settings, "quantize": quantize}
        self._whole = (source, json.dumps({**settings, "quantize": "4bit"}, sort_keys=True, default=str))
        files = weights.files_of(source)
        self.fingerprint = files_print(*self._whole) if quantization else fingerprint(self.net, settings, of=files)
        self.freeze()
        self._replaying = False
        self._replayed = [module for module in self.net.modules() if checkpointing and replayable(module)]
        for layer in self._replayed:
            layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, context_fn=self._contexts)
        # A module is born in training mode, and Lightning's fit leaves it there without a call of `train`.
        self.train()

    def in_four_bits(self) -> Fingerprint:
        """Its fingerprint where the same files are quantised: of the files, as a device decides the last bits."""
        return files_print(*self._whole)

    # --- what an architecture says of itself ------------------------------------------------------------------------

    def architecture(self) -> tuple[Any, Any]:
        """transformers' model class and configuration class."""
        raise NotImplementedError

    def width(self) -> int:
        """Width of the vision tokens, `image_dim`."""
        raise NotImplementedError

    def image_processor(self) -> Any:
        """The image processor of a model without weights, with the settings of the published one."""
        raise NotImplementedError

    def positions(self, tokens: Tensor, mask: Tensor, seen: Mapping[str, Any]) -> Tensor:
        """Positions of a prompt's tokens int64 [B, L] with this mask: [B, L] or [3, B, L]."""
        return (mask.cumsum(-1) - 1).clamp(min=0)

    def marks(self, seen: Mapping[str, Any]) -> list[list[int]]:
        """Tokens that stand for every image: one for each of its features, and what goes around them."""
        return [[self.chat.image] * count for count in seen["tokens"].tolist()]

    def beside(self, prompt: Prompt, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Further inputs of the language model when it reads a whole prompt."""
        return {}

    # --- pictures ---------------------------------------------------------------------------------------------------

    def transform(self, sample: Picture) -> Any:
        """All images of a picture, by the model's own image processor.

        Returns:
            `pixel_values` float32 [R, ...], one row per leading row of the vision tower; `rows` (R) and `images` (N)
            int64 [1]; what else the processor says of each image, [N, ...].
        """
        found = [
            self.images(images=[image], input_data_format="channels_last", return_tensors="pt")
            for image in sample.images
        ]
        out = {name: torch.cat([self.unpack(each[name], name) for each in found]) for name in found[0]}
        return {**out, "rows": torch.tensor([len(out["pixel_values"])]), "images": torch.tensor([len(found)])}

    def unpack(self, value: Tensor, name: str) -> Tensor:
        """What the image processor says of one image under a name, as rows to be concatenated."""
        return value

    def collate(self, samples: Sequence[Any]) -> dict[str, Tensor]:
        """Rows of all samples one after another; `rows` and `images` int64 [B] say whose they are."""
        return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}

    def pooled(self, seen: Any) -> Tensor:
        """Mean of a sample's vision tokens, float32 [B, image_dim]."""
        mean: Tensor = seen["pooled"]
        return mean

    # --- towers -----------------------------------------------------------------------------------------------------

    @property
    def towers(self) -> Mapping[str, Sequence[nn.Module]]:
        """Blocks of the vision tower and of the language model."""
        return {"vision": blocks(part(self.net, *VISION)), "language": blocks(self._language)}

    @property
    def projectors(self) -> list[nn.Module]:
        """The one between the towers."""
        return [part(self.net, *PROJECTORS)]

    def prefix_depth(self, first: Mapping[str, int]) -> int | None:
        """None: pictures differ in their number of tokens."""
        return None

    def owners(self, inputs: Any, tower: str) -> Tensor | None:
        """Sample of every image, tile or patch that leads the vision tower's hidden states."""
        if tower != "vision":
            return None
        rows: Tensor = inputs["rows"]
        return torch.repeat_interleave(torch.arange(len(rows), device=rows.device), rows)

    @property
    def _language(self) -> Any:
        return part(self.net, *LANGUAGE)

    # --- training -----------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Stay in `eval()`; only checkpointed blocks themselves, not what is in them, must know of the training."""
        super().train(False)
        self._replay(mode)
        return self

    def _replay(self, mode: bool) -> None:
        # transformers checkpoints a layer only where its own flag says `training`. Its children keep theirs.
        self._replaying = mode
        for layer in self._replayed:
            layer.training = mode

    def _contexts(self) -> Contexts:
        return (nullcontext(), nullcontext()) if self.recompute is None else self.recompute()

    # --- words ------------------------------------------------------------------------------------------------------

    def likelihood(self, seen: Any, questions: Sequence[Question]) -> Tensor:
        """Log-likelihood of every token of the right answers and of the end of turn, float32 [B, A], NaN as padding."""
        return self._of_answers(self._read(self._prompt(self._words(seen, questions), seen), seen), questions)

    def _words(self, seen: Any, questions: Sequence[Question]) -> list[list[int]]:
        """Tokens of the prompts and of the right answers, but for the end of turn."""
        answers = (self.chat.answer(question.answer)[:-1] for question in questions)
        return [[*p, *a] for p, a in zip(self._prompts(seen, questions), answers, strict=True)]

    def _of_answers(self, states: Tensor, questions: Sequence[Question]) -> Tensor:
        """Likelihoods as `likelihood` gives them from the last hidden states [B, L, D] of `_words`."""
        answers = [self.chat.answer(question.answer) for question in questions]
        lengths = torch.tensor([len(answer) for answer in answers], device=states.device)
        places = torch.arange(int(lengths.max()), device=lengths.device)
        last = states[:, -len(places) :]
        rows = last[places >= len(places) - lengths[:, None]]
        logits = self.net.get_output_embeddings()(rows).float()
        right = torch.tensor([token for answer in answers for token in answer], device=logits.device)
        out = torch.full((len(answers), len(places)), torch.nan, device=logits.device)
        out[places < lengths[:, None]] = -F.cross_entropy(logits, right, reduction="none")
        return out

    @torch.no_grad()
    def write(self, seen: Any, questions: Sequence[Question], tokens: int, *, use_cache: bool = True) -> list[str]:
        """Greedy answers of at most so many tokens, B of them; without the cache every step reads everything again."""
        from transformers import DynamicCache

        prompt = self._prompt(self._prompts(seen, questions), seen)
        cache = DynamicCache(config=self._language.config) if use_cache else None
        stops = torch.tensor(sorted(self.chat.stops), device=prompt.mask.device)
        written: list[Tensor] = []
        ended = torch.zeros(len(questions), dtype=torch.bool, device=stops.device)
        replaying = self._replaying
        self._replay(False)  # a checkpointed layer would not fill the cache
        try:
            while len(written) < tokens and not ended.all():
                last = self._read(prompt, seen, cache)[:, -1]
                written.append(self.net.get_output_embeddings()(last).argmax(-1))
                ended = ended | torch.isin(written[-1], stops)
                prompt = prompt.followed_by(self.net.get_input_embeddings()(written[-1][:, None]))
        finally:
            self._replay(replaying)
        return [self.chat.text(_until(row, self.chat.stops)) for row in torch.stack(written, 1).tolist()]

    def prompts(self, seen: Any, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
        """Questions as tokens padded on the left, int64 [B, L], and the mask, 0 where padded."""
        return padded(self._prompts(seen, questions), seen["features"].device)

    def next_token(self, seen: Any, tokens: Tensor, mask: Tensor) -> Tensor:
        """Probabilities of the token after each prompt of `prompts`, float32 [B, V]."""
        last = self._read(self._shown(tokens, mask, seen), seen)[:, -1]
        out: Tensor = self.net.get_output_embeddings()(last).float().softmax(-1)
        return out

    def _chat(self, processor: Any, source: str) -> Chat:
        if processor is None:
            return ByteChat(self.net.config)
        stops = self.net.generation_config.eos_token_id
        listed = [] if stops is None else stops if isinstance(stops, list) else [stops]
        return TemplateChat(processor, int(self.net.config.image_token_id), listed, source)

    def _prompts(self, seen: Any, questions: Sequence[Question]) -> list[list[int]]:
        """Prompts with the marks of each image in the place of its one token."""
        marks = iter(self.marks(seen))
        return [
            [
                each
                for token in self.chat.prompt(question, images)
                for each in (next(marks) if token == self.chat.image else [token])
            ]
            for question, images in zip(questions, seen["images"].tolist(), strict=True)
        ]

    def _prompt(self, rows: Sequence[Sequence[int]], seen: Any) -> Prompt:
        return self._shown(*padded(rows, seen["features"].device), seen)

    def _shown(self, tokens: Tensor, mask: Tensor, seen: Any) -> Prompt:
        """Padded prompts [B, L] with the pictures' features in their places."""
        pictures = (tokens == self.chat.image) & mask.bool()
        embeds = self.net.get_input_embeddings()(tokens)
        embeds = embeds.masked_scatter(pictures[..., None], seen["features"].to(embeds.dtype))
        return Prompt(embeds, mask, self.positions(tokens, mask, seen), pictures)

    def _read(self, prompt: Prompt, seen: Any, cache: Any = None, some: Any = None) -> Tensor:
        """Last hidden states [B, L, D] of what the cache does not yet hold, by the language model or a part of it."""
        start = 0 if cache is None else cache.get_seq_length()
        language = self._language if some is None else some
        out: Tensor = language(
            inputs_embeds=prompt.embeds[:, start:],
            attention_mask=prompt.mask,
            position_ids=prompt.positions[..., start:],
            use_cache=cache is not None,
            **{self._cache_name: cache},
            **({} if start else self.beside(prompt, seen)),
        ).last_hidden_state
        return out


def _until(tokens: list[int], stops: frozenset[int]) -> list[int]:
    return tokens[: next((i for i, token in enumerate(tokens) if token in stops), None)]
