"""A small plan of a matrix, on tiny encoders."""

from pathlib import Path
from typing import Any

TINY = Path(__file__).parent / "tiny.yaml"

PLAN: dict[str, Any] = {
    "seeds": [0, 1],
    "rates": [0.001, 0.01],
    "budgets": [0.05, 0.4],
    "against": "lora",
    "pairings": {
        "clips": {
            "title": "Tiny on tiny",
            "recipe": str(TINY),
            "stream": "vision",
            "places": {"targets": {"vision": ["1"]}, "last": {"vision": 2}},
            "changes": {"head_only": {"trainer.max_epochs": 7}},
        }
    },
    "methods": {
        "head_only": {"method": "frozen"},
        "lora": {"method": "lora", "size": ["rank", "alpha"]},
        "ssf": {"method": {"_target_": "ssf", "targets": {"audio": ["0"]}}},
    },
}
