"""Parameter-efficient fine-tuning of frozen multimodal backbones: a recipe pairs backbones, one method and one task."""

__version__ = "0.1.0"
