"""Q2_0, a type of ggml that the `gguf` package lacks up to version 0.19: importing this adds it.

Its layout is that of ggml's `block_q2_0`: a float16 `d`, then 64 codes of 2 bits, the first in the lowest bits of
the first byte; an element is `(code - 1) * d`.
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


Q2_0 = added_type("Q2_0", 42, 64, 18)

if Q2_0 not in quants._type_traits:

    class Blocks(getattr(quants, "__Quant"), qtype=Q2_0):
        @classmethod
        def quantize_blocks(cls, blocks: np.ndarray) -> np.ndarray:
            raise NotImplementedError

        @classmethod
        def dequantize_blocks(cls, blocks: np.ndarray) -> np.ndarray:
            d = np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float32)
            codes = blocks[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
            return (codes.reshape(len(blocks), 64).astype(np.float32) - 1) * d
