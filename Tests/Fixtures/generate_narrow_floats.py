"""Writes narrow_floats.json: the value of every code of the floating-point types of 8 bits or less.

    python Tests/Fixtures/generate_narrow_floats.py

The 8-bit types are decoded by PyTorch. PyTorch has no arithmetic for the OCP microscaling types of
4 and 6 bits: they are decoded here from sign, exponent and mantissa as the specification (OCP MX 1.0,
section 5.3) tabulates them. Values are texts of `float.hex`, or "nan", "inf", "-inf".
"""

import json
import math
from pathlib import Path

import torch

EIGHT_BITS = {
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e4m3fnuz": torch.float8_e4m3fnuz,
    "float8_e5m2": torch.float8_e5m2,
    "float8_e5m2fnuz": torch.float8_e5m2fnuz,
    "float8_e8m0fnu": torch.float8_e8m0fnu,
}
# Positive values in the order of their codes.
FOUR_BITS = {"float4_e2m1": [0, 0.5, 1, 1.5, 2, 3, 4, 6]}
SIX_BITS = {
    "float6_e2m3": [m / 8 for m in range(8)]
    + [2.0 ** (e - 1) * (1 + m / 8) for e in range(1, 4) for m in range(8)],
    "float6_e3m2": [2.0**-2 * m / 4 for m in range(4)]
    + [2.0 ** (e - 3) * (1 + m / 4) for e in range(1, 8) for m in range(4)],
}


def text(value: float) -> str:
    if math.isnan(value):
        return "nan"
    return value.hex() if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def main() -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    tables = {
        name: [text(value) for value in codes.view(dtype).to(torch.float64).tolist()]
        for name, dtype in EIGHT_BITS.items()
    }
    for name, positive in {**FOUR_BITS, **SIX_BITS}.items():
        values = [float(value) for value in positive]
        tables[name] = [text(value) for value in values] + [text(-value) for value in values]
    lines = [f"  {json.dumps(name)}: {json.dumps(table)}" for name, table in tables.items()]
    path = Path(__file__).resolve().parent / "narrow_floats.json"
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
