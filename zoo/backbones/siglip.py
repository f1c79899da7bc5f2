"""SigLIP (Zhai et al. 2023) and SigLIP 2 (arXiv 2502.14786), vision and text, through transformers.

The fixed-resolution SigLIP 2 checkpoints (`google/siglip2-base-patch16-224`) have SigLIP's architecture; the NaFlex
ones do not and are refused by transformers' own configuration check.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.backbones import maps, weights
from zoo.backbones.base import Bound, TextEncoder
from zoo.backbones.fingerprint import fingerprint
from zoo.backbones.hf_weights import files_print, load
from zoo.backbones.square import SquareBackbone, square
from zoo.batch import Framed, tensor_of

MEAN = STD = (0.5, 0.5, 0.5)

TEXT_LENGTH = 64


class SigLIPVision(SquareBackbone):
    """SigLIP's vision transformer: no class token; `pool` is its attention-pooling head.

    Args:
        source: `hf:REPO`, `file:FOLDER` in transformers' layout, or `random:SEED`.
        config: sizes of a `random:` model, as in `SiglipVisionConfig`; refused with real weights.
    """

    stream = "vision"
    leading = 0

    def __init__(self, *, source: str, config: dict[str, int] | None = None) -> None:
        from transformers import SiglipVisionConfig, SiglipVisionModel

        super().__init__()
        self.net = load(source, SiglipVisionModel, SiglipVisionConfig, config)
        sizes = self.net.config
        self.image_size = int(sizes.image_size)
        self.space = _space(source)
        self.dims = (sizes.hidden_size,) * (sizes.num_hidden_layers + 1)
        self.levels = maps.quarters(sizes.patch_size, sizes.hidden_size, self.depth)
        self.fingerprint = fingerprint(self.net, {"image_size": self.image_size, "mean": MEAN, "std": STD})
        self.freeze()

    def transform(self, clip: Framed) -> Tensor:
        """Frames to [T, 3, S, S]: shorter side resized to S, centre crop, scaled to [-1, 1]."""
        frames = tensor_of(clip.frames).permute(0, 3, 1, 2).float() / 255
        return square(frames, self.image_size, MEAN, STD)

    def embed(self, inputs: Tensor) -> Tensor:
        """[N, 3, S, S] -> [N, (S / patch)^2, D]."""
        out: Tensor = self.net.embeddings(inputs)
        return out

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """transformers' encoder layers."""
        return [Bound(layer, lambda _: {"attention_mask": None}) for layer in self.net.encoder.layers]

    def finish(self, tokens: Tensor) -> Tensor:
        """The encoder's last norm."""
        out: Tensor = self.net.post_layernorm(tokens)
        return out

    def pool(self, tokens: Tensor) -> Tensor:
        """SigLIP's attention-pooling head."""
        out: Tensor = self.net.head(tokens)
        return out

    def maps(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Patches of tokens {after: [N, L, D]} through the last norm, {after: [N, D, S / patch, S / patch]}."""
        return maps.plain(taps, self.finish, 0)


class SigLIPText(TextEncoder):
    """SigLIP's text tower: texts padded to 64 tokens, as it was trained.

    Args:
        source: `hf:REPO` or `file:FOLDER` (weights and tokenizer), or `random:SEED` (a tokenizer of bytes stands in).
        config: sizes of a `random:` model, as in `SiglipTextConfig`.
    """

    def __init__(self, *, source: str, config: dict[str, int] | None = None) -> None:
        from transformers import AutoTokenizer, SiglipTextConfig, SiglipTextModel

        super().__init__()
        self.net = load(source, SiglipTextModel, SiglipTextConfig, config)
        self.tokenizer = None
        if weights.parse(source).kind != "random":
            self.tokenizer = AutoTokenizer.from_pretrained(weights.resolve(source), local_files_only=True)
        self.dim = int(self.net.config.projection_size)
        self.space = _space(source)
        self.fingerprint = fingerprint(self.net, {"length": TEXT_LENGTH})
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """K texts -> unit-norm [K, D]."""
        length = min(TEXT_LENGTH, int(self.net.config.max_position_embeddings))
        if self.tokenizer is None:
            rows = [list(text.lower().encode())[:length] for text in texts]
            ids = torch.tensor(
                [[byte % self.net.config.vocab_size for byte in r] + [0] * (length - len(r)) for r in rows]
            )
        else:
            # Lower case and padding to the full length are part of how SigLIP 2 was trained.
            ids = self.tokenizer(
                [text.lower() for text in texts],
                padding="max_length",
                max_length=length,
                truncation=True,
                return_tensors="pt",
            )["input_ids"]
        return F.normalize(self.net(input_ids=ids).pooler_output, dim=-1)


def _space(source: str) -> str:
    """What the space of both towers is called: by the files of real weights, wherever they lie."""
    return f"SigLIP {source if weights.parse(source).kind == 'random' else files_print(source, '').weights}"
