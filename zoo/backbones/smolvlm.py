"""SmolVLM (Marafioti et al. 2025, arXiv 2504.05299), through transformers: tiles of a grid, then the image as a whole.

The first SmolVLM is Idefics3 (arXiv 2408.12637) in transformers, the second has classes of its own. What stands around
the tokens of each tile, `<row_1_col_2>` and the like, is what the model's own processor writes there, and its mask of
pixels goes with the tiles. Prompts are read from left to right.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.backbones.chat import TemplateChat
from zoo.backbones.hf_modules import means
from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.batch import Picture

LARGEST = 4
"""Tiles along the longer side, of the published processors."""


class SmolVLM(HFVisionLanguage):
    """SmolVLM (`HuggingFaceTB/SmolVLM-256M-Instruct`): one row of the vision tower a tile, the whole image last.

    Arguments are those of `HFVisionLanguage`; `config` is `Idefics3Config`'s. A model without weights writes no marks
    around tiles, for it has no words for them.
    """

    def architecture(self) -> tuple[Any, Any]:
        """transformers' Idefics3."""
        from transformers import Idefics3Config, Idefics3ForConditionalGeneration

        return Idefics3ForConditionalGeneration, Idefics3Config

    def width(self) -> int:
        """Width of the vision tower's tokens, before the connector puts some side by side."""
        return int(self.net.config.vision_config.hidden_size)

    def image_processor(self) -> Any:
        """Idefics3's with this model's tiles, scaled to [-1, 1]."""
        from transformers import Idefics3ImageProcessor

        return Idefics3ImageProcessor(**self._sizes())

    def coarsens(self, height: int, width: int, side: int | None) -> float:
        """Pixels of the picture, along its longer side, that become one in its tiles."""
        return max(height, width) / float(self.images.size["longest_edge"])

    def unseen(self, height: int, width: int) -> list[str]:
        """Nothing: its tiles hold the whole picture, a little out of shape."""
        return []

    def transform(self, sample: Picture) -> Any:
        """All images of a picture, by the model's own image processor.

        Returns:
            `pixel_values` float32 [R, 3, S, S] and `pixel_attention_mask` int64 [R, S, S], of all tiles; `grid` int64
            [N, 3]: rows and columns of tiles (0 where the image is one), and tiles; `rows` (R) and `images` (N) int64
            [1].
        """
        found = [
            self.images(
                images=[image], input_data_format="channels_last", return_row_col_info=True, return_tensors="pt"
            )
            for image in sample.images
        ]
        pixels = torch.cat([each["pixel_values"][0] for each in found])
        grid = [[each["rows"][0][0], each["cols"][0][0], len(each["pixel_values"][0])] for each in found]
        return {
            "pixel_values": pixels,
            "pixel_attention_mask": torch.cat([each["pixel_attention_mask"][0] for each in found]),
            "grid": torch.tensor(grid),
            "rows": torch.tensor([len(pixels)]),
            "images": torch.tensor([len(found)]),
        }

    def look(self, inputs: Any) -> dict[str, Tensor]:
        """Connected features of every tile, and the grid of each image; see `HFVisionLanguage`."""
        pixels, mask = inputs["pixel_values"], inputs["pixel_attention_mask"]
        found = self.net.model.get_image_features(pixels[None], mask[None])
        (features,) = found.pooler_output
        return {
            "features": features,
            "tokens": inputs["grid"][:, 2] * (len(features) // len(pixels)),
            "images": inputs["images"],
            "pooled": means(found.last_hidden_state.float().mean(1), inputs["rows"]),
            "grid": inputs["grid"],
        }

    def marks(self, seen: Mapping[str, Any]) -> list[list[int]]:
        """What the model's own processor writes for an image of so many rows and columns of tiles."""
        if not isinstance(self.chat, TemplateChat):
            return super().marks(seen)
        written = []
        for rows, columns, _ in seen["grid"].tolist():
            text = self.chat.processor.replace_image_token({"rows": [[rows]], "cols": [[columns]]}, 0)
            written.append(self.chat.tokenizer(text, add_special_tokens=False)["input_ids"])
        return written

    def _sizes(self) -> dict[str, Any]:
        side = self.net.config.vision_config.image_size
        return {
            "size": {"longest_edge": LARGEST * side},
            "max_image_size": {"longest_edge": side},
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }


class SmolVLM2(SmolVLM):
    """SmolVLM2 (`HuggingFaceTB/SmolVLM2-2.2B-Instruct`), of pictures alone. Its processor needs the package num2words.

    Arguments are those of `HFVisionLanguage`; `config` is `SmolVLMConfig`'s.
    """

    def architecture(self) -> tuple[Any, Any]:
        """transformers' SmolVLM."""
        from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

        return SmolVLMForConditionalGeneration, SmolVLMConfig

    def image_processor(self) -> Any:
        """SmolVLM's with this model's tiles, scaled to [-1, 1]."""
        from transformers import SmolVLMImageProcessor

        return SmolVLMImageProcessor(**self._sizes())
