"""The header's `values`: leaves of a checkpoint that are no tensors."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from .errors import PackedError

_REALS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def decode(value: Any, name: str) -> Any:
    """`value` as Python has it: None, bool, int, float, str, complex or bytes."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    match value:
        case {"integer": str(digits), **rest} if not rest and re.fullmatch(
            "-?[0-9]{1,4000}", digits, re.ASCII
        ):
            return int(digits)
        case {"real": "inf" | "-inf" | "nan" as text, **rest} if not rest:
            return _REALS[text]
        case {"complex": [real, imaginary], **rest} if not rest:
            return complex(_part(real, name), _part(imaginary, name))
        case {"bytes": str(text), **rest} if not rest:
            try:
                return base64.b64decode(text.encode("ascii"), validate=True)
            except (binascii.Error, UnicodeEncodeError) as error:
                raise PackedError(f"value '{name}': {error}") from error
    raise PackedError(f"value '{name}': {value!r:.80} is no value")


def _part(value: Any, name: str) -> float:
    if isinstance(value, str) and value in _REALS:
        return _REALS[value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise PackedError(f"value '{name}': {value!r:.80} is no part of a complex number")
