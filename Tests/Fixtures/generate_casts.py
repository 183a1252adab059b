"""Writes casts.json: float32 values, and the bits that PyTorch rounds each of them to.

    python Tests/Fixtures/generate_casts.py

The values are bit patterns: powers of two with and without digits that have to be rounded, ties, the
largest and least of each type and their neighbours, subnormals, zeros, infinities, NaN, and some at
random.
"""

import json
from pathlib import Path

import numpy as np
import torch

TYPES = {
    "float16": (torch.float16, torch.int16),
    "bfloat16": (torch.bfloat16, torch.int16),
    "float8_e4m3fn": (torch.float8_e4m3fn, torch.uint8),
    "float8_e4m3fnuz": (torch.float8_e4m3fnuz, torch.uint8),
    "float8_e5m2": (torch.float8_e5m2, torch.uint8),
    "float8_e5m2fnuz": (torch.float8_e5m2fnuz, torch.uint8),
}


def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    powers = 2.0 ** np.arange(-149, 128)
    factors = [1, 1.0625, 1.125, 1.1875, 1.25, 1.375, 1.5, 1.625, 1.75, 1.875, 1.9375, 1.96875]
    exact = np.concatenate([powers * factor for factor in factors])
    largest = np.array([448, 464, 465, 240, 248, 57344, 61440, 65504, 65519.996, 65520, 3.3895314e38])
    some = np.concatenate([exact, largest, rng.normal(size=300), rng.normal(size=300) * 1e-3])
    with np.errstate(over="ignore"):
        some = some.astype(np.float32)
    near = [np.nextafter(some, np.float32(limit)) for limit in (-np.inf, np.inf)]
    some = np.concatenate([some, *near, [0, np.inf]]).astype(np.float32)
    return np.concatenate([some, -some, [np.nan]]).astype(np.float32)


def main() -> None:
    inputs = np.unique(values().view(np.uint32)).view(np.float32)
    # A few thousand say as much as all.
    inputs = np.concatenate([inputs[::20], inputs[np.isnan(inputs) | np.isinf(inputs)]])
    tensor = torch.from_numpy(inputs.copy())
    document = {"float32": [int(bits) for bits in inputs.view(np.uint32)]}
    for name, (kind, bits) in TYPES.items():
        width = 0xFFFF if bits == torch.int16 else 0xFF
        document[name] = [int(code) & width for code in tensor.to(kind).view(bits)]
    path = Path(__file__).with_name("casts.json")
    lines = [f'  "{name}": {json.dumps(codes)}' for name, codes in document.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
