"""A copy of an adapter directory that holds only what is public."""

from collections.abc import Callable
from pathlib import Path

import yaml

from zoo.adapter.directory import complete, verify
from zoo.adapter.links import copy_plain
from zoo.errors import UserError
from zoo.files import whole_folder


def copy_for_sharing(folder: Path, out: Path, *, card: Callable[[Path], str]) -> Path:
    """A copy of an adapter directory that holds only what is public: see `zoo.adapter.shareable`.

    Args:
        folder: an adapter directory.
        out: the copy's place, which must not exist yet.
        card: as in `save`.

    Raises:
        AdapterError: the directory is incomplete or altered.
        LinkError: a file of it is a link.
        ShareError: it tells of this machine where nothing can be replaced.
    """
    from zoo.adapter import shareable
    from zoo.adapter.unpack import LIMITS

    with whole_folder(out) as temporary:
        for name, most in LIMITS.items():
            if not (folder / name).is_symlink() and not (folder / name).exists():
                verify(folder)  # raises, naming the missing file
            copy_plain(folder / name, temporary / name, most=most)
        try:
            verify(temporary)
        except UserError as error:
            raise type(error)(str(error).replace(str(temporary), str(folder))) from None
        recipe, metrics, written = shareable.contents(temporary, card)
        complete(temporary, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), metrics, card)
        page = shareable.card(written, (temporary / "README.md").read_text(encoding="utf-8"))
        complete(temporary, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), metrics, lambda _: page)
        shareable.require_silent(temporary)
    return out
