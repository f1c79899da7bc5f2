"""Errors that are the user's to mend: a command shows their message alone, and any other with its traceback."""


class UserError(Exception):
    """An error in the recipe, the files or the machine; the message says what to do."""


class SettingError(UserError, ValueError):
    """A recipe's value is well-typed, but does not fit the backbones, the method or the data it stands beside."""
