"""The errors of this package."""

from __future__ import annotations


class PackedError(ValueError):
    """A file that is not a whole, well-formed packed file of a known version."""


class ProgramNotFound(FileNotFoundError):
    """There is no program condi-convert to call."""


class ProgramError(RuntimeError):
    """The program condi-convert ended with an error; the text is what it said."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        #: 2 for an error, 64 for wrong usage; negative for a signal.
        self.exit_code = exit_code
