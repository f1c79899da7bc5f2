"""Hashes of the backbones and the structure that an adapter was trained on, and their comparison."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.backbones.fingerprint import Fingerprint
    from zoo.pairing import Pairing


def structure(config: Any, pairing: "Pairing") -> str:
    """sha256 over what trainable tensors mean: the blocks of method and task, their versions, and every tensor's name,
    type and shape.

    Args:
        config: a recipe as plain values.
        pairing: built from it.
    """
    content = {
        "method": config.get("method"),
        "task": config.get("task"),
        "versions": [pairing.method.version, pairing.task.version],
        "tensors": {name: [str(t.dtype), list(t.shape)] for name, t in pairing.trainable_state().items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def differences(header: dict[str, str], fingerprints: Mapping[str, "Fingerprint"]) -> list[str]:
    """Differences of this machine's backbones from those that the adapter was trained on."""
    found: list[str] = []
    stored = json.loads(header["fingerprints"])
    for name in sorted(stored.keys() | fingerprints.keys()):
        then, now = stored.get(name), fingerprints.get(name)
        if then is None or now is None:
            found.append(f"the {name} backbone {'is new' if then is None else 'is missing'}")
            continue
        # One hash of both in format 1.
        parts = {"weights or settings": (then, now.weights)} if isinstance(then, str) else {}
        parts = parts or {part: (then[part], getattr(now, part)) for part in ("weights", "settings")}
        found += [
            f"the {name} backbone has other {part} ({b[:12]}, trained with {a[:12]})"
            for part, (a, b) in parts.items()
            if a != b
        ]
    return found
