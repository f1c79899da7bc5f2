"""Errors of data modules; without heavy imports, so that commands can catch them before torch is loaded."""

from zoo.errors import UserError


class DataError(UserError, RuntimeError):
    """A data set is incomplete or malformed; the message names the file, what was expected, and what to do."""


class DamagedError(ValueError):
    """A file is not what its name says; the message is for its owner, unlike what a library says of its own matters."""
