"""The vision-language architectures with tiny random weights, and pictures to ask them about."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.backbones.hf_vision_language import HFVisionLanguage
from zoo.backbones.llava import LLaVA, LLaVANext
from zoo.backbones.qwen2_5_vl import Qwen25VL
from zoo.backbones.qwen3_vl import Qwen3VL
from zoo.backbones.smolvlm import SmolVLM, SmolVLM2
from zoo.batch import Picture, Question

# Ten times the usual deviation: with less, attention is all but even, and a wrong position would change no word.
WIDE = {"initializer_range": 0.2}
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    **WIDE,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    **WIDE,
}
LLAVA = {"vision_config": CLIP, "text_config": LLAMA, "image_token_index": 99, "image_seq_length": 16}
NEXT = {**LLAVA, "image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]}
QWEN: dict[str, Any] = {
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 256,
        **WIDE,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
    },
    "vision_config": {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "patch_size": 8,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "out_hidden_size": 64,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
        **WIDE,
    },
    "image_token_id": 250,
    "video_token_id": 251,
    "vision_start_token_id": 252,
    "vision_end_token_id": 253,
}
OF_QWEN3 = ("num_position_embeddings", "deepstack_visual_indexes")
QWEN25 = {
    **QWEN,
    "text_config": {
        **{key: value for key, value in QWEN["text_config"].items() if key != "head_dim"},
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]},
    },
    "vision_config": {
        **{name: size for name, size in QWEN["vision_config"].items() if name not in OF_QWEN3},
        "window_size": 32,
        "fullatt_block_indexes": [1],
    },
}
SMOL = {
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        **WIDE,
    },
    "text_config": LLAMA,
    "scale_factor": 2,
    "image_token_id": 99,
}
NAMES = ["llava", "llava_next", "qwen2_5_vl", "qwen3_vl", "smolvlm", "smolvlm2"]
SMOLS = {"smolvlm", "smolvlm2"}
QWENS = {"qwen2_5_vl", "qwen3_vl"}
CLASSES = {
    "llava": LLaVA,
    "llava_next": LLaVANext,
    "qwen2_5_vl": Qwen25VL,
    "qwen3_vl": Qwen3VL,
    "smolvlm": SmolVLM,
    "smolvlm2": SmolVLM2,
}
CONFIGS = {
    "llava": LLAVA,
    "llava_next": NEXT,
    "qwen2_5_vl": QWEN25,
    "qwen3_vl": QWEN,
    "smolvlm": SMOL,
    "smolvlm2": SMOL,
}
PIXELS = 40 * 16 * 16
"""Area of Qwen's largest image here: 40 tokens."""


def model(name: str, **settings: Any) -> HFVisionLanguage:
    """A fresh one, always with the same weights."""
    limits = {"max_pixels": PIXELS} if name in QWENS else {}
    return CLASSES[name](**{"source": "random:3", "config": CONFIGS[name], **limits, **settings})


def picture(index: int, *sizes: tuple[int, int]) -> Picture:
    rng = np.random.default_rng(index)
    return Picture(
        id=f"picture{index}",
        images=tuple(rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes),
        question=Question(
            text="How many roofs?" * (1 + index % 3),
            choices=("one", "two", "three")[: index % 4],
            answer=("A", "A C", "many", "B")[index % 4],
        ),
    )


def pictures() -> list[Picture]:
    """Three of different shapes, numbers of images, and lengths of questions and answers."""
    return [picture(0, (40, 90)), picture(1, (70, 33), (64, 64)), picture(2, (120, 50))]


def inputs(model: HFVisionLanguage, samples: list[Picture]) -> dict[str, Tensor]:
    return model.collate([model.transform(sample) for sample in samples])


def likelihood(model: HFVisionLanguage, samples: list[Picture]) -> Tensor:
    return model.likelihood(model.look(inputs(model, samples)), [s.question for s in samples])


def own_forward(model: HFVisionLanguage, name: str, sample: Picture, answer: list[int]) -> Tensor:
    """Log-probabilities [A + 1, V] after a prompt and an answer's tokens, by transformers alone, from pixels on."""
    rows = inputs(model, [sample])
    config = model.net.config
    if name in QWENS:
        counts = [int(t * h * w) // 4 for t, h, w in rows["image_grid_thw"].tolist()]
        further = {"image_grid_thw": rows["image_grid_thw"]}
    elif name in SMOLS:
        counts, further = (
            (rows["grid"][:, 2] * 4).tolist(),
            {"pixel_attention_mask": rows["pixel_attention_mask"][None]},
        )
        rows["pixel_values"] = rows["pixel_values"][None]
    elif name == "llava":
        counts, further = [16] * len(sample.images), {}
    else:
        features = model.net.get_image_features(rows["pixel_values"], rows["image_sizes"]).pooler_output
        counts, further = [len(f) for f in features], {"image_sizes": rows["image_sizes"]}
    prompt, left = [], iter(counts)
    for token in model.chat.prompt(sample.question, len(sample.images)):
        prompt += [token] * next(left) if token == config.image_token_id else [token]
    ids = torch.tensor([prompt + answer])
    if name in QWENS:
        further["mm_token_type_ids"] = (ids == config.image_token_id).int()
    logits = model.net(input_ids=ids, pixel_values=rows["pixel_values"], **further).logits[0]
    return logits[len(prompt) - 1 :].log_softmax(-1)


def reference(model: HFVisionLanguage, name: str, sample: Picture) -> Tensor:
    answer = model.chat.answer(sample.question.answer)
    return own_forward(model, name, sample, answer)[range(len(answer)), answer]
