"""The logical element types: how wide they are, and which NumPy type holds one element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ElementType:
    """`dtype` is little-endian; for types that NumPy lacks, unsigned integers hold the bits."""

    name: str
    bit_width: int
    dtype: np.dtype

    @property
    def is_integer(self) -> bool:
        return self.name.startswith(("int", "uint"))

    @property
    def is_affine(self) -> bool:
        """Whether the affine encoding is defined for it."""
        return self.name in ("float16", "bfloat16", "float32", "float64")

    def byte_count(self, elements: int) -> int:
        return (elements * self.bit_width + 7) // 8


def _table() -> dict[str, ElementType]:
    types = {
        "bool": (8, "?"), "uint8": (8, "u1"), "int8": (8, "i1"), "uint16": (16, "<u2"),
        "int16": (16, "<i2"), "uint32": (32, "<u4"), "int32": (32, "<i4"), "uint64": (64, "<u8"),
        "int64": (64, "<i8"), "float16": (16, "<f2"), "bfloat16": (16, "<u2"),
        "float32": (32, "<f4"), "float64": (64, "<f8"), "complex32": (32, "<u4"),
        "complex64": (64, "<c8"), "complex128": (128, "<c16"), "float8_e4m3fn": (8, "u1"),
        "float8_e4m3fnuz": (8, "u1"), "float8_e5m2": (8, "u1"), "float8_e5m2fnuz": (8, "u1"),
        "float8_e8m0fnu": (8, "u1"), "float4_e2m1": (4, "u1"), "float6_e2m3": (6, "u1"),
        "float6_e3m2": (6, "u1"), "bits8": (8, "u1"), "bits1x8": (8, "u1"),
        "bits2x4": (8, "u1"), "bits4x2": (8, "u1"), "bits16": (16, "<u2"),
    }  # fmt: skip
    return {name: ElementType(name, bits, np.dtype(code)) for name, (bits, code) in types.items()}


ELEMENT_TYPES = _table()
