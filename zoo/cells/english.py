"""English text that every machine has and no recipe trains on: the topics of Python's own help."""

import re
from pydoc_data.topics import topics

PASSAGES, WORDS = 24, 24


def passages() -> list[tuple[str, str]]:
    """Pairs of a beginning and what follows it, so many words each, out of as many topics."""
    found = []
    for name in sorted(topics):
        words = [word for word in re.sub(r"[*`\"_]", " ", topics[name]).split() if word.isascii()]
        if len(words) >= 3 * WORDS:
            found.append((" ".join(words[WORDS : 2 * WORDS]), " ".join(words[2 * WORDS : 3 * WORDS])))
    step = len(found) // PASSAGES
    return found[::step][:PASSAGES]
