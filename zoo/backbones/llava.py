"""LLaVA 1.5 (Liu et al. 2023, arXiv 2310.03744) and LLaVA-NeXT (1.6), through transformers.

LLaVA shows its CLIP tower each image once, resized and cropped to a square. LLaVA-NeXT shows it the whole image and
tiles of it, as the shape of the image asks for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.hf_modules import means
from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.backbones.square import coarsens, unseen


class LLaVA(HFVisionLanguage):
    """LLaVA 1.5 (`llava-hf/llava-1.5-7b-hf`): one row of the vision tower an image.

    Its vision tokens are those of the hidden layer that the projector reads. Blocks after that layer have no effect,
    so `towers` leaves them out.
    """

    def architecture(self) -> tuple[Any, Any]:
        """transformers' LLaVA."""
        from transformers import LlavaConfig, LlavaForConditionalGeneration

        return LlavaForConditionalGeneration, LlavaConfig

    def image_processor(self) -> Any:
        """CLIP's: shorter side resized, centre crop, CLIP's mean and deviation."""
        from transformers import CLIPImageProcessor

        return CLIPImageProcessor(**self._square())

    def coarsens(self, height: int, width: int, side: int | None) -> float:
        """Shorter side as given / that of the training's pictures: it sees one square."""
        return coarsens(height, width, side)

    def unseen(self, height: int, width: int) -> list[str]:
        """Borders of a wide or high picture, which are cropped."""
        return unseen(height, width, int(self.net.config.vision_config.image_size))

    def width(self) -> int:
        """Width of the hidden layers that the projector reads, side by side."""
        return int(self.net.config.vision_config.hidden_size) * len(self._layers())

    @property
    def towers(self) -> Mapping[str, Sequence[nn.Module]]:
        """Blocks of the vision tower up to the last hidden layer that is read, and those of the language model."""
        towers = super().towers
        hidden = range(len(towers["vision"]) + 1)
        return {**towers, "vision": towers["vision"][: max(hidden[layer] for layer in self._layers())]}

    def look(self, inputs: Any) -> dict[str, Tensor]:
        """Projected features and the mean of the vision tokens behind them; see `HFVisionLanguage`."""
        found = self.projected(inputs)
        tokens = torch.cat([found.hidden_states[layer] for layer in self._layers()], -1)
        if self.net.config.vision_feature_select_strategy == "default":
            tokens = tokens[:, 1:]  # without CLIP's class token
        counts = torch.tensor([len(each) for each in found.pooler_output], device=tokens.device)
        return {
            "features": torch.cat(list(found.pooler_output)),
            "tokens": counts,
            "images": inputs["images"],
            "pooled": means(tokens.float().mean(1), inputs["rows"]),
        }

    def projected(self, inputs: Mapping[str, Tensor]) -> Any:
        """transformers' output of the vision tower, with each image's projected tokens as `pooler_output`."""
        return self.net.model.get_image_features(inputs["pixel_values"].to(self.net.dtype))

    def _layers(self) -> list[int]:
        layers = self.net.config.vision_feature_layer
        return [layers] if isinstance(layers, int) else list(layers)

    def _square(self) -> dict[str, Any]:
        side = self.net.config.vision_config.image_size
        return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


class LLaVANext(LLaVA):
    """LLaVA-NeXT (`llava-hf/llava-v1.6-mistral-7b-hf`): one row of the vision tower a tile, the whole image first."""

    def architecture(self) -> tuple[Any, Any]:
        """transformers' LLaVA-NeXT."""
        from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration

        return LlavaNextForConditionalGeneration, LlavaNextConfig

    def image_processor(self) -> Any:
        """The anyres processor: the image as a square, and tiles of the grid that fits its shape best."""
        from transformers import LlavaNextImageProcessor

        return LlavaNextImageProcessor(image_grid_pinpoints=self.net.config.image_grid_pinpoints, **self._square())

    def coarsens(self, height: int, width: int, side: int | None) -> float:
        """Pixels of the picture, along a side, that become one in its tiles."""
        from transformers.image_processing_utils import select_best_resolution

        rows, columns = select_best_resolution((height, width), self.images.image_grid_pinpoints)
        coarser: float = max(height / rows, width / columns)
        return coarser

    def unseen(self, height: int, width: int) -> list[str]:
        """Nothing: its tiles hold the whole picture, padded."""
        return []

    def unpack(self, value: Tensor, name: str) -> Tensor:
        """Tiles [1, tiles, 3, S, S] -> [tiles, 3, S, S]."""
        return value.flatten(0, 1) if name == "pixel_values" else value

    def projected(self, inputs: Mapping[str, Tensor]) -> Any:
        """As of LLaVA; an image's tokens are those of its tiles without their padding, and an end of each line."""
        pixels, sizes = inputs["pixel_values"].to(self.net.dtype), inputs["image_sizes"]
        return self.net.model.get_image_features(pixels, image_sizes=sizes)
