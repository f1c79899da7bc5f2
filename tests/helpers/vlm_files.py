"""Tiny vision-language models saved as a repository holds them: safetensors, tokenizer, processor, chat template."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import vlm_tiny as tiny

WORDED = (
    "{% for message in messages %}<|{{ message.role }}|>{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|end|>\n{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
)
TILED = (
    "<|im_start|>{% for message in messages %}{{ message.role | capitalize }}:{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
MARKS = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|end|>", "<|user|>"]
ROWS = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
TILES = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<|im_start|>", *ROWS]
SMOL = {**tiny.SMOL, "text_config": {**tiny.LLAMA, "vocab_size": 288}, "image_token_id": 256}


def tokenizer(words: Mapping[str, int], special: list[str], end: str) -> Any:
    """One that reads bytes and these special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(vocab=dict(words), merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, additional_special_tokens=special)


def letters() -> list[str]:
    """Bytes as such a tokenizer writes them, 256."""
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def qwen(name: str, path: Path, **settings: Any) -> Path:
    """A Qwen2.5-VL or Qwen3-VL; of other settings than the tiny one's, where some are given."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLVideoProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    model = tiny.model(name, **settings)
    words = {letter: index for index, letter in enumerate(letters()[:240])}
    fast = tokenizer(words | {token: 250 + i for i, token in enumerate(MARKS)}, MARKS, "<|end|>")
    if name == "qwen3_vl":
        Qwen3VLProcessor(model.images, fast, Qwen3VLVideoProcessor(), chat_template=WORDED).save_pretrained(path)
    else:
        Qwen2_5_VLProcessor(model.images, fast, Qwen2VLVideoProcessor(), chat_template=WORDED).save_pretrained(path)
    model.net.save_pretrained(path)
    return path


def smolvlm(name: str, path: Path) -> Path:
    """A SmolVLM of the first or the second kind."""
    from transformers import Idefics3Processor, SmolVLMProcessor, SmolVLMVideoProcessor

    model = tiny.model(name, config=SMOL)
    fast = tokenizer({word: i for i, word in enumerate([*letters(), *TILES])}, TILES, "<end_of_utterance>")
    settings = {"image_seq_len": 4, "chat_template": TILED}
    if name == "smolvlm":
        Idefics3Processor(model.images, fast, **settings).save_pretrained(path)
    else:
        SmolVLMProcessor(model.images, fast, SmolVLMVideoProcessor(), **settings).save_pretrained(path)
    model.net.save_pretrained(path)
    return path
