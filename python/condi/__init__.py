"""Reads packed low-bit model files (`.condi`), version 1, with NumPy alone."""

from .errors import PackedError
from .packed_file import PackedFile, open

__all__ = ["PackedError", "PackedFile", "open"]
