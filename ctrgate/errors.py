"""The errors a user can meet, each with the exit code that the command line gives it."""

from __future__ import annotations


class CtrgateError(Exception):
    """A message for the user: what was expected, what was found, what to do.

    ``exit_code`` is what the command line returns: 2 for the user's input, 3 for a run held back by a check.
    """

    exit_code = 2


class ConfigError(CtrgateError):
    """A run file, an override or a combination of settings that cannot be run."""


class SchemaError(CtrgateError):
    """A table that lacks a column, or holds it in a type, that the dataset declares."""


class DataError(CtrgateError):
    """Rows or files that cannot be used: damaged, empty, or with values out of their domain."""


class ArtifactError(CtrgateError):
    """An exported bundle, an encoder or a checkpoint that is damaged, changed, or of another format."""


class ClusterError(CtrgateError):
    """Workers that cannot be started or were lost too often; what is saved is kept."""


class HeldBackError(CtrgateError):
    """A check (drift, parity, promotion) said no; nothing is broken."""

    exit_code = 3


class Interrupted(CtrgateError):  # noqa: N818 as KeyboardInterrupt, it is no fault
    """A run stopped by a signal, with its state saved; the exit code is the shell's for that signal."""

    def __init__(self, message: str, *, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
