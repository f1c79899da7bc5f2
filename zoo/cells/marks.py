"""Marks on the page of a matrix: what lies between is generated, the rest is written by hand. Imports no torch."""

from pathlib import Path

from zoo.recipe.compose import RecipeError

BEGIN, END = "<!-- matrix:begin -->", "<!-- matrix:end -->"


def require(path: Path) -> tuple[str, str]:
    """What a page says before and after the marks; of one that is yet to be, its title, and nothing.

    Raises:
        RecipeError: there cannot be such a page, or it is one without marks.
    """
    if not path.parent.is_dir():
        raise RecipeError([f"page: folder '{path.parent}' does not exist"])
    if path.is_dir():
        raise RecipeError([f"page: expected a file, and '{path}' is a folder"])
    text = path.read_text(encoding="utf-8") if path.exists() else f"# Methods beside one another\n\n{BEGIN}\n{END}\n"
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise RecipeError([f"page: {path}: expected the marks {BEGIN} and {END}, between which tables are written"])
    return head, tail
