"""Q1_0 and Q2_0, types of ggml that the `gguf` package does not dequantize up to version 0.19: importing this
adds them.

Their layouts are those of ggml's `block_q1_0` and `block_q2_0`: a float16 `d`, then 128 codes of 1 bit or 64 of
2 bits, the first in the lowest bits of the first byte; an element is `(2 * code - 1) * d` or `(code - 1) * d`.
"""

from __future__ import annotations

import numpy as np
from gguf import GGML_QUANT_SIZES, quants
from gguf import GGMLQuantizationType as Type


def added_type(name: str, number: int, elements: int, width: int) -> Type:
    if name not in Type.__members__:
        kind = int.__new__(Type, number)
        kind._name_, kind._value_ = name, number
        Type._member_map_[name] = Type._value2member_map_[number] = kind
        GGML_QUANT_SIZES[kind] = (elements, width)
    return Type[name]


def add_dequantization(kind: Type, bits: int, factor: int) -> None:
    if kind in quants._type_traits:
        return

    class Blocks(getattr(quants, "__Quant"), qtype=kind):
        @classmethod
        def quantize_blocks(cls, blocks: np.ndarray) -> np.ndarray:
            raise NotImplementedError

        @classmethod
        def dequantize_blocks(cls, blocks: np.ndarray) -> np.ndarray:
            d = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
            codes = blocks[:, 2:, None] >> np.arange(0, 8, bits, np.uint8) & (1 << bits) - 1
            return (factor * codes.reshape(len(blocks), -1).astype(np.float32) - 1) * d


Q1_0 = added_type("Q1_0", 41, 128, 18)
Q2_0 = added_type("Q2_0", 42, 64, 18)
add_dequantization(Q1_0, 1, 2)
add_dequantization(Q2_0, 2, 1)
