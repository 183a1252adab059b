"""The one error of this package."""


class PackedError(ValueError):
    """A file that is not a whole, well-formed packed file of a known version."""
